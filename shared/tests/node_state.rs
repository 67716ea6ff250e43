//! State and contexts: named values, what follows from them, what nodes inherit, and that nothing is left behind.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use coati_shared::{
    node::inspect::{Inspection, Shown},
    prelude::*,
    state::on_cleanup,
    testing::{self, Realm},
    wamp::{
        CodecId, Payload, Uri,
        message::CallOptions,
        router::{BaseAuthorizer, NODE_FOLLOW, NODE_INSPECT, RouterConfig},
    },
};

/// Not serialisable, and state nevertheless.
#[derive(Default)]
struct Opaque;

#[node]
struct Basket {
    pieces: Value<Vec<String>>,
    #[init(Value::new(7))]
    limit: Value<u32>,
    opaque: Value<Opaque>,
    #[init(counted(&pieces))]
    count: Computed<usize>,
    plain: u32,
    #[signal]
    filled: Signal<u32>,
}

fn counted(pieces: &Value<Vec<String>>) -> Computed<usize> {
    let pieces = pieces.clone();
    Computed::new(move || pieces.with(Vec::len))
}

fn basket() -> Rc<Basket> {
    Basket::new(1)
}

#[testing::test]
async fn a_node_lists_reads_writes_and_watches_its_state_by_name() -> Result<()> {
    let node = basket();
    node.node_bind("basket", &testing::local_context()).await?;
    let state = node.node_state();
    let names: Vec<_> = state.iter().map(|entry| (entry.name, entry.cell.is_some())).collect();
    let expected = [("pieces", true), ("limit", true), ("opaque", false), ("count", true)];
    assert_eq!(names, expected, "signals and plain fields are no state");
    let cell = |name: &str| {
        let entry = state.iter().find(|entry| entry.name == name);
        entry.and_then(|entry| entry.cell.clone()).expect("there is one")
    };
    assert_eq!(cell("limit").read_json()?, "7");
    assert_eq!(cell("count").read_json()?, "0");
    assert_eq!(cell("count").write_json("2").unwrap_err().kind, ErrorKind::Refused);
    let seen = Rc::new(RefCell::new(Vec::new()));
    node.node_watch({
        let (seen, pieces) = (seen.clone(), cell("pieces"));
        move || seen.borrow_mut().extend(pieces.read_json())
    });
    cell("pieces").write_json(r#"["bread"]"#)?;
    testing::settle().await;
    assert_eq!(*seen.borrow(), ["[]", r#"["bread"]"#]);
    assert_eq!((cell("count").read_json()?.as_str(), node.count.get()), ("1", 1));
    assert_eq!((node.pieces.get(), node.plain), (vec!["bread".to_owned()], 1));
    node.filled.notify(1).await
}

#[testing::test]
async fn a_context_inherits_live_shadows_and_hides() -> Result<()> {
    #[derive(Debug, PartialEq)]
    struct Language(&'static str);

    let outer = testing::local_context();
    let node = basket();
    node.node_bind("basket", &outer).await?;
    let inner = node.node_context().expect("bound");
    let language = || inner.get::<Language>().map(|language| language.0);
    assert_eq!(language(), None);
    outer.insert(Language("en"));
    assert_eq!(language(), Some("en"), "what an ancestor gets later is seen");
    inner.insert(Language("it"));
    assert_eq!(
        (language(), outer.get::<Language>().map(|language| language.0)),
        (Some("it"), Some("en"))
    );
    inner.hide::<Language>();
    assert_eq!(language(), None, "hidden is not inherited");
    inner.remove::<Language>();
    assert_eq!(language(), Some("en"));
    Ok(())
}

#[testing::test]
async fn guards_stop_events_on_either_side() -> Result<()> {
    let outer = testing::local_context();
    let (source, sink) = (basket(), basket());
    source.node_bind("source", &outer).await?;
    sink.node_bind("sink", &outer).await?;
    let heard = Rc::new(Cell::new(0));
    let connection = sink.connect(Basket::filled, "source", {
        let heard = heard.clone();
        move |count| heard.set(count)
    })?;
    source.filled.notify(1).await?;
    assert_eq!(heard.get(), 1);
    let refuse = |topic: &str| Err(Error::new(ErrorKind::NotAuthorized, format!("{topic} is not for you.")));
    sink.node_context().expect("bound").guard_events(Rc::new(refuse));
    assert_eq!(
        source.filled.notify(2).await.unwrap_err().kind,
        ErrorKind::NotAuthorized
    );
    assert_eq!(heard.get(), 1, "a guard before the handler");
    drop(connection);
    source.filled.notify(3).await?;
    source
        .node_context()
        .expect("bound")
        .guard_publications(Rc::new(refuse));
    let direct = source.filled.connect({
        let heard = heard.clone();
        move |count| heard.set(count)
    });
    assert_eq!(
        source.filled.notify(4).await.unwrap_err().kind,
        ErrorKind::NotAuthorized
    );
    assert_eq!(heard.get(), 1, "a guard before the signal");
    drop(direct);
    Ok(())
}

#[testing::test]
async fn life_is_heard_at_run_time() -> Result<()> {
    let context = testing::local_context();
    let (parent, log) = (basket(), Rc::new(RefCell::new(Vec::new())));
    let note = |what: &'static str| {
        let log = log.clone();
        move |event: NodeEvent| log.borrow_mut().push(format!("{what} {}", event.path))
    };
    let connections = (
        parent.on_bind(note("bind")),
        parent.on_add(note("add")),
        parent.on_unbind(note("unbind")),
    );
    parent.node_bind("parent", &context).await?;
    parent.node_add("child", basket()).await?;
    assert!(parent.node_child_as::<Basket>("child").is_some());
    assert_eq!(
        parent
            .node_child("child")
            .expect("added")
            .node_root()
            .expect("bound")
            .node_name()
            .as_deref(),
        Some("parent")
    );
    parent.node_unbind().await?;
    assert_eq!(*log.borrow(), ["bind parent", "add parent.child", "unbind parent"]);
    drop(connections);
    parent.node_bind("parent", &context).await?;
    assert_eq!(log.borrow().len(), 3);
    Ok(())
}

#[testing::test]
async fn an_unbound_tree_is_freed() -> Result<()> {
    let context = testing::local_context();
    let (parent, child) = (basket(), basket());
    parent.node_bind("parent", &context).await?;
    parent.node_add("child", child.clone()).await?;
    parent.spawn({
        let parent = parent.clone();
        async move {
            std::future::pending::<()>().await;
            drop(parent);
            Ok(())
        }
    });
    let (weak_parent, weak_child) = (Rc::downgrade(&parent), Rc::downgrade(&child));
    drop((parent, child));
    testing::settle().await;
    assert!(
        weak_parent.upgrade().is_some() && weak_child.upgrade().is_some(),
        "a bound tree is kept by its place"
    );
    context.shutdown().await?;
    testing::settle().await;
    assert!(
        weak_parent.upgrade().is_none() && weak_child.upgrade().is_none(),
        "nothing holds on to it"
    );
    Ok(())
}

#[testing::test]
async fn what_a_node_set_up_is_cleaned_up_when_it_is_unbound_and_once() -> Result<()> {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[contract]
    trait Wait {
        async fn wait(&self) -> Result<()>;
    }

    impl Wait for Tidy {
        async fn wait(&self) -> Result<()> {
            std::future::pending().await
        }
    }

    #[node(Wait)]
    struct Tidy {
        cleaned: Arc<AtomicU32>,
    }

    #[handlers]
    impl Tidy {
        #[handler(on_node_bind)]
        async fn set_up(&self) {
            testing::yield_now().await;
            let cleaned = self.cleaned.clone();
            on_cleanup(move || {
                cleaned.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    let context = testing::local_context();
    let (parent, child) = (Tidy::new(Arc::default()), Tidy::new(Arc::default()));
    parent.node_bind("parent", &context).await?;
    parent.node_add("child", child.clone()).await?;
    let counts = || {
        (
            parent.cleaned.load(Ordering::Relaxed),
            child.cleaned.load(Ordering::Relaxed),
        )
    };
    assert_eq!(counts(), (0, 0));
    // A call that is still held by its caller, though cancelled, must not put the cleaning off.
    let remote = child.remote::<dyn Wait>("@")?;
    let mut call = std::pin::pin!(remote.wait());
    assert!(futures::poll!(&mut call).is_pending());
    parent.node_unbind().await?;
    assert_eq!(counts(), (1, 1));
    assert_eq!(call.await.unwrap_err().kind, ErrorKind::Canceled);
    Ok(())
}

#[contract]
trait Vault {
    async fn open(&self) -> Result<()>;
}

#[node(Vault)]
struct VaultNode {
    #[secret]
    #[init(Value::new("0451".to_owned()))]
    code: Value<String>,
    visits: Value<u32>,
    log: Value<String>,
    opaque: Value<Opaque>,
    #[signal]
    on_open: Signal<u32>,
}

impl Vault for VaultNode {
    async fn open(&self) -> Result<()> {
        self.visits.update(|visits| *visits += 1);
        Ok(())
    }
}

/// A vault with a child at `bank.vault`, seen by an operator who speaks a codec.
async fn watched(codec: CodecId) -> Result<(Rc<VaultNode>, coati_shared::wamp::Peer)> {
    let realm = Realm::with_config(RouterConfig {
        meta_roles: ["operator".to_owned()].into(),
        authorizer: Box::new(BaseAuthorizer::default().allow("operator", "bank")),
        ..RouterConfig::new(1)
    });
    let vault = VaultNode::new();
    vault
        .node_bind(Path::root("bank")?.join("vault")?, &realm.context("node").await?)
        .await?;
    vault.node_add("inner", VaultNode::new()).await?;
    Ok((vault, realm.peer_with("olga", "operator", codec).await?))
}

fn asked(path: &str, call: &str) -> Uri {
    Uri::unchecked(format!("{path}.{call}"))
}

#[testing::test]
async fn an_operator_sees_what_a_node_is_and_holds_and_no_secret() -> Result<()> {
    for codec in CodecId::ALL {
        let (vault, operator) = watched(codec).await?;
        vault.log.set("x".repeat(40_000));
        let uri = asked("bank.vault", NODE_INSPECT);
        let seen = operator.call(&uri, Payload::empty(codec), CallOptions::default());
        let (seen,): (Inspection,) = seen.await?.decode_args()?;
        let named = |name: &str, shown| (name.to_owned(), shown);
        let expected = Inspection {
            kind: "VaultNode".to_owned(),
            contracts: vec![("Vault".to_owned(), vec!["open".to_owned()])],
            signals: vec!["on_open".to_owned()],
            state: vec![
                named("code", Shown::Secret),
                named("visits", Shown::Value("0".to_owned())),
                named("log", Shown::TooLarge(40_002)),
                named("opaque", Shown::Opaque),
            ],
            children: vec!["inner".to_owned()],
            left_out: 0,
        };
        assert_eq!(seen, expected);
    }
    Ok(())
}

#[testing::test]
async fn an_operator_follows_a_value_until_the_node_goes_and_no_secret() -> Result<()> {
    let (vault, operator) = watched(CodecId::Msgpack).await?;
    let follow = |path: &str, name: &str, heard: &Rc<RefCell<Vec<Shown>>>| {
        let (operator, heard, uri) = (operator.clone(), heard.clone(), asked(path, NODE_FOLLOW));
        let name = Payload::encode(operator.codec(), &(name,));
        async move {
            let progress = Rc::new(move |payload: Payload| {
                let (shown,): (Shown,) = payload.decode_args().expect("a value");
                heard.borrow_mut().push(shown);
            });
            let answer = operator
                .call_progressive(&uri, name?, CallOptions::default(), progress)
                .await;
            answer.map(drop)
        }
    };
    let heard = Rc::default();
    for (name, kind) in [
        ("code", ErrorKind::NotAuthorized),
        ("nothing", ErrorKind::NotFound),
        ("opaque", ErrorKind::Refused),
    ] {
        assert_eq!(
            follow("bank.vault", name, &heard).await.unwrap_err().kind,
            kind,
            "{name}"
        );
    }
    assert!(heard.borrow().is_empty());
    let mut followed = Box::pin(follow("bank.vault.inner", "visits", &heard));
    let inner: Rc<VaultNode> = vault.node_child_as("inner").expect("it is there");
    let value = |number: u32| Shown::Value(number.to_string());
    for number in 0..=2 {
        inner.visits.set(number);
        // A burst: what is merged is older than what is sent.
        while heard.borrow().last() != Some(&value(number)) {
            assert!(futures::poll!(&mut followed).is_pending());
            testing::yield_now().await;
        }
    }
    assert_eq!(inner.node_core().running(), 1);
    vault.node_remove("inner").await?;
    assert_eq!(followed.await.unwrap_err().kind, ErrorKind::Canceled);
    let mut given_up = Box::pin(follow("bank.vault", "visits", &heard));
    while vault.node_core().running() == 0 {
        assert!(futures::poll!(&mut given_up).is_pending());
        testing::yield_now().await;
    }
    drop(given_up);
    while vault.node_core().running() > 0 {
        testing::yield_now().await;
    }
    Ok(())
}
