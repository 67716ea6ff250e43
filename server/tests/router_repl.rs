//! The operator's prompt against a running router.

mod support;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use coati_server::{
    Running, Server,
    repl::{self, Names, Options, Typed},
    router::Open,
};
use serde_json::json;
use shared::{platform::default_platform, prelude::*, wamp::router::Principal};
use support::{private, raw::Raw};
use tokio::{sync::mpsc, task::LocalSet};

struct Operator {
    lines: mpsc::Sender<Typed>,
    said: Rc<RefCell<Vec<String>>>,
}

impl Operator {
    /// Types a line; what was said until it was answered.
    async fn types(&self, line: &str) -> String {
        let (done, answered) = std::sync::mpsc::sync_channel(1);
        self.said.borrow_mut().clear();
        self.lines.send((line.to_owned(), done)).await.expect("the prompt runs");
        let deadline = Instant::now() + Duration::from_secs(5);
        while answered.try_recv().is_err() {
            assert!(Instant::now() < deadline, "{line} is answered");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.said.borrow().join("\n")
    }

    async fn hears(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.said.borrow().iter().any(|line| line == text) {
            assert!(Instant::now() < deadline, "{text} in {:?}", self.said.borrow());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The test answers how many commands could not be obeyed.
async fn with_operator(test: impl AsyncFnOnce(&Running, &Operator, &Names) -> usize) {
    let server = Server::builder()
        .config(private())
        .authorizer(Box::new(Open))
        .meta_role("anonymous");
    let server = server.start().await.expect("the server starts");
    let options = Options {
        url: format!("ws://{}/ws", server.address()),
        realm: "realm1".to_owned(),
        token: None,
        history: None,
    };
    let (lines, typed) = mpsc::channel(1);
    let (said, names) = (Rc::new(RefCell::new(Vec::new())), Names::default());
    let operator = Operator {
        lines,
        said: said.clone(),
    };
    let say = Rc::new(move |line: &str| said.borrow_mut().push(line.to_owned()));
    LocalSet::new()
        .run_until(async {
            let prompt = tokio::task::spawn_local(repl::converse(options, typed, names.clone(), say));
            let failed = test(&server, &operator, &names).await;
            drop(operator);
            assert_eq!(prompt.await.expect("no panic").expect("an orderly end"), failed);
        })
        .await;
    server.stop().await;
}

#[tokio::test]
async fn an_operator_sees_who_is_there_calls_publishes_and_watches() {
    with_operator(async |server, operator, names| {
        let mut raw = Raw::anonymous(server).await;
        raw.ask(json!([64, 1, {}, "shop.till.add"])).await;
        raw.ask(json!([64, 2, {}, "shop.door.open"])).await;
        raw.ask(json!([32, 3, {}, "shop.door.on_opened"])).await;

        let sessions = operator.types("sessions").await;
        assert_eq!(sessions.lines().count(), 2, "{sessions}");
        assert!(sessions.contains(&raw.session.to_string()), "{sessions}");
        let registrations = operator.types("registrations").await;
        assert!(
            registrations.contains("shop.till.add  (exact)  1 callees"),
            "{registrations}"
        );
        let subscriptions = operator.types("subscriptions").await;
        assert_eq!(subscriptions, "shop.door.on_opened  (exact)  1 subscribers");
        assert!(
            names.lock().expect("sound").contains(&"shop.till.add".to_owned()),
            "for completion"
        );
        assert_eq!(
            operator.types("tree shop").await,
            "shop\n  door\n    on_opened  1\n    open()  1\n  till\n    add()  1"
        );

        let calling = operator.types("call shop.till.add 2 [3] unit=\"kg \\u001b\"");
        let answering = async {
            let invocation = raw.next().await.message();
            assert_eq!(
                (&invocation[4], &invocation[5]),
                (&json!([2, [3]]), &json!({"unit": "kg \u{1b}"}))
            );
            raw.send(json!([70, invocation[1], {}, [5], {"unit": "\u{1b}"}])).await;
        };
        let (result, ()) = tokio::join!(calling, answering);
        assert_eq!(result, "5 unit=\"\\u001b\"", "control characters reach no terminal");
        let refused = operator.types("call nobody.offers").await;
        assert!(refused.starts_with("wamp.error.no_such_procedure: "), "{refused}");

        assert_eq!(operator.types("publish shop.door.on_opened today").await, "published");
        assert_eq!(raw.next().await.message()[4], json!(["today"]));
        assert_eq!(operator.types("watch news. prefix").await, "watching news.");
        raw.send(json!([16, 4, {}, "news.local", ["rain", 3]])).await;
        operator.hears("news.local: \"rain\" 3").await;
        assert_eq!(operator.types("unwatch news.").await, "");
        assert_eq!(operator.types("subscriptions").await.lines().count(), 1);
        let wrong = operator.types("cal x").await;
        assert!(wrong.contains("help"), "{wrong}");
        assert_eq!(operator.types("realms").await, "realm1");
        2
    })
    .await;
}

#[node]
struct Till {
    sum: Value<u32>,
    #[secret]
    #[init(Value::new("0451".to_owned()))]
    code: Value<String>,
    #[signal]
    on_sold: Signal<u32>,
}

#[tokio::test]
async fn an_operator_walks_over_nodes_reads_their_state_and_follows_a_value() {
    with_operator(async |server, operator, names| {
        let principal = Principal::new("shop", "node", "test");
        let peer = server.realm().internal_peer(default_platform(), principal).await;
        let context = NodeContext::root(default_platform(), Some(peer.expect("a realm")));
        let (shop, till) = (Till::new(), Till::new());
        let place = Path::root("shop").and_then(|root| root.join("server")).expect("a path");
        shop.node_bind(place, &context).await.expect("free");
        shop.node_add("till", till.clone()).await.expect("free");
        let mut raw = Raw::anonymous(server).await;
        raw.ask(json!([64, 1, {"match": "prefix"}, "other."])).await;

        let roots = operator.types("nodes").await;
        let silent = "other  (";
        assert!(
            roots.starts_with(silent) && roots.ends_with("\nshop.server  Till"),
            "{roots}"
        );
        assert!(!roots.contains("till"), "{roots}");
        let walked = "shop.server  Till\n  till  Till";
        assert_eq!(operator.types("nodes shop").await, walked);
        assert_eq!(operator.types("nodes shop.server").await, walked);
        assert_eq!(operator.types("nodes shop.server.till").await, "shop.server.till  Till");
        assert!(
            names.lock().expect("sound").contains(&"shop.server.till".to_owned()),
            "for completion"
        );
        let state = "shop.server  Till\n  signal on_sold\n  sum = 0\n  code = (secret)\n  .till";
        assert_eq!(operator.types("state shop.server").await, state);

        let followed = operator.types("follow shop.server.till sum").await;
        assert_eq!(followed, "shop.server.till sum = 0");
        till.sum.set(7);
        operator.hears("shop.server.till sum = 7").await;
        assert_eq!(operator.types("unfollow shop.server.till sum").await, "");
        assert_eq!(
            operator.types("follow shop.server.till sum").await,
            "shop.server.till sum = 7"
        );
        shop.node_remove("till").await.expect("it is there");
        operator
            .hears("shop.server.till sum is not followed any more: The node was unbound.")
            .await;

        for (line, word) in [
            ("state shop.server.till", "no_such_procedure"),
            ("state nobody", "no_such_procedure"),
            ("nodes nobody", "no_such_procedure"),
            ("follow shop.server code", "secret"),
            ("follow shop.server nothing", "nothing"),
            ("unfollow shop.server sum", "not followed"),
            ("unwatch shop", "not watched"),
        ] {
            let said = operator.types(line).await;
            assert!(said.contains(word), "{line}: {said}");
        }
        context.shutdown().await.expect("no handler fails");
        7
    })
    .await;
}

#[tokio::test]
async fn a_wrong_address_or_realm_is_one_line() {
    let say: repl::Say = Rc::new(|_: &str| {});
    let server = Server::builder().config(private()).start().await.expect("it starts");
    for (url, realm, word) in [
        ("ws://127.0.0.1:1/ws".to_owned(), "realm1", "127.0.0.1:1"),
        (format!("ws://{}/ws", server.address()), "other", "join"),
    ] {
        let options = Options {
            url,
            realm: realm.to_owned(),
            token: None,
            history: None,
        };
        let (_lines, typed) = mpsc::channel(1);
        let conversation = repl::converse(options, typed, Names::default(), say.clone());
        let refused = LocalSet::new().run_until(conversation).await.expect_err("refused");
        let text = refused.to_string();
        assert!(text.contains(word) && !text.contains('\n'), "{text}");
    }
    server.stop().await;
}
