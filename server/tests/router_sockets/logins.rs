//! Logins, realms, rules and limits as a configuration file sets them, over real sockets.

use std::time::{Duration, Instant};

use coati_server::{Config, Running, config::file::RouterFile};
use serde_json::{Value, json};
use shared::wamp::router::authentication::{Salt, derive_key, sign_challenge};

use super::support::{
    get,
    octets::Octets,
    private,
    raw::{Raw, Seen, roles},
};

const JSON: (&str, &str) = ("sec-websocket-protocol", "wamp.2.json");
const FAILED: &str = "wamp.error.authentication_failed";

async fn start(config: Config, text: &str) -> Running {
    let file = RouterFile::parse("test.toml", text).expect("the file is right");
    let builder = file.builder(config).expect("the settings are right");
    builder.start().await.expect("the router starts")
}

async fn open(server: &Running) -> Raw {
    Raw::open(server.address(), &[JSON])
        .await
        .expect("everybody gets a socket")
}

fn hello(realm: &str, method: &str, authid: &str) -> Value {
    json!([1, realm, {"roles": roles(), "authmethods": [method], "authid": authid}])
}

/// Joins by ticket; the router's last word.
async fn by_ticket(raw: &mut Raw, realm: &str, authid: &str, ticket: &str) -> Value {
    let challenge = raw.ask(hello(realm, "ticket", authid)).await;
    if challenge[0] != 4 {
        return challenge;
    }
    raw.ask(json!([5, ticket, {}])).await
}

async fn anonymous(server: &Running, realm: &str) -> Raw {
    let mut raw = open(server).await;
    let welcome = raw.ask(hello(realm, "anonymous", "")).await;
    assert_eq!(welcome[0], 2, "{welcome}");
    raw
}

const LOGINS: &str = r#"
    [[role]]
    name = "user"
    [[role.permission]]
    uri = "open."
    match = "prefix"
    allow = ["call", "register", "publish", "subscribe"]
    [[role.permission]]
    uri = "open.closed"
    allow = []
    [[login]]
    authid = "tim"
    role = "user"
    ticket = "a long ticket"
    [[login]]
    authid = "salty"
    role = "user"
    wampcra = { secret = "hidden", salt = "pepper", iterations = 20, keylen = 24 }
"#;

#[tokio::test]
async fn who_proves_a_name_of_the_file_joins_and_nobody_else() {
    let server = start(private(), LOGINS).await;
    let mut raw = open(&server).await;
    let welcome = by_ticket(&mut raw, "realm1", "tim", "a long ticket").await;
    assert_eq!(
        (
            &welcome[2]["authid"],
            &welcome[2]["authrole"],
            &welcome[2]["authmethod"]
        ),
        (&json!("tim"), &json!("user"), &json!("ticket")),
        "{welcome}"
    );
    let denied = raw.ask(json!([32, 1, {}, "open.closed"])).await;
    assert_eq!(denied[4], "wamp.error.not_authorized", "the narrower rule denies");
    assert_eq!(raw.ask(json!([32, 2, {}, "open.x"])).await[0], 33);
    for (authid, ticket) in [("tim", "guess"), ("tom", "a long ticket"), ("", "")] {
        let mut raw = open(&server).await;
        let refused = by_ticket(&mut raw, "realm1", authid, ticket).await;
        assert_eq!((&refused[0], &refused[2]), (&json!(3), &json!(FAILED)), "{authid}");
    }
    for (secret, expected) in [("hidden", json!(2)), ("guess", json!(3))] {
        let mut raw = open(&server).await;
        let challenge = raw.ask(hello("realm1", "wampcra", "salty")).await;
        let extra = &challenge[2];
        assert_eq!((&extra["iterations"], &extra["keylen"]), (&json!(20), &json!(24)));
        let salt = Salt {
            salt: extra["salt"].as_str().expect("text").to_owned(),
            iterations: 20,
            key_length: 24,
        };
        let text = extra["challenge"].as_str().expect("text");
        let signature = sign_challenge(derive_key(secret, &salt).as_bytes(), text);
        assert_eq!(raw.ask(json!([5, signature, {}])).await[0], expected, "{secret}");
    }
    let mut raw = open(&server).await;
    let refused = raw.ask(hello("realm1", "anonymous", "")).await;
    assert_eq!(refused[2], "wamp.error.no_auth_method");
    server.stop().await;
}

#[tokio::test]
async fn guessing_is_slowed_for_who_guesses_and_for_nobody_else() {
    let server = start(private(), LOGINS).await;
    let mut told = Vec::new();
    for _ in 0..8 {
        let mut raw = open(&server).await;
        let refused = by_ticket(&mut raw, "realm1", "tim", "guess").await;
        assert_eq!(refused[2], FAILED, "{refused}");
        told.push(refused[1]["message"].as_str().unwrap_or_default().to_owned());
    }
    let slowed = told.iter().filter(|text| text.starts_with("Too many tries")).count();
    assert!((2..=3).contains(&slowed), "{told:?}");
    let mut raw = open(&server).await;
    let refused = by_ticket(&mut raw, "realm1", "tim", "a long ticket").await;
    assert_eq!(refused[0], 3, "now the right one has to wait too: {refused}");
    let mut raw = open(&server).await;
    assert_eq!(
        raw.ask(hello("realm1", "wampcra", "salty")).await[0],
        4,
        "another name does not"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_answer_a_challenge_is_closed_in_time() {
    let mut config = private();
    config.connections.handshake = Duration::from_millis(500);
    let server = start(config, LOGINS).await;
    let mut raw = open(&server).await;
    let begin = Instant::now();
    assert_eq!(raw.ask(hello("realm1", "ticket", "tim")).await[0], 4);
    let abort = raw.next().await.message();
    assert_eq!(abort[2], "wamp.error.protocol_violation", "{abort}");
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let mut raw = open(&server).await;
    raw.text(&format!("[1,\"realm1\",{{\"x\":\"{}\"}}]", "x".repeat(70_000)))
        .await;
    assert_eq!(
        raw.next().await.message()[2],
        "wamp.error.payload_size_exceeded",
        "before it is known who that is"
    );
    server.stop().await;
}

const REALMS: &str = r#"
    [[realm]]
    name = "one"
    [realm.authentication]
    anonymous = "guest"
    [[realm.role]]
    name = "guest"
    [[realm.role.permission]]
    uri = "t"
    allow = ["publish", "subscribe"]

    [[realm]]
    name = "two"
    [realm.authentication]
    anonymous = "visitor"
    [[realm.role]]
    name = "visitor"
    [[realm.role.permission]]
    uri = "t"
    allow = ["publish", "subscribe"]
    [[realm.role.permission]]
    uri = "only.here"
    allow = ["subscribe"]
"#;

#[tokio::test]
async fn realms_are_apart_and_a_socket_goes_from_one_to_the_other() {
    let server = start(private(), REALMS).await;
    let mut one = anonymous(&server, "one").await;
    let mut two = anonymous(&server, "two").await;
    for raw in [&mut one, &mut two] {
        assert_eq!(raw.ask(json!([32, 1, {}, "t"])).await[0], 33);
    }
    let denied = one.ask(json!([32, 2, {}, "only.here"])).await;
    assert_eq!(denied[4], "wamp.error.not_authorized");
    assert_eq!(two.ask(json!([32, 2, {}, "only.here"])).await[0], 33);
    let mut sender = anonymous(&server, "two").await;
    assert_eq!(sender.ask(json!([16, 1, {"acknowledge": true}, "t", [2]])).await[0], 17);
    assert_eq!(two.next().await.message()[4], json!([2]));
    let second = hello("one", "anonymous", "");
    sender.send(second.clone()).await;
    assert_eq!(
        sender.next().await.message()[2],
        "wamp.error.protocol_violation",
        "it is in a session"
    );
    let mut sender = anonymous(&server, "two").await;
    sender.send(json!([6, {}, "wamp.close.close_realm"])).await;
    sender.send(second).await;
    assert_eq!(sender.next().await.message()[0], 6);
    let welcome = sender.next().await.message();
    assert_eq!(
        (&welcome[0], &welcome[2]["authrole"]),
        (&json!(2), &json!("guest")),
        "{welcome}"
    );
    assert_eq!(sender.ask(json!([16, 1, {"acknowledge": true}, "t", [1]])).await[0], 17);
    assert_eq!(
        one.next().await.message()[4],
        json!([1]),
        "the event of the other realm never came"
    );
    let mut lost = open(&server).await;
    assert_eq!(
        lost.ask(hello("three", "anonymous", "")).await[2],
        "wamp.error.no_such_realm"
    );
    let stats = |name: &str| server.realm_named(name).expect("a realm").stats().router.sessions;
    assert_eq!((stats("one"), stats("two")), (2, 1));
    server.stop().await;
}

#[tokio::test]
async fn each_limit_of_a_role_is_refused_by_a_named_error() {
    let server = start(
        private(),
        r#"
        [authentication]
        anonymous = "small"
        [[role]]
        name = "small"
        limits = { subscriptions = 2, registrations = 2, patterns = 1, calls = 1, testaments = 1, message = 2000 }
        [[role.permission]]
        uri = ""
        match = "prefix"
        allow = ["call", "register", "publish", "subscribe"]
        "#,
    )
    .await;
    let mut raw = anonymous(&server, "realm1").await;
    let busy = "coati.error.busy";
    assert_eq!(raw.ask(json!([32, 1, {"match": "prefix"}, "a."])).await[0], 33);
    assert_eq!(
        raw.ask(json!([32, 2, {"match": "prefix"}, "b."])).await[4],
        busy,
        "patterns"
    );
    assert_eq!(raw.ask(json!([32, 3, {}, "c"])).await[0], 33);
    assert_eq!(raw.ask(json!([32, 4, {}, "d"])).await[4], busy, "subscriptions");
    for (request, procedure) in [(5, "p"), (6, "q")] {
        assert_eq!(raw.ask(json!([64, request, {}, procedure])).await[0], 65);
    }
    assert_eq!(raw.ask(json!([64, 7, {}, "r"])).await[4], busy, "registrations");
    assert_eq!(raw.ask(json!([48, 8, {}, "p"])).await[0], 68);
    assert_eq!(raw.ask(json!([48, 9, {}, "q"])).await[4], busy, "calls");
    raw.send(json!([70, 1, {}])).await;
    assert_eq!(raw.next().await.message()[0], 50);
    let testament = |request| json!([48, request, {}, "wamp.session.add_testament", ["t", [], {}]]);
    assert_eq!(raw.ask(testament(10)).await[0], 50);
    assert_eq!(raw.ask(testament(11)).await[4], busy, "testaments");
    raw.send(json!([16, 12, {}, "t", ["x".repeat(2000)]])).await;
    assert_eq!(
        raw.next().await.message()[2],
        "wamp.error.payload_size_exceeded",
        "message"
    );
    assert!(matches!(raw.next().await, Seen::Closed(1009, _)));
    server.stop().await;
}

#[tokio::test]
async fn a_role_has_its_own_rate_of_calls() {
    let server = start(
        private(),
        r#"
        [authentication]
        anonymous = "small"
        [[role]]
        name = "small"
        limits = { calls_per_second = 1 }
        [[role.permission]]
        uri = ""
        match = "prefix"
        allow = ["call", "publish", "subscribe"]
        "#,
    )
    .await;
    let mut raw = anonymous(&server, "realm1").await;
    let mut answers = Vec::new();
    for request in 1..=10 {
        answers.push(raw.ask(json!([48, request, {}, "nobody"])).await[4].clone());
    }
    let refused = answers.iter().filter(|error| **error == "coati.error.busy").count();
    assert!(
        (4..=6).contains(&refused),
        "four at once, then one per second: {answers:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn each_realm_keeps_what_it_is_told_to_and_says_so() {
    let history = r#"
    [[realm.history.topic]]
    uri = "t"
    events = 2
    "#;
    let server = start(private(), &format!("{REALMS}{history}")).await;
    for (realm, kept) in [("one", None), ("two", Some([json!([2]), json!([3])]))] {
        let mut raw = open(&server).await;
        let welcome = raw.ask(hello(realm, "anonymous", "")).await;
        let features = &welcome[2]["roles"]["broker"]["features"];
        assert_eq!(features["event_history"] == true, kept.is_some(), "{welcome}");
        for number in 1..=3 {
            let publish = json!([16, number, {"acknowledge": true}, "t", [number]]);
            assert_eq!(raw.ask(publish).await[0], 17);
        }
        let mut away = anonymous(&server, realm).await;
        let subscription = away.ask(json!([32, 1, {}, "t"])).await[2].clone();
        let asked = json!([48, 2, {}, "wamp.subscription.get_events", [subscription, 10]]);
        let answer = away.ask(asked).await;
        let Some(kept) = kept else {
            assert_eq!(answer[4], "wamp.error.history_unavailable", "{answer}");
            continue;
        };
        let events = answer[3].as_array().expect("events");
        let events: Vec<_> = events.iter().map(|event| event["args"].clone()).collect();
        assert_eq!(events, kept);
    }
    server.stop().await;
}

/// Two roles: the queue of one is small.
const QUEUES: &str = r#"
    [[role]]
    name = "small"
    limits = { LIMIT }
    permission = [{ uri = "t", allow = ["subscribe"] }]
    [[role]]
    name = "usual"
    permission = [{ uri = "t", allow = ["publish", "subscribe"] }]
    [[login]]
    authid = "small"
    role = "small"
    ticket = "t"
    [[login]]
    authid = "usual"
    role = "usual"
    ticket = "t"
"#;

#[tokio::test]
async fn a_role_has_its_own_queue_in_messages_and_in_bytes_and_who_fills_it_is_closed_by_name() {
    const BYTES: usize = 20_000;
    // Both are far below the 1 MiB and 1,024 messages of other queues.
    for (limit, most) in [
        ("queue_messages = 8", 8 * (BYTES + 100)),
        ("queue_bytes = 45000", 45_000),
    ] {
        let server = start(private(), &QUEUES.replace("LIMIT", limit)).await;
        let mut peers = Vec::new();
        for name in ["small", "usual", "usual"] {
            let mut raw = open(&server).await;
            assert_eq!(by_ticket(&mut raw, "realm1", name, "t").await[0], 2);
            peers.push(raw);
        }
        let [small, usual, publisher] = peers.as_mut_slice() else {
            panic!("three peers")
        };
        for raw in [&mut *small, &mut *usual] {
            assert_eq!(raw.ask(json!([32, 1, {}, "t"])).await[0], 33);
        }
        let (text, mut queued) = ("x".repeat(BYTES), 0);
        // At most as much as the system buffers for who does not read.
        for request in 1..2_000 {
            publisher.send(json!([16, request, {}, "t", [text]])).await;
            assert_eq!(usual.next().await.message()[0], 36, "who reads gets every event");
            let stats = server.realm().stats();
            if stats.slow_peers > 0 {
                break;
            }
            queued = queued.max(stats.queue_bytes);
        }
        assert!(most / 2 < queued && queued <= most, "{limit}: {queued} bytes waited");
        let goodbye = loop {
            let message = small.next().await.message();
            if message[0] != 36 {
                break message;
            }
        };
        assert_eq!((&goodbye[0], &goodbye[2]), (&json!(6), &json!("coati.close.too_slow")));
        assert!(matches!(small.next().await, Seen::Closed(1013, _)));
        let metrics = get(server.address(), "/metrics", &[]).await.text();
        let closed = metrics
            .lines()
            .find_map(|line| line.strip_prefix("coati_slow_peers_closed_total{peer=\"component\"} "));
        assert!(
            closed.is_some_and(|closed| closed != "0"),
            "a role with limits of its own is that of a program: {metrics}"
        );
        server.stop().await;
    }
}

#[tokio::test]
async fn a_role_has_its_own_number_of_retained_events_and_the_oldest_goes() {
    let server = start(
        private(),
        r#"
        [authentication]
        anonymous = "small"
        [[role]]
        name = "small"
        limits = { retained = 2 }
        permission = [{ uri = "", match = "prefix", allow = ["publish", "subscribe"] }]
        "#,
    )
    .await;
    let mut raw = anonymous(&server, "realm1").await;
    for (request, topic) in ["a", "b", "c"].iter().enumerate() {
        let publish = json!([16, request + 1, {"acknowledge": true, "retain": true}, topic, [topic]]);
        assert_eq!(raw.ask(publish).await[0], 17);
    }
    let mut late = anonymous(&server, "realm1").await;
    for (request, topic) in ["a", "b", "c"].iter().enumerate() {
        let subscribe = json!([32, request + 1, {"get_retained": true}, topic]);
        assert_eq!(late.ask(subscribe).await[0], 33);
        if *topic != "a" {
            assert_eq!(
                late.next().await.message()[4],
                json!([topic]),
                "this one is still there"
            );
        }
    }
    assert_eq!(server.realm().stats().router.retained, 2);
    server.stop().await;
}

#[tokio::test]
async fn a_raw_socket_leads_into_the_realm_that_hello_names_and_gives_its_role_in_one_of_them() {
    let doors = r#"
    [[realm.role]]
    name = "keeper"
    [[rawsocket]]
    address = "tcp:127.0.0.1:0"
    realm = "two"
    role = "keeper"
    [[rawsocket]]
    address = "tcp:127.0.0.1:0"
    "#;
    let server = start(private(), &format!("{REALMS}{doors}")).await;
    let to = server.raw_addresses().to_vec();
    for (door, realm, role) in [
        (to[0], "two", "keeper"),
        (to[0], "one", "guest"),
        (to[1], "two", "visitor"),
        (to[1], "one", "guest"),
    ] {
        let mut raw = Octets::tcp(door).await;
        assert_eq!(raw.greet([0x7F, 0xF1, 0, 0]).await[0], 0x7F);
        raw.say(&hello(realm, "anonymous", "")).await;
        let welcome = raw.heard().await;
        assert_eq!(
            (&welcome[2]["realm"], &welcome[2]["authrole"]),
            (&json!(realm), &json!(role)),
            "{welcome}"
        );
        raw.say(&json!([6, {}, "wamp.close.close_realm"])).await;
        assert_eq!(raw.heard().await[0], 6);
        raw.say(&hello("three", "anonymous", "")).await;
        assert_eq!(raw.heard().await[2], "wamp.error.no_such_realm");
    }
    server.stop().await;
}
