//! Nodes across sessions: few registrations, identity, late joining and coming back, errors that survive the way.

use std::{cell::RefCell, pin::pin, rc::Rc};

use coati_shared::{
    prelude::*,
    testing::{self, Placement, Realm},
    wamp::codec::CodecId,
};

#[contract]
trait Desk {
    async fn add(&self, left: i64, right: i64) -> Result<i64>;
    async fn who(&self, #[caller] caller: Caller) -> Result<(Option<String>, Option<String>, Option<u64>)>;
    async fn refuse(&self) -> Result<()>;
    async fn panic(&self) -> Result<()>;
    async fn never(&self) -> Result<()>;
    async fn trace(&self, #[caller] caller: Caller, deeper: bool) -> Result<Vec<String>>;
}

#[node(Desk)]
struct DeskNode {
    #[signal]
    rang: Signal<u32>,
    dropped: Rc<RefCell<u32>>,
}

struct Counted(Rc<RefCell<u32>>);

impl Drop for Counted {
    fn drop(&mut self) {
        *self.0.borrow_mut() += 1;
    }
}

impl Desk for DeskNode {
    async fn add(&self, left: i64, right: i64) -> Result<i64> {
        Ok(left + right)
    }

    async fn who(&self, caller: Caller) -> Result<(Option<String>, Option<String>, Option<u64>)> {
        assert_eq!(Caller::current().as_ref(), Some(&caller));
        Ok((
            caller.authid,
            caller.authrole,
            caller.session.map(|session| session.get()),
        ))
    }

    async fn refuse(&self) -> Result<()> {
        Err(Error::application("test.error.closed", "The desk is closed.").with_detail("opens", "at nine"))
    }

    async fn panic(&self) -> Result<()> {
        panic!("as the test wants it");
    }

    async fn never(&self) -> Result<()> {
        let _counted = Counted(self.dropped.clone());
        std::future::pending().await
    }

    async fn trace(&self, caller: Caller, deeper: bool) -> Result<Vec<String>> {
        let mut traces = Vec::from_iter(caller.trace);
        tracing::info!("before");
        if deeper {
            traces.extend(self.remote::<dyn Desk>("test.desk")?.trace(false).await?);
            tracing::info!("after");
        }
        Ok(traces)
    }
}

#[contract]
trait Other {
    async fn add(&self, left: String) -> Result<String>;
}

#[node]
struct Visitor {
    heard: Value<Vec<u32>>,
}

#[handlers]
impl Visitor {
    #[handler(DeskNode::rang, at = "test.desk")]
    fn hear(&self, count: u32) {
        self.heard.update(|all| all.push(count));
    }
}

async fn pair(at: &Placement) -> Result<(Rc<DeskNode>, Rc<Visitor>)> {
    pair_in(&at.near, &at.far).await
}

async fn pair_in(near: &NodeContext, far: &NodeContext) -> Result<(Rc<DeskNode>, Rc<Visitor>)> {
    let (desk, visitor) = (DeskNode::new(Rc::default()), Visitor::new());
    desk.node_bind("test.desk", far).await?;
    visitor.node_bind("test.visitor", near).await?;
    Ok((desk, visitor))
}

#[testing::test]
async fn errors_panics_and_contracts_are_the_same_wherever_the_callee_is(at: Placement) -> Result<()> {
    let (desk, visitor) = pair(&at).await?;
    let remote = visitor.remote::<dyn Desk>("test.desk")?;
    assert_eq!(remote.add(i64::MAX - 1, 1).await?, i64::MAX);
    let refused = remote.refuse().await.unwrap_err();
    let expected = Error::application("test.error.closed", "The desk is closed.").with_detail("opens", "at nine");
    assert_eq!(refused, expected, "the error is the same value");
    let panicked = remote.panic().await.unwrap_err();
    assert_eq!(
        (panicked.kind, panicked.incident.is_some()),
        (ErrorKind::Internal, true)
    );
    assert_eq!(remote.add(1, 2).await?, 3, "a panic costs its call, not the tree");
    let wrong = visitor
        .remote::<dyn Other>("test.desk")?
        .add("x".into())
        .await
        .unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::WrongContract);
    let shape = visitor
        .remote_dyn("test.desk")?
        .call::<i64>("add", ("one", 2))
        .await
        .unwrap_err();
    assert_eq!(shape.kind, ErrorKind::InvalidArgument);
    assert_eq!(visitor.remote_dyn("test.desk")?.call::<i64>("add", (1, 2)).await?, 3);
    let unknown = visitor
        .remote_dyn("test.desk")?
        .call::<i64>("subtract", (1, 2))
        .await
        .unwrap_err();
    assert_eq!(unknown.kind, ErrorKind::NoSuchProcedure);
    let traces = remote.trace(true).await?;
    assert_eq!(
        (traces.len(), &traces[0]),
        (2, &traces[1]),
        "one trace from the first call to the last"
    );
    drop(desk);
    Ok(())
}

#[testing::test]
async fn a_call_that_is_given_up_ends_at_the_callee(at: Placement) -> Result<()> {
    let (desk, visitor) = pair(&at).await?;
    let remote = visitor.remote::<dyn Desk>("test.desk")?;
    // The question for the contract goes first: it must not use up the time.
    remote.add(1, 2).await?;
    let soon = remote.clone().with_timeout(Some(std::time::Duration::from_millis(100)));
    let mut held = pin!(soon.never());
    testing::settle().await;
    assert_eq!(*desk.dropped.borrow(), 0, "nothing runs before somebody waits for it");
    let late = held.as_mut().await.unwrap_err();
    assert_eq!(late.kind, ErrorKind::Timeout);
    testing::settle().await;
    assert_eq!(
        *desk.dropped.borrow(),
        1,
        "a time-out drops the work, not only who waited"
    );
    let call = remote.never();
    let unbind = async {
        testing::settle().await;
        desk.node_unbind().await
    };
    let (cancelled, unbound) = futures::join!(call, unbind);
    unbound?;
    assert_eq!(cancelled.unwrap_err().kind, ErrorKind::Canceled);
    assert_eq!(*desk.dropped.borrow(), 2, "so does unbind");
    Ok(())
}

#[testing::test]
async fn a_joined_tree_calls_itself_without_the_router_and_hears_a_signal_once() -> Result<()> {
    let realm = Realm::new();
    let context = realm.context("node").await?;
    let (desk, visitor) = pair_in(&context, &context).await?;
    assert_eq!(visitor.remote::<dyn Desk>("test.desk")?.add(1, 2).await?, 3);
    desk.rang.notify(1).await?;
    testing::settle().await;
    assert_eq!(visitor.heard.get(), [1]);
    assert_eq!(
        (realm.passed("CALL"), realm.passed("INVOCATION"), realm.passed("EVENT")),
        (0, 0, 0)
    );
    assert_eq!(realm.passed("PUBLISH"), 1, "others may listen");
    Ok(())
}

#[testing::test]
async fn registrations_are_counted_by_roots_not_by_nodes() -> Result<()> {
    let realm = Realm::new();
    let context = realm.context("node").await?;
    let root = DeskNode::new(Rc::default());
    root.node_bind("test.root", &context).await?;
    let (registered, subscribed) = (realm.passed("REGISTER"), realm.passed("SUBSCRIBE"));
    assert_eq!(
        (registered, subscribed),
        (2, 2),
        "exact and prefix, for calls and events"
    );
    for index in 0..50 {
        let child = DeskNode::new(Rc::default());
        root.node_add(&format!("child{index}"), child.clone()).await?;
        child.node_add("inner", Visitor::new()).await?;
    }
    assert_eq!(realm.passed("REGISTER"), 2);
    assert_eq!(
        realm.passed("SUBSCRIBE"),
        3,
        "and one for the topic outside that fifty nodes share"
    );
    let far = realm.context("node").await?;
    let visitor = Visitor::new();
    visitor.node_bind("test.visitor", &far).await?;
    let inner = visitor.remote::<dyn Desk>("test.root.child49")?;
    assert_eq!(inner.add(2, 3).await?, 5);
    root.node_unbind().await?;
    testing::settle().await;
    assert_eq!((realm.passed("UNREGISTER"), realm.passed("UNSUBSCRIBE")), (2, 3));
    assert_eq!(inner.add(2, 3).await.unwrap_err().kind, ErrorKind::NoSuchProcedure);
    Ok(())
}

#[testing::test]
async fn the_callee_knows_who_calls_as_the_router_says() -> Result<()> {
    let realm = Realm::new();
    let server = realm.context("node").await?;
    let desk = DeskNode::new(Rc::default());
    desk.node_bind("test.desk", &server).await?;
    let anna = realm.peer_with("anna", "clerk", CodecId::Json).await?;
    let session = anna.session().session.get();
    let client = NodeContext::root(testing::default_platform(), Some(anna));
    let visitor = Visitor::new();
    visitor.node_bind("test.visitor", &client).await?;
    let who = visitor.remote::<dyn Desk>("test.desk")?.who().await?;
    assert_eq!(who, (Some("anna".to_owned()), Some("clerk".to_owned()), Some(session)));
    let local = desk.remote::<dyn Desk>("@")?.who().await?;
    assert_eq!(local.1.as_deref(), Some("node"), "the short cut tells who calls, too");
    Ok(())
}

#[testing::test]
async fn a_tree_joins_late_and_comes_back() -> Result<()> {
    let realm = Realm::new();
    let far = NodeContext::root(testing::default_platform(), None);
    let (desk, visitor) = (DeskNode::new(Rc::default()), Visitor::new());
    desk.node_bind("test.desk", &far).await?;
    let near = NodeContext::root(testing::default_platform(), None);
    visitor.node_bind("test.visitor", &near).await?;
    let remote = visitor.remote::<dyn Desk>("test.desk")?;
    assert_eq!(
        remote.add(1, 1).await.unwrap_err().kind,
        ErrorKind::NoSuchProcedure,
        "an island knows nobody"
    );
    for round in 1..=3 {
        let (near_peer, far_peer) = (realm.peer("node").await?, realm.peer("node").await?);
        far.set_peer(Some(far_peer.clone())).await?;
        near.set_peer(Some(near_peer.clone())).await?;
        assert_eq!(remote.add(1, round).await?, 1 + round);
        desk.rang.notify(u32::try_from(round).expect("small")).await?;
        testing::settle().await;
        assert_eq!(
            visitor.heard.get().len(),
            usize::try_from(round).expect("small"),
            "each event once"
        );
        realm.cut(&near_peer);
        realm.cut(&far_peer);
        let lost = remote.add(1, 1).await.unwrap_err();
        assert_eq!(lost.kind, ErrorKind::Disconnected);
        near.set_peer(None).await?;
        assert_eq!(remote.add(1, 1).await.unwrap_err().kind, ErrorKind::Disconnected);
    }
    Ok(())
}

#[testing::test]
async fn a_run_time_connection_hears_until_it_is_dropped(at: Placement) -> Result<()> {
    let (desk, visitor) = pair(&at).await?;
    let heard = Rc::new(RefCell::new(Vec::new()));
    let mut connection = visitor.connect(DeskNode::rang, "test.desk", {
        let heard = heard.clone();
        move |count| heard.borrow_mut().push(count)
    })?;
    connection.ready().await?;
    desk.rang.notify(1).await?;
    testing::settle().await;
    visitor.remote_dyn("test.desk")?.notify("rang", 2)?;
    testing::settle().await;
    assert_eq!((*heard.borrow()).clone(), [1, 2], "a signal can be fired from afar");
    assert_eq!(visitor.heard.get(), [1, 2]);
    drop(connection);
    desk.rang.notify(3).await?;
    testing::settle().await;
    assert_eq!(heard.borrow().len(), 2);
    assert_eq!(visitor.heard.get(), [1, 2, 3], "the declared handler still hears");
    Ok(())
}

#[testing::test]
async fn wrappers_chain_from_the_outside_and_each_may_refuse(at: Placement) -> Result<()> {
    let (desk, visitor) = pair(&at).await?;
    let log = Rc::new(RefCell::new(Vec::new()));
    let context = desk.node_context().expect("bound");
    for (level, name) in [(&at.far, "outer"), (&context, "inner")] {
        let log = log.clone();
        level.wrap_calls(Rc::new(move |info, call| {
            let log = log.clone();
            Box::pin(async move {
                log.borrow_mut().push(format!("{name} before {}", info.method));
                if info.method == "refuse" {
                    return Err(Error::new(ErrorKind::NotAuthorized, "Not you."));
                }
                let answer = call.await;
                log.borrow_mut().push(format!("{name} after"));
                answer
            })
        }));
    }
    let remote = visitor.remote::<dyn Desk>("test.desk")?;
    remote.add(1, 2).await?;
    log.borrow_mut().retain(|line| !line.contains("node_contracts"));
    let lines = log.borrow().join(", ");
    assert!(
        lines.ends_with("outer before add, inner before add, inner after, outer after"),
        "{lines}"
    );
    log.borrow_mut().clear();
    assert_eq!(remote.refuse().await.unwrap_err().kind, ErrorKind::NotAuthorized);
    assert_eq!(*log.borrow(), ["outer before refuse"]);
    Ok(())
}

#[testing::test]
async fn other_languages_may_pass_arguments_by_keyword_and_leave_out_what_may_be_null() -> Result<()> {
    use coati_shared::wamp::{message::CallOptions, payload::Payload, uri::Uri};

    #[contract]
    trait Forms {
        async fn fill(&self, name: String, note: Option<String>) -> Result<String>;
    }

    #[node(Forms)]
    struct FormsNode {}

    impl Forms for FormsNode {
        async fn fill(&self, name: String, note: Option<String>) -> Result<String> {
            Ok(format!("{name}:{}", note.unwrap_or_default()))
        }
    }

    let realm = Realm::new();
    FormsNode::new()
        .node_bind("test.forms", &realm.context("node").await?)
        .await?;
    for codec in CodecId::ALL {
        let peer = realm.peer_with("python", "component", codec).await?;
        let call = async |payload: Payload| -> Result<String> {
            let fill = Uri::strict("test.forms.fill")?;
            let (answer,): (String,) = peer.call(&fill, payload, CallOptions::default()).await?.decode_args()?;
            Ok(answer)
        };
        assert_eq!(call(Payload::encode(codec, &("a",))?).await?, "a:");
        assert_eq!(call(Payload::encode(codec, &("a", "b"))?).await?, "a:b");
        let named =
            [("note", "b"), ("name", "a"), ("unknown", "c")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let named = std::collections::BTreeMap::from(named);
        assert_eq!(call(Payload::empty(codec).with_kwargs(&named)?).await?, "a:b");
        for bad in [
            Payload::empty(codec),
            Payload::encode(codec, &("a", "b", "c"))?,
            Payload::encode(codec, &(1, 2))?,
        ] {
            assert_eq!(call(bad).await.unwrap_err().kind, ErrorKind::InvalidArgument);
        }
    }
    Ok(())
}

#[testing::test]
async fn whether_a_node_keeps_a_contract_is_asked_once_and_again_when_in_doubt() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("node").await?);
    let (desk, visitor) = pair_in(&near, &far).await?;
    let add = async || visitor.remote::<dyn Desk>("test.desk")?.add(1, 2).await;
    add().await?;
    assert_eq!(realm.passed("CALL"), 2, "the question and the call");
    add().await?;
    assert_eq!(realm.passed("CALL"), 3, "the answer is known, also to a new remote");
    desk.node_unbind().await?;
    assert_eq!(add().await.unwrap_err().kind, ErrorKind::NoSuchProcedure);
    Visitor::new().node_bind("test.desk", &far).await?;
    assert_eq!(
        add().await.unwrap_err().kind,
        ErrorKind::WrongContract,
        "somebody else is there now"
    );
    Ok(())
}

#[testing::test]
async fn a_trace_from_outside_goes_along_with_every_call_that_follows() -> Result<()> {
    use coati_shared::wamp::{message::CallOptions, payload::Payload, uri::Uri};

    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("node").await?);
    let (_desk, _visitor) = pair_in(&near, &far).await?;
    let relay = DeskNode::new(Rc::default());
    relay.node_bind("test.relay", &near).await?;
    let peer = realm.peer("component").await?;
    // The desk calls itself, within its tree; the relay calls the desk, over the wire.
    for first in ["test.desk", "test.relay"] {
        let options = CallOptions {
            trace: Some("from outside".to_owned()),
            ..CallOptions::default()
        };
        let arguments = Payload::encode(peer.codec(), &(true,))?;
        let procedure = Uri::strict(&format!("{first}.trace"))?;
        let answer = peer.call(&procedure, arguments, options).await?;
        let (traces,): (Vec<String>,) = answer.decode_args()?;
        assert_eq!(traces, ["from outside", "from outside"], "{first}");
    }
    Ok(())
}

/// Remembers which span every line was logged in: its procedure and trace.
#[derive(Default)]
struct Lines {
    spans: std::sync::Mutex<(Vec<[String; 2]>, Vec<u64>)>,
    lines: std::sync::Mutex<Vec<[String; 2]>>,
}

struct Fields<'a>(&'a mut [String; 2]);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}").trim_matches('"').to_owned();
        match field.name() {
            "procedure" => self.0[0] = text,
            "trace" => self.0[1] = text,
            _ => {}
        }
    }
}

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.name() == "call" || metadata.target() == module_path!()
    }

    fn new_span(&self, attributes: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        let mut fields = [String::new(), String::new()];
        attributes.record(&mut Fields(&mut fields));
        let spans = &mut self.spans.lock().unwrap().0;
        spans.push(fields);
        tracing::span::Id::from_u64(spans.len() as u64)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        let spans = self.spans.lock().unwrap();
        let current = spans.1.last().map(|id| spans.0[*id as usize - 1].clone());
        self.lines.lock().unwrap().push(current.unwrap_or_default());
    }

    fn enter(&self, span: &tracing::span::Id) {
        self.spans.lock().unwrap().1.push(span.into_u64());
    }

    fn exit(&self, _: &tracing::span::Id) {
        self.spans.lock().unwrap().1.pop();
    }
}

#[testing::test]
async fn what_a_callee_logs_names_the_call_and_its_trace(at: Placement) -> Result<()> {
    let lines = std::sync::Arc::new(Lines::default());
    let _logged = tracing::subscriber::set_default(lines.clone());
    let (_desk, visitor) = pair(&at).await?;
    let traces = visitor.remote::<dyn Desk>("test.desk")?.trace(true).await?;
    let line = ["test.desk.trace".to_owned(), traces[0].clone()];
    assert_eq!(*lines.lines.lock().unwrap(), [line.clone(), line.clone(), line]);
    Ok(())
}
