//! Nodes of one tree: typed calls, signals, errors, identity, with nothing serialised.

use std::rc::Rc;

use coati_shared::{prelude::*, testing};

#[contract]
trait Third {
    /// Stores what it was told.
    async fn rpc(&self, something: String) -> Result<()>;
    async fn who(&self, #[caller] caller: Caller, twice: u32) -> Result<(u32, bool)>;
    async fn fail(&self) -> Result<()>;
}

#[node]
struct Second {
    #[signal]
    on_foo: Signal<String>,
}

impl Second {
    async fn call_third(&self) -> Result<()> {
        self.remote::<dyn Third>("@third")?.rpc("hello".into()).await
    }
}

#[node(Third)]
struct ThirdNode {
    something: Value<Option<String>>,
    heard: Value<Vec<String>>,
    later: Value<Vec<String>>,
    binds: Value<u32>,
}

impl Third for ThirdNode {
    async fn rpc(&self, something: String) -> Result<()> {
        self.something.set(Some(something));
        Ok(())
    }

    async fn who(&self, caller: Caller, twice: u32) -> Result<(u32, bool)> {
        Ok((twice * 2, caller.trace.is_some()))
    }

    async fn fail(&self) -> Result<()> {
        panic!("as the test wants it");
    }
}

#[handlers]
impl ThirdNode {
    #[handler(Second::on_foo, at = "@first.second")]
    fn on_foo(&self, text: String) {
        self.heard.update(|all| all.push(text));
    }

    #[handler(Second::on_foo, at = "@first.second")]
    async fn on_foo_later(&self, text: String) -> Result<()> {
        self.later.update(|all| all.push(text));
        Ok(())
    }

    #[handler(on_node_bind)]
    async fn on_node_bind(&self) {
        self.binds.update(|count| *count += 1);
    }
}

#[node]
struct First {}

async fn three() -> (NodeContext, Rc<First>, Rc<Second>, Rc<ThirdNode>) {
    let context = testing::local_context();
    let base = Path::new("test").expect("a path");
    let (first, second, third) = (First::new(), Second::new(), ThirdNode::new());
    first
        .node_bind(base.join("first").expect("a path"), &context)
        .await
        .expect("free");
    first.node_add("second", second.clone()).await.expect("free");
    third
        .node_bind(base.join("third").expect("a path"), &context)
        .await
        .expect("free");
    (context, first, second, third)
}

#[testing::test]
async fn a_call_and_a_signal_reach_their_node() {
    let (_context, first, second, third) = three().await;
    second.call_third().await.expect("answers");
    assert_eq!(third.something.get().as_deref(), Some("hello"));
    second.on_foo.notify("world".into()).await.expect("handled");
    assert_eq!(third.heard.get(), ["world"]);
    assert_eq!(third.later.get(), ["world"]);
    assert_eq!(third.binds.get(), 1);
    assert_eq!(
        second.remote::<dyn Third>("@third").expect("bound").who(21).await,
        Ok((42, true))
    );
    let wrong = second
        .remote::<dyn Third>("@first")
        .expect("bound")
        .rpc(String::new())
        .await;
    assert_eq!(wrong.map_err(|error| error.kind), Err(ErrorKind::WrongContract));
    let dynamic = second.remote_dyn("@third").expect("bound");
    assert_eq!(dynamic.call::<(u32, bool)>("who", (4,)).await, Ok((8, true)));
    let wrong = dynamic.call::<()>("rpc", (4,)).await;
    assert_eq!(wrong.map_err(|error| error.kind), Err(ErrorKind::InvalidArgument));
    let panicked = second
        .remote::<dyn Third>("@third")
        .expect("bound")
        .fail()
        .await
        .expect_err("panics");
    assert_eq!(
        (panicked.kind, panicked.incident.is_some()),
        (ErrorKind::Internal, true)
    );
    third.node_unbind().await.expect("no handler fails");
    assert_eq!(
        second.call_third().await.map_err(|error| error.kind),
        Err(ErrorKind::NoSuchProcedure)
    );
    second.on_foo.notify("again".into()).await.expect("nobody refuses");
    assert_eq!(third.heard.get(), ["world"]);
    let taken = third
        .node_bind("test.first", first.node_context().as_ref().expect("bound"))
        .await;
    assert_eq!(taken.map_err(|error| error.kind), Err(ErrorKind::Conflict));
    assert_eq!(third.node_core().phase(), Phase::Unbound);
}

#[testing::test]
async fn what_runs_after_a_callees_panic_still_belongs_to_the_caller() {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    let (_context, _first, second, third) = three().await;
    let ended = Arc::new(AtomicBool::new(false));
    let (caller, flag) = (second.clone(), ended.clone());
    second.spawn(async move {
        let failed = caller.remote::<dyn Third>("@third")?.fail().await;
        assert_eq!(failed.map_err(|error| error.kind), Err(ErrorKind::Internal));
        coati_shared::state::on_cleanup(move || flag.store(true, Ordering::Relaxed));
        Ok(())
    });
    testing::settle().await;
    third.node_unbind().await.expect("no handler fails");
    assert!(!ended.load(Ordering::Relaxed), "the callee's end is not the caller's");
    second.node_unbind().await.expect("no handler fails");
    assert!(ended.load(Ordering::Relaxed));
}

#[testing::test]
async fn a_held_remote_reaches_whoever_is_at_its_path_now() {
    let (context, _first, second, third) = three().await;
    let remote = second.remote::<dyn Third>("@third").expect("bound");
    let tell = async |text: &str| remote.rpc(text.to_owned()).await.map_err(|error| error.kind);
    assert_eq!(tell("one").await, Ok(()));
    third.node_unbind().await.expect("no handler fails");
    assert_eq!(tell("two").await, Err(ErrorKind::NoSuchProcedure));
    let path = remote.remote_path().clone();
    let stranger = First::new();
    stranger.node_bind(&path, &context).await.expect("free");
    assert_eq!(tell("three").await, Err(ErrorKind::WrongContract));
    stranger.node_unbind().await.expect("no handler fails");
    let other = ThirdNode::new();
    other.node_bind(&path, &context).await.expect("free");
    assert_eq!(tell("four").await, Ok(()));
    assert_eq!(third.something.get().as_deref(), Some("one"));
    assert_eq!(other.something.get().as_deref(), Some("four"));
}
