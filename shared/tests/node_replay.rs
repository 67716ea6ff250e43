//! The past of signals: who connects later hears the last events first, each once, wherever they are.

use std::{cell::RefCell, rc::Rc};

use coati_shared::{
    prelude::*,
    testing::{self, Placement, Realm, settle},
};

#[node]
struct Desk {
    #[signal(replay = 3)]
    on_news: Signal<u32>,
    #[signal(replay)]
    on_state: Signal<String>,
    #[signal]
    on_chat: Signal<u32>,
}

#[node]
struct Reader {
    heard: Value<Vec<u32>>,
    states: Value<Vec<String>>,
}

#[handlers]
impl Reader {
    #[handler(Desk::on_news, at = "@desk")]
    fn news(&self, number: u32) {
        self.heard.update(|all| all.push(number));
    }

    #[handler(Desk::on_state, at = "@desk")]
    async fn state(&self, text: String) {
        self.states.update(|all| all.push(text));
    }

    #[handler(Desk::on_chat, at = "@desk")]
    fn chat(&self, number: u32) {
        self.heard.update(|all| all.push(number));
    }
}

type Heard = Rc<RefCell<Vec<u32>>>;

fn ear(heard: &Heard) -> impl Fn(u32) + 'static {
    let heard = heard.clone();
    move |number| heard.borrow_mut().push(number)
}

async fn desk(at: &Placement, numbers: std::ops::RangeInclusive<u32>) -> Result<Rc<Desk>> {
    let desk = Desk::new();
    desk.node_bind(Path::root("test")?.join("desk")?, &at.far).await?;
    for number in numbers {
        desk.on_news.notify(number).await?;
        desk.on_state.notify(format!("state {number}")).await?;
        desk.on_chat.notify(number).await?;
    }
    at.settle().await;
    Ok(desk)
}

#[testing::test]
async fn a_declared_handler_that_is_bound_later_hears_the_last_events_first(at: Placement) -> Result<()> {
    let desk = desk(&at, 1..=5).await?;
    let reader = Reader::new();
    reader.node_bind(Path::root("test")?.join("reader")?, &at.near).await?;
    // The past is that of the moment when the desk is asked for it.
    at.settle().await;
    desk.on_news.notify(6).await?;
    at.settle().await;
    assert_eq!(reader.heard.get(), [3, 4, 5, 6]);
    assert_eq!(reader.states.get(), ["state 5"]);
    reader.node_unbind().await?;
    desk.on_news.notify(7).await?;
    reader.node_bind(Path::root("test")?.join("reader")?, &at.near).await?;
    at.settle().await;
    assert_eq!(
        reader.heard.get(),
        [3, 4, 5, 6, 5, 6, 7],
        "a new life is a new listener"
    );
    Ok(())
}

#[testing::test]
async fn who_connects_at_run_time_misses_nothing_that_is_fired_meanwhile(at: Placement) -> Result<()> {
    let desk = desk(&at, 1..=5).await?;
    let node = Desk::new();
    node.node_bind("test.near", &at.near).await?;
    let (late, by_text) = (Heard::default(), Heard::default());
    let mut connection = node.connect(Desk::on_news, "test.desk", ear(&late))?;
    let mut live = node.connect_topic("test.desk.on_news", ear(&by_text))?;
    desk.on_news.notify(6).await?;
    let (ready, both) = futures::join!(connection.ready(), live.ready());
    ready?;
    both?;
    desk.on_news.notify(7).await?;
    at.settle().await;
    node.remote_dyn("test.desk")?.notify("on_news", 8)?;
    at.settle().await;
    assert!(late.borrow().ends_with(&[4, 5, 6, 7, 8]), "{late:?}");
    assert!(late.borrow().is_sorted_by(|one, other| one < other), "{late:?}");
    assert!(
        by_text.borrow().ends_with(&[7, 8]),
        "by text there is no past: {by_text:?}"
    );
    assert!(by_text.borrow().len() <= 3, "{by_text:?}");
    let later = Heard::default();
    let mut connection = node.connect(Desk::on_news, "test.desk", ear(&later))?;
    connection.ready().await?;
    assert_eq!(*later.borrow(), [6, 7, 8], "what others fired is kept, too");
    Ok(())
}

#[testing::test]
async fn a_signal_keeps_events_for_its_own_object_while_its_node_is_bound() -> Result<()> {
    let (desk, context) = (Desk::new(), testing::local_context());
    let heard = Heard::default();
    desk.on_news.notify(1).await?;
    drop(desk.on_news.connect(ear(&heard)));
    assert!(heard.borrow().is_empty(), "before it is bound nothing is kept");
    desk.node_bind("test.desk", &context).await?;
    for number in 2..=6 {
        desk.on_news.notify(number).await?;
    }
    let connection = desk.on_news.connect(ear(&heard));
    assert_eq!(*heard.borrow(), [4, 5, 6]);
    desk.on_news.notify(7).await?;
    assert_eq!(*heard.borrow(), [4, 5, 6, 7]);
    drop(connection);
    desk.node_unbind().await?;
    desk.node_bind("test.desk", &context).await?;
    let _connection = desk.on_news.connect(ear(&heard));
    assert_eq!(heard.borrow().len(), 4, "unbinding forgets");
    Ok(())
}

#[testing::test]
async fn who_is_connected_by_a_handler_hears_the_event_once() -> Result<()> {
    let (desk, context) = (Desk::new(), testing::local_context());
    desk.node_bind("test.desk", &context).await?;
    let (heard, connections) = (Heard::default(), Rc::new(RefCell::new(Vec::new())));
    let (source, inner, made) = (desk.on_news.clone(), heard.clone(), connections.clone());
    let first = desk.on_news.connect(move |number| {
        if number == 2 {
            made.borrow_mut().push(source.connect(ear(&inner)));
        }
    });
    for number in 1..=3 {
        desk.on_news.notify(number).await?;
    }
    assert_eq!(*heard.borrow(), [1, 2, 3]);
    drop(first);
    connections.borrow_mut().clear();
    Ok(())
}

#[testing::test]
async fn a_listener_that_comes_back_hears_what_it_missed_and_nothing_twice() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (
        NodeContext::root(testing::default_platform(), None),
        realm.context("node").await?,
    );
    let desk = Desk::new();
    desk.node_bind("test.desk", &far).await?;
    let peer = realm.peer("node").await?;
    near.set_peer(Some(peer.clone())).await?;
    let reader = Reader::new();
    reader.node_bind(Path::root("test")?.join("reader")?, &near).await?;
    let notify = async |number| {
        desk.on_news.notify(number).await.expect("no handler fails");
        settle().await;
    };
    notify(1).await;
    notify(2).await;
    assert_eq!(reader.heard.get(), [1, 2]);
    realm.cut(&peer);
    near.set_peer(None).await?;
    notify(3).await;
    assert_eq!(reader.heard.get(), [1, 2]);
    near.set_peer(Some(realm.peer("node").await?)).await?;
    notify(4).await;
    assert_eq!(reader.heard.get(), [1, 2, 3, 4]);
    Ok(())
}

#[testing::test]
async fn where_nobody_keeps_a_past_the_present_is_heard() -> Result<()> {
    let realm = Realm::new();
    let (near, far) = (realm.context("node").await?, realm.context("node").await?);
    let reader = Reader::new();
    reader.node_bind(Path::root("test")?.join("reader")?, &near).await?;
    settle().await;
    let desk = Desk::new();
    desk.node_bind("test.desk", &far).await?;
    desk.on_news.notify(1).await?;
    settle().await;
    assert_eq!(reader.heard.get(), [1]);
    Ok(())
}
