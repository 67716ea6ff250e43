//! Peers that ask for too much, answer nothing or say what they may not, over real sockets. Numbers are those of `faults.md`.

mod support;

use std::time::{Duration, Instant};

use coati_server::{Running, Server, router::Open};
use proptest::{prelude::*, sample::select, strategy::ValueTree, test_runner::TestRunner};
use serde_json::{Value, json};
use support::{
    octets::{Octets, ws_frame},
    private,
    raw::{Raw, Seen},
    with_accounts,
};

const TEXT: u8 = 0x81;

/// A router where everybody may do everything, with the limits of browsers.
async fn open_router() -> Running {
    let mut config = private();
    config.connections.per_address = 4_000;
    config.connections.requests_per_address = 4_000;
    config.connections.handshake = Duration::from_secs(2);
    Server::builder()
        .config(config)
        .authorizer(Box::new(Open))
        .start()
        .await
        .expect("the server starts")
}

/// Joins with everything that a callee can announce.
async fn callee(server: &Running) -> Raw {
    let mut raw = Raw::open(server.address(), &[("sec-websocket-protocol", "wamp.2.json")])
        .await
        .expect("a socket");
    let features = json!({"progressive_call_results": true, "call_canceling": true});
    let roles = json!({"caller": {"features": features}, "callee": {"features": features}});
    assert_eq!(raw.ask(json!([1, "realm1", {"roles": roles}])).await[0], 2);
    raw
}

/// Waits, within bounds, until nothing of what is counted is left.
async fn until_no_call_is_left(server: &Running) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let stats = server.realm().stats().router;
        if (stats.calls, stats.held) == (0, 0) {
            return;
        }
        assert!(Instant::now() < deadline, "left behind: {stats:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn f36_two_thousand_sockets_that_trickle_are_cut_and_hold_up_nobody() {
    // Each takes two files of this process.
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let most = files.maximum.unwrap_or(u64::MAX);
    let wanted = rustix::process::Rlimit {
        current: Some(most.min(8_192)),
        ..files
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).expect("up to the maximum");
    let count = usize::try_from(most.saturating_sub(400) / 2)
        .unwrap_or(usize::MAX)
        .min(2_000);

    let server = open_router().await;
    let mut config = private();
    config.connections.requests_per_address = 4_000;
    config.connections.handshake = Duration::from_secs(2);
    let (forms, _) = with_accounts(Server::builder().config(config)).await;
    let mut witness = Raw::anonymous(&server).await;
    let mut trickling = tokio::task::JoinSet::new();
    for number in 0..count {
        let (to, form) = (server.address(), forms.address());
        trickling.spawn(async move {
            let mut peer = Octets::tcp(if number % 3 == 2 { form } else { to }).await;
            match number % 3 {
                0 => assert!(peer.send(b"GET /ws HTTP/1.1\r\nX-Slow: ").await),
                1 => {
                    assert_eq!(peer.upgrade(to, "Sec-WebSocket-Protocol: wamp.2.json\r\n").await, 101);
                    peer.send(&ws_frame(TEXT, &[b' '; 1000])[..8]).await;
                }
                _ => {
                    let head = format!(
                        "POST /login HTTP/1.1\r\nHost: {form}\r\nOrigin: http://{form}\r\n\
                         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nlogin="
                    );
                    assert!(peer.send(head.as_bytes()).await);
                }
            }
            let start = Instant::now();
            while peer.send(b" ").await {
                assert!(
                    start.elapsed() < Duration::from_secs(30),
                    "number {number} is still open"
                );
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }
    let (mut request, mut slowest) = (0, Duration::ZERO);
    while !trickling.is_empty() {
        request += 1;
        let start = Instant::now();
        assert_eq!(witness.ask(json!([48, request, {}, "a.b"])).await[0], 8);
        slowest = slowest.max(start.elapsed());
        while let Some(ended) = trickling.try_join_next() {
            ended.expect("it was cut in time");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    eprintln!("{count} sockets that trickle: the slowest of {request} calls beside them took {slowest:?}");
    assert_eq!(server.realm().stats().router.sessions, 1, "the witness");
    server.stop().await;
    forms.stop().await;
}

/// What a message of the grammar is made of.
#[derive(Clone, Copy, Debug)]
enum Part {
    Id,
    Options,
    Name,
}

/// What a client with a session may say that needs no answer to come first: code and parts.
const REQUESTS: [(u64, &[Part]); 6] = [
    (16, &[Part::Id, Part::Options, Part::Name]),
    (32, &[Part::Id, Part::Options, Part::Name]),
    (34, &[Part::Id, Part::Id]),
    (48, &[Part::Id, Part::Options, Part::Name]),
    (64, &[Part::Id, Part::Options, Part::Name]),
    (66, &[Part::Id, Part::Id]),
];

fn right(code: u64, parts: &[Part]) -> Vec<Value> {
    let parts = parts.iter().map(|part| match part {
        Part::Id => json!(1),
        Part::Options => json!({}),
        Part::Name => json!("a.b"),
    });
    std::iter::once(json!(code)).chain(parts).collect()
}

/// No id, no options and no name in the sense of the grammar.
fn wrong(part: Part) -> BoxedStrategy<Value> {
    let alien = vec![json!(null), json!(true), json!([1])];
    let more = match part {
        Part::Id => vec![
            json!(0),
            json!(-1),
            json!(1.5),
            json!(9_007_199_254_740_993_u64),
            json!(1e30),
            json!("1"),
            json!({}),
        ],
        Part::Options => vec![json!(1), json!("{}")],
        Part::Name => vec![json!(1), json!({})],
    };
    select([alien, more].concat()).boxed()
}

/// Whether it is said in a session, and what.
fn breach() -> impl Strategy<Value = (bool, Value)> {
    let request = || select(REQUESTS.to_vec());
    let part = (request(), any::<prop::sample::Index>()).prop_flat_map(|((code, parts), index)| {
        let place = index.index(parts.len());
        wrong(parts[place]).prop_map(move |value| {
            let mut message = right(code, parts);
            message[place + 1] = value;
            Value::Array(message)
        })
    });
    let short = (request(), any::<prop::sample::Index>()).prop_map(|((code, parts), index)| {
        let mut message = right(code, parts);
        message.truncate(index.index(message.len()));
        Value::Array(message)
    });
    let long = request().prop_map(|(code, parts)| {
        let mut message = right(code, parts);
        message.extend([json!([]), json!({}), json!(1)]);
        Value::Array(message)
    });
    let arguments = select(vec![
        json!([16, 1, {}, "a.b", {}]),
        json!([48, 1, {}, "a.b", 1]),
        json!([16, 1, {}, "a.b", [], []]),
    ]);
    let unknown = prop_oneof![
        (0_u64..400).prop_filter("known", |code| {
            ![
                1, 2, 3, 4, 5, 6, 8, 16, 17, 32, 33, 34, 35, 36, 48, 49, 50, 64, 65, 66, 67, 68, 69, 70, 337,
            ]
            .contains(code)
        }),
        Just(u64::MAX),
    ]
    .prop_map(|code| json!([code, 1, {}, "a.b"]));
    let no_list = select(vec![
        json!({}),
        json!("x"),
        json!(1),
        json!(null),
        json!([[]]),
        json!(["1"]),
        json!([-1]),
        json!([1.5]),
    ]);
    let of_routers = select(vec![
        json!([2, 1, {"roles": {}}]),
        json!([4, "ticket", {}]),
        json!([17, 1, 1]),
        json!([33, 1, 1]),
        json!([35, 1]),
        json!([36, 1, 1, {}]),
        json!([50, 1, {}]),
        json!([65, 1, 1]),
        json!([67, 1]),
        json!([68, 1, 1, {}]),
        json!([69, 1, {}]),
        json!([5, "proof", {}]),
    ]);
    let out_of_turn = select(vec![
        json!([1, "realm1", {"roles": {"caller": {}}}]),
        json!([70, 1, {}]),
        json!([8, 68, 1, {}, "a.b"]),
        json!([8, 48, 1, {}, "a.b"]),
    ]);
    let early = prop_oneof![
        request().prop_map(|(code, parts)| Value::Array(right(code, parts))),
        select(vec![
            json!([70, 1, {}]),
            json!([5, "proof", {}]),
            json!([2, 1, {"roles": {}}])
        ]),
    ];
    prop_oneof![
        (
            Just(true),
            prop_oneof![part, short, long, arguments, unknown, no_list, of_routers, out_of_turn]
        ),
        (Just(false), early),
    ]
}

#[test]
fn f57_whatever_breaks_the_grammar_aborts_that_session_and_no_other() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let server = open_router().await;
        let mut witness = Raw::anonymous(&server).await;
        let mut runner = TestRunner::deterministic();
        for case in 0..300 {
            let (joined, message) = breach().new_tree(&mut runner).expect("a breach").current();
            let mut peer = Raw::open(server.address(), &[("sec-websocket-protocol", "wamp.2.json")])
                .await
                .expect("a socket");
            if joined {
                peer.join().await;
            }
            peer.send(message.clone()).await;
            let said = peer.next().await;
            let Seen::Message(abort) = &said else {
                panic!("{message}: {said:?}")
            };
            assert_eq!(
                (&abort[0], &abort[2]),
                (&json!(3), &json!("wamp.error.protocol_violation")),
                "{message}"
            );
            assert!(matches!(peer.next().await, Seen::Closed(1002, _)), "{message}");
            assert_eq!(
                witness.ask(json!([48, case + 1, {}, "a.b"])).await[0],
                8,
                "after {message}"
            );
        }
        server.stop().await;
    });
}

#[tokio::test]
async fn f57_a_request_id_that_is_still_in_use_aborts_the_session() {
    let server = open_router().await;
    let mut callee = callee(&server).await;
    callee.ask(json!([64, 1, {}, "a.b"])).await;
    let mut caller = Raw::anonymous(&server).await;
    caller.send(json!([48, 7, {}, "a.b"])).await;
    assert_eq!(callee.next().await.message()[0], 68);
    let abort = caller.ask(json!([48, 7, {}, "a.b"])).await;
    assert_eq!(
        (&abort[0], &abort[2]),
        (&json!(3), &json!("wamp.error.protocol_violation"))
    );
    assert!(matches!(caller.next().await, Seen::Closed(1002, _)));
    assert_eq!(
        callee.next().await.message()[0],
        69,
        "nobody waits for the answer any more"
    );
    until_no_call_is_left(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn f58_subscriptions_end_at_their_limit_and_coming_and_going_leaves_nothing() {
    let server = open_router().await;
    let mut peer = Raw::anonymous(&server).await;
    let mut held = Vec::new();
    for number in 1..=600_u64 {
        let answer = peer.ask(json!([32, number, {}, format!("topic.{number}")])).await;
        if number <= 256 {
            held.push(answer[2].clone());
        } else {
            assert_eq!(
                (&answer[0], &answer[4]),
                (&json!(8), &json!("coati.error.busy")),
                "number {number}"
            );
        }
    }
    assert_eq!(server.realm().stats().router.subscriptions, 256);
    for (place, number) in (1_000..4_000_u64).step_by(2).enumerate() {
        let place = place % held.len();
        assert_eq!(peer.ask(json!([34, number, held[place]])).await[0], 35);
        held[place] = peer.ask(json!([32, number + 1, {}, format!("other.{number}")])).await[2].clone();
    }
    assert_eq!(server.realm().stats().router.subscriptions, 256);
    let other = Raw::anonymous(&server).await.ask(json!([32, 1, {}, "topic.1"])).await;
    assert_eq!(other[0], 33, "the limit is one session's");
    server.stop().await;
}

#[tokio::test]
async fn f63_the_meta_api_tells_an_ordinary_user_nothing() {
    let (server, _) = with_accounts(Server::builder().config(private())).await;
    let mut anna = Raw::user(&server, "anna").await;
    let bert = Raw::user(&server, "bert").await;
    let mut request = 0;
    let of = |group: &str, names: &[&str]| {
        names
            .iter()
            .map(|name| format!("wamp.{group}.{name}"))
            .collect::<Vec<_>>()
    };
    let procedures = [
        of(
            "session",
            &[
                "count",
                "list",
                "get",
                "kill",
                "kill_by_authid",
                "kill_by_authrole",
                "kill_all",
            ],
        ),
        of(
            "registration",
            &[
                "list",
                "lookup",
                "match",
                "get",
                "list_callees",
                "count_callees",
                "remove_callee",
            ],
        ),
        of(
            "subscription",
            &[
                "list",
                "lookup",
                "match",
                "get",
                "list_subscribers",
                "count_subscribers",
                "remove_subscriber",
            ],
        ),
    ];
    for procedure in procedures.concat() {
        for arguments in [json!([]), json!([bert.session]), json!(["bert"])] {
            request += 1;
            let answer = anna.ask(json!([48, request, {}, procedure, arguments])).await;
            assert_eq!(
                (&answer[0], &answer[4]),
                (&json!(8), &json!("wamp.error.not_authorized")),
                "{procedure}"
            );
            let text = answer[5].to_string();
            assert!(
                !text.contains(&bert.session.to_string()) && !text.contains("127.0.0.1"),
                "{text}"
            );
        }
    }
    for topic in [
        "session.on_join",
        "session.on_leave",
        "registration.on_create",
        "subscription.on_subscribe",
    ] {
        for (policy, topic) in [
            ("exact", format!("wamp.{topic}")),
            ("prefix", "wamp.".to_owned()),
            ("prefix", String::new()),
            ("wildcard", "..".to_owned()),
        ] {
            request += 1;
            let answer = anna.ask(json!([32, request, {"match": policy}, topic])).await;
            assert_eq!(
                (&answer[0], &answer[4]),
                (&json!(8), &json!("wamp.error.not_authorized")),
                "{policy} {topic}"
            );
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn f64_a_callee_may_die_at_any_step_and_a_caller_too() {
    let server = open_router().await;
    let mut caller = callee(&server).await;
    for (number, dies) in [
        "before the call",
        "with the call",
        "after a part of the result",
        "never",
    ]
    .into_iter()
    .enumerate()
    {
        let request = u64::try_from(number).expect("small") + 1;
        let mut peer = callee(&server).await;
        let procedure = format!("a.step{number}");
        peer.ask(json!([64, 1, {}, procedure])).await;
        let expected = match dies {
            "before the call" => {
                drop(peer);
                // It is gone when the router has noticed; until then it may still be called.
                let deadline = Instant::now() + Duration::from_secs(5);
                while server.realm().stats().router.registrations > 0 {
                    assert!(Instant::now() < deadline, "the router notices");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                caller.send(json!([48, request, {}, procedure])).await;
                "wamp.error.no_such_procedure"
            }
            "never" => {
                caller.send(json!([48, request, {"timeout": 300}, procedure])).await;
                assert_eq!(peer.next().await.message()[0], 68);
                let interrupt = peer.next().await.message();
                assert_eq!(interrupt[0], 69, "the callee is told: {interrupt}");
                "wamp.error.timeout"
            }
            _ => {
                caller
                    .send(json!([48, request, {"receive_progress": true}, procedure]))
                    .await;
                let invocation = peer.next().await.message();
                if dies == "after a part of the result" {
                    peer.send(json!([70, invocation[1], {"progress": true}, [1]])).await;
                    assert_eq!(caller.next().await.message()[0], 50);
                }
                drop(peer);
                "wamp.error.canceled"
            }
        };
        let answer = caller.next().await.message();
        assert_eq!(
            (&answer[0], &answer[2], &answer[4]),
            (&json!(8), &json!(request), &json!(expected)),
            "{dies}"
        );
        until_no_call_is_left(&server).await;
    }
    let mut peer = callee(&server).await;
    peer.ask(json!([64, 1, {}, "a.b"])).await;
    caller.send(json!([48, 9, {}, "a.b"])).await;
    assert_eq!(peer.next().await.message()[0], 68);
    drop(caller);
    assert_eq!(
        peer.next().await.message()[0],
        69,
        "a callee hears that its caller is gone"
    );
    until_no_call_is_left(&server).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f65_of_ten_thousand_calls_sixty_four_wait_and_the_rest_are_refused_as_fast_as_they_are_read() {
    const CALLS: u64 = 10_000;
    let server = open_router().await;
    let mut peer = callee(&server).await;
    peer.ask(json!([64, 1, {}, "a.b"])).await;
    let mut caller = Octets::tcp(server.address()).await;
    assert_eq!(
        caller
            .upgrade(server.address(), "Sec-WebSocket-Protocol: wamp.2.json\r\n")
            .await,
        101
    );
    let hello = json!([1, "realm1", {"roles": {"caller": {}}}]).to_string();
    caller.send(&ws_frame(TEXT, hello.as_bytes())).await;
    assert!(caller.ws_frame().await.expect("an answer").payload.starts_with(b"[2,"));
    let flood: Vec<u8> = (1..=CALLS)
        .flat_map(|request| ws_frame(TEXT, json!([48, request, {}, "a.b"]).to_string().as_bytes()))
        .collect();
    // Nothing is read until all is sent: what the system does not hold, the router does not take.
    caller.send(&flood).await;
    let most = server.realm().stats();
    assert!(most.router.calls <= 64 && most.queue_bytes < 1 << 20, "{most:?}");
    let mut refused = 0;
    while refused < CALLS - 64 {
        let answer = caller.ws_frame().await.expect("each call is answered");
        let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
        assert_eq!((&answer[0], &answer[4]), (&json!(8), &json!("coati.error.busy")));
        refused += 1;
    }
    assert_eq!(server.realm().stats().router.calls, 64);
    for _ in 0..64 {
        let invocation = peer.next().await.message();
        peer.send(json!([70, invocation[1], {}])).await;
        assert!(caller.ws_frame().await.expect("a result").payload.starts_with(b"[50,"));
    }
    until_no_call_is_left(&server).await;
    server.stop().await;
}
