//! Signals: who hears what, in which order, how often; errors of one handler are not another's; observers and services.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use coati_shared::{
    prelude::*,
    signal::Observed,
    testing::{self, Realm},
    wamp::{
        CodecId, Message, Payload, PublicationId, SubscriptionId, Uri,
        message::{EventDetails, PublishOptions},
        router::{ConnectionId, Input, Outgoing},
    },
};

type Log = Rc<RefCell<Vec<String>>>;

#[node]
struct Bell {
    log: Log,
    name: &'static str,
    #[signal]
    rang: Signal<u32>,
}

impl Bell {
    fn note(&self, who: &str, count: u32) {
        self.log.borrow_mut().push(format!("{}.{who} {count}", self.name));
    }
}

#[handlers]
impl Bell {
    #[handler(Self::rang)]
    fn first(&self, count: u32) {
        self.note("first", count);
    }

    #[handler(Self::rang)]
    async fn later(&self, count: u32) -> Result<()> {
        testing::yield_now().await;
        self.note("later", count);
        Ok(())
    }

    #[handler(Self::rang)]
    fn fails(&self, count: u32) -> Result<()> {
        if count == 13 {
            return Err(Error::new(ErrorKind::Refused, "Not thirteen."));
        }
        Ok(())
    }

    #[handler(Self::rang)]
    fn last(&self, count: u32) {
        self.note("last", count);
    }
}

fn bell(name: &'static str) -> (Rc<Bell>, Log) {
    let log = Log::default();
    (Bell::new(log.clone(), name), log)
}

fn writes(log: &Log, who: &'static str) -> impl Fn(u32) + use<> {
    let log = log.clone();
    move |count| log.borrow_mut().push(format!("{who} {count}"))
}

#[testing::test]
async fn handlers_run_in_order_own_ones_first_and_asynchronous_ones_when_awaited() -> Result<()> {
    let context = testing::local_context();
    let (node, log) = bell("bell");
    let _direct = node.rang.connect(writes(&log, "direct"));
    node.node_bind("test.bell", &context).await?;
    let (listener, _) = bell("listener");
    listener.node_bind("test.listener", &context).await?;
    let _one = listener.connect(Bell::rang, "test.bell", writes(&log, "one"))?;
    let _two = listener.connect(Bell::rang, "test.bell", writes(&log, "two"))?;
    let delivery = node.rang.notify(1);
    let so_far = ["bell.first 1", "bell.last 1", "direct 1", "one 1", "two 1"];
    assert_eq!(*log.borrow(), so_far, "synchronous handlers have run, in order");
    delivery.await?;
    assert_eq!(log.borrow().last().map(String::as_str), Some("bell.later 1"));
    Ok(())
}

#[testing::test]
async fn functions_connected_to_an_object_hear_it_bound_or_not() -> Result<()> {
    let (node, log) = bell("bell");
    let one = node.rang.connect(writes(&log, "one"));
    let two = node.rang.connect(writes(&log, "two"));
    node.rang.notify(1).await?;
    assert_eq!(
        *log.borrow(),
        ["one 1", "two 1"],
        "declared handlers wait for a bound node"
    );
    drop(one);
    node.rang.notify(2).await?;
    drop(two);
    node.rang.notify(3).await?;
    assert_eq!(*log.borrow(), ["one 1", "two 1", "two 2"]);
    Ok(())
}

#[testing::test]
async fn handlers_belong_to_their_instance_and_to_their_type() -> Result<()> {
    #[node]
    struct Chime {
        log: Log,
        #[signal]
        rang: Signal<u32>,
    }

    #[handlers]
    impl Chime {
        #[handler(Self::rang)]
        fn other(&self, count: u32) {
            self.log.borrow_mut().push(format!("chime {count}"));
        }
    }

    let context = testing::local_context();
    let ((one, log_one), (two, log_two), log) = (bell("one"), bell("two"), Log::default());
    let chime = Chime::new(log.clone());
    one.node_bind("test.one", &context).await?;
    two.node_bind("test.two", &context).await?;
    chime.node_bind("test.chime", &context).await?;
    one.rang.notify(1).await?;
    assert_eq!(*log_one.borrow(), ["one.first 1", "one.last 1", "one.later 1"]);
    assert!(log_two.borrow().is_empty() && log.borrow().is_empty());
    chime.rang.notify(2).await?;
    assert_eq!(*log.borrow(), ["chime 2"]);
    assert_eq!((log_one.borrow().len(), log_two.borrow().len()), (3, 0));
    assert_eq!(Bell::rang.name, "rang", "a signal knows its name");
    Ok(())
}

#[testing::test]
async fn a_failing_handler_keeps_no_other_from_hearing() -> Result<()> {
    let (node, log) = bell("bell");
    node.node_bind("test.bell", &testing::local_context()).await?;
    let failed = node.rang.notify(13).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Refused);
    assert_eq!(*log.borrow(), ["bell.first 13", "bell.last 13", "bell.later 13"]);
    Ok(())
}

#[testing::test]
async fn observers_are_told_before_a_handler_is_connected_and_after_it_is_gone() {
    let (node, _) = bell("bell");
    let seen = Rc::new(RefCell::new(Vec::new()));
    node.rang.observe({
        let seen = seen.clone();
        move |observed| seen.borrow_mut().push(observed)
    });
    let one = node.rang.connect(drop);
    let two = node.rang.connect(drop);
    drop(one);
    drop(two);
    let expected = [
        Observed::Connecting(0),
        Observed::Connecting(1),
        Observed::Disconnected(1),
        Observed::Disconnected(0),
    ];
    assert_eq!(*seen.borrow(), expected, "declared handlers do not count");
}

#[testing::test]
async fn others_are_told_unless_the_audience_is_the_tree_or_a_guard_refuses() -> Result<()> {
    let realm = Realm::new();
    let context = realm.context("node").await?;
    let told = Log::default();
    context.guard_publications(Rc::new({
        let told = told.clone();
        move |topic| {
            told.borrow_mut().push(topic.to_owned());
            if told.borrow().len() == 3 {
                return Err(Error::new(ErrorKind::NotAuthorized, "Not the third."));
            }
            Ok(())
        }
    }));
    let (node, log) = bell("bell");
    node.node_bind("test.bell", &context).await?;
    node.rang.notify(1).await?;
    testing::settle().await;
    assert_eq!(
        (realm.passed("PUBLISH"), log.borrow().len()),
        (1, 3),
        "published, and heard"
    );
    node.node_context().expect("bound").set_audience(Audience::Tree);
    node.rang.notify(2).await?;
    testing::settle().await;
    assert_eq!((realm.passed("PUBLISH"), log.borrow().len()), (1, 6), "heard only");
    node.node_context().expect("bound").set_audience(Audience::Realm);
    let refused = node.rang.notify(3).await.unwrap_err();
    testing::settle().await;
    assert_eq!(refused.kind, ErrorKind::NotAuthorized);
    assert_eq!((realm.passed("PUBLISH"), log.borrow().len()), (1, 6), "neither");
    assert_eq!(*told.borrow(), ["test.bell.rang"; 3], "the guard knows the topic");
    Ok(())
}

#[node]
struct Service {
    own: &'static str,
    #[signal]
    ping: Signal<u32>,
    #[signal]
    pong: Signal<u32>,
    started: Value<u32>,
    pings: Value<Vec<u32>>,
    pongs: Value<Vec<u32>>,
}

#[handlers]
impl Service {
    #[handler(on_node_bind)]
    fn start(&self) {
        self.started.update(|count| *count += 1);
    }

    #[handler(Self::ping, at = "service1")]
    async fn pinged(&self, count: u32) -> Result<()> {
        self.pings.update(|all| all.push(count));
        if self.own == "service2" {
            self.pong.notify(count + 1).await?;
        }
        Ok(())
    }

    #[handler(Self::pong, at = "service2")]
    fn ponged(&self, count: u32) {
        self.pongs.update(|all| all.push(count));
    }
}

#[testing::test]
async fn two_services_answer_each_others_signals() -> Result<()> {
    let realm = Realm::new();
    let (one, two) = (Service::new("service1"), Service::new("service2"));
    one.node_bind("service1", &realm.context("node").await?).await?;
    two.node_bind("service2", &realm.context("node").await?).await?;
    one.ping.notify(1).await?;
    testing::settle().await;
    for service in [&one, &two] {
        assert_eq!((service.started.get(), service.pings.get()), (1, vec![1]));
        assert_eq!(service.pongs.get(), [2]);
    }
    Ok(())
}

#[testing::test]
async fn unbinding_a_tree_of_three_levels_tells_each_node_once_and_leaves_no_child() -> Result<()> {
    #[node]
    struct Leaf {
        log: Log,
        number: u32,
    }

    #[handlers]
    impl Leaf {
        #[handler(on_node_unbind)]
        fn gone(&self) {
            self.log.borrow_mut().push(self.number.to_string());
        }
    }

    let (context, log) = (testing::local_context(), Log::default());
    let root = Leaf::new(log.clone(), 0);
    root.node_bind("test.root", &context).await?;
    let mut parent = root.clone();
    for (level, children) in [2, 3, 4].into_iter().enumerate() {
        let mut last = parent.clone();
        for index in 0..children {
            last = Leaf::new(log.clone(), (level as u32 + 1) * 10 + index);
            parent.node_add(&format!("n{index}"), last.clone()).await?;
        }
        parent = last;
    }
    root.node_unbind().await?;
    let mut told = log.borrow().clone();
    told.sort();
    told.dedup();
    assert_eq!((told.len(), log.borrow().len()), (10, 10));
    assert!(root.node_children().is_empty() && context.records() == [0; 4]);
    Ok(())
}

#[testing::test]
async fn contexts_of_one_chain_share_their_records_and_others_do_not() -> Result<()> {
    let (context, other) = (testing::local_context(), testing::local_context());
    let (node, _) = bell("bell");
    node.node_bind("test.bell", &context.child()).await?;
    assert_eq!((context.records()[0], context.child().records()[0]), (1, 1));
    assert_eq!(other.records(), [0; 4]);
    let mine = node.node_context().expect("bound");
    context.insert(5_u8);
    assert_eq!(
        mine.get::<u8>().as_deref(),
        Some(&5),
        "derived from the one it was bound with"
    );
    Ok(())
}

#[testing::test]
async fn a_handler_may_own_connections_and_values_that_go_with_it() -> Result<()> {
    let context = testing::local_context();
    let (node, log) = bell("bell");
    node.node_bind("test.bell", &context).await?;
    let inner = node.rang.connect(writes(&log, "inner"));
    let outer = node.rang.connect(move |_| {
        let _ = &inner;
    });
    let elsewhere = node.connect(Bell::rang, "test.other", drop)?;
    let keeper = node.connect(Bell::rang, "test.other", move |_| {
        let _ = &elsewhere;
    })?;
    let life = node.on_unbind(drop);
    let more_life = node.on_unbind(move |_| {
        let _ = &life;
    });
    drop((outer, keeper, more_life));
    node.rang.notify(1).await?;
    assert!(
        !log.borrow().contains(&"inner 1".to_owned()),
        "the inner one went with the outer one"
    );
    assert_eq!(context.records()[2], 1, "nobody listens elsewhere");
    Ok(())
}

#[test]
fn who_fell_behind_is_told_once_and_hears_on() {
    testing::run(async {
        let realm = Realm::new();
        let context = realm.context("user").await.unwrap();
        let (node, _) = bell("node");
        node.node_bind(Path::root("test").unwrap(), &context).await.unwrap();
        let heard: Rc<RefCell<Vec<Option<u32>>>> = Rc::default();
        let notes = heard.clone();
        let mut connection = node
            .connect_topic_resumable("far.away", move |event: Option<u32>| notes.borrow_mut().push(event))
            .unwrap();
        connection.ready().await.unwrap();
        let asked = realm.passed("SUBSCRIBE");
        let subscription = realm.with_router(|router| router.stats().subscriptions);
        let event = coati_shared::wamp::message::Event {
            subscription: SubscriptionId::new(subscription as u64).unwrap(),
            publication: PublicationId::new(1).unwrap(),
            details: EventDetails::default(),
            payload: Payload::empty(CodecId::Msgpack),
        };
        let message = Arc::new(Outgoing::new(Message::Event(event)));
        let connection_id = ConnectionId(1);
        realm.handle(Input::Behind {
            connection: connection_id,
            message,
        });
        testing::settle().await;
        assert_eq!(*heard.borrow(), [None]);
        assert_eq!(realm.passed("SUBSCRIBE"), asked + 1, "it asked to hear again");
        let other = realm.peer("other").await.unwrap();
        let payload = Payload::encode(other.codec(), &(5,)).unwrap();
        other
            .publish_acknowledged(&Uri::strict("far.away").unwrap(), payload, PublishOptions::default())
            .await
            .unwrap();
        testing::settle().await;
        assert_eq!(*heard.borrow(), [None, Some(5)], "once");
    });
}
