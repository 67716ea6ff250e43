//! Full queues: nothing deadlocks, nobody waits for somebody else's reading, slow readers go.

mod support;

use std::{cell::Cell, rc::Rc, time::Duration};

use coati_server::{
    Config, Running, Server,
    peer::websocket::Dial,
    router::{Limits, Open, Principal},
};
use futures::{FutureExt, SinkExt, StreamExt, stream::FuturesUnordered};
use serde_json::json;
use shared::{
    platform::default_platform,
    wamp::{
        CodecId, Invocation, Join, Message, Payload, Peer, Uri,
        message::{CallOptions, RegisterOptions},
        uri::close,
    },
};
use support::{
    private,
    raw::{Raw, Seen},
};

async fn open_router(config: Config) -> Running {
    let builder = Server::builder().config(config).authorizer(Box::new(Open));
    builder
        .role_limits("anonymous", Limits::COMPONENT)
        .start()
        .await
        .expect("the server starts")
}

fn principal(name: &str) -> Principal {
    Principal {
        authid: name.to_owned(),
        authrole: "node".to_owned(),
        internal: true,
        ..Principal::default()
    }
}

async fn socket_peer(server: &Running, codec: CodecId) -> Peer {
    let dial = Dial {
        codec,
        capacity: 1,
        ..Dial::new(format!("ws://{}/ws", server.address()))
    };
    let link = dial.connect().await.expect("the router listens");
    Peer::join(default_platform(), link, Join::new(server.realm().name().clone()))
        .await
        .expect("everybody may join")
}

async fn memory_peer(server: &Running, name: &str) -> Peer {
    let link = server.realm().memory_link(principal(name), CodecId::Msgpack);
    Peer::join(default_platform(), link, Join::new(server.realm().name().clone()))
        .await
        .expect("trees may join")
}

fn name(index: usize, what: &str) -> Uri {
    Uri::unchecked(format!("peer{index}.{what}"))
}

/// Calls `peer<index>.<what>(number)`.
async fn call(peer: &Peer, index: usize, what: &str, number: u64) -> u64 {
    let payload = Payload::encode(peer.codec(), &(number,)).expect("numbers can be encoded");
    let answer = peer
        .call(&name(index, what), payload, CallOptions::default())
        .await
        .expect("the call is answered");
    answer.decode_args::<(u64,)>().expect("a number comes back").0
}

#[tokio::test]
async fn with_every_capacity_at_one_ten_thousand_exchanges_among_four_peers_finish() {
    const EXCHANGES: u64 = 10_000;
    let mut config = private();
    let limits = &mut config.connections;
    limits.link = 1;
    (limits.queue.bytes, limits.queue.frames, limits.queue.reserved) = (1, 1, 1);
    let server = open_router(config).await;
    let all = async {
        let peers = Rc::new([
            socket_peer(&server, CodecId::Json).await,
            socket_peer(&server, CodecId::Msgpack).await,
            memory_peer(&server, "tree1").await,
            memory_peer(&server, "tree2").await,
        ]);
        let mut registrations = Vec::new();
        for (index, peer) in peers.iter().enumerate() {
            let codec = peer.codec();
            let leaf = Rc::new(move |call: Invocation| {
                let answer = call
                    .payload
                    .decode_args::<(u64,)>()
                    .and_then(|(n,)| Payload::encode(codec, &(n + 1,)));
                async move { answer }.boxed_local()
            });
            registrations.push(
                peer.register(&name(index, "leaf"), RegisterOptions::default(), leaf)
                    .await
                    .expect("free"),
            );
            // Answers only after a call of its own to a third peer: the case in which waiting queues deadlock.
            let own = peer.clone();
            let deep = Rc::new(move |invocation: Invocation| {
                let own = own.clone();
                async move {
                    let (number,) = invocation.payload.decode_args::<(u64,)>()?;
                    let next = (index + 1 + number as usize % 3) % 4;
                    Payload::encode(own.codec(), &(call(&own, next, "leaf", number).await + 1,))
                }
                .boxed_local()
            });
            registrations.push(
                peer.register(&name(index, "deep"), RegisterOptions::default(), deep)
                    .await
                    .expect("free"),
            );
        }
        let (done, mut random) = (Cell::new(0_u64), 0x9e37_79b9_u64);
        let mut running = FuturesUnordered::new();
        for number in 0..EXCHANGES {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (from, to, deep) = (
                (random >> 33) as usize % 4,
                (random >> 40) as usize % 4,
                random >> 60 < 6,
            );
            let (peers, done) = (peers.clone(), &done);
            running.push(async move {
                let (what, more) = if deep { ("deep", 2) } else { ("leaf", 1) };
                assert_eq!(call(&peers[from], to, what, number).await, number + more);
                done.set(done.get() + 1);
            });
            if running.len() >= 100 {
                running.next().await;
            }
        }
        while running.next().await.is_some() {}
        assert_eq!(done.get(), EXCHANGES);
    };
    let start = std::time::Instant::now();
    tokio::task::LocalSet::new()
        .run_until(tokio::time::timeout(Duration::from_secs(120), all))
        .await
        .expect("all exchanges finish in bounded time");
    eprintln!("10,000 exchanges with all capacities at one: {:?}", start.elapsed());
    let stats = server.realm().stats();
    assert_eq!((stats.router.held, stats.router.calls, stats.slow_peers), (0, 0, 0));
    server.stop().await;
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_the_others_lose_nothing() {
    const EVENTS: u64 = 20_000;
    let server = open_router(private()).await;
    let mut slow = Raw::anonymous(&server).await;
    assert_eq!(slow.ask(json!([32, 1, {}, "news"])).await[0], 33);
    let mut good = Raw::anonymous(&server).await;
    assert_eq!(good.ask(json!([32, 1, {}, "news"])).await[0], 33);
    let reading = tokio::spawn(async move {
        let mut last = 0;
        while last < EVENTS {
            let event = good.next().await.message();
            assert_eq!(
                (event[0].as_u64(), event[4][0].as_u64()),
                (Some(36), Some(last + 1)),
                "in order, without a gap"
            );
            last += 1;
        }
    });
    let mut publisher = Raw::anonymous(&server).await;
    let text = "x".repeat(1024);
    for number in 1..=EVENTS {
        let request = json!([16, number, {"acknowledge": number % 64 == 0}, "news", [number, text]]);
        publisher.send(request).await;
        if number % 64 == 0 {
            // At the pace of a reader that reads; 64 KiB may be on their way.
            assert_eq!(publisher.next().await.message()[0], 17);
        }
    }
    reading.await.expect("the good reader got every event");
    let stats = server.realm().stats();
    assert_eq!(stats.slow_peers, 1, "20 MB were not kept for who does not read");
    assert!(stats.queue_bytes <= 2 * 1024 * 1024, "{}", stats.queue_bytes);
    let end = loop {
        if let Seen::Closed(code, reason) = slow.next().await {
            break (code, reason);
        }
    };
    assert!(end.0 == 1013 || end.0 == 0, "{end:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_tree_that_takes_nothing_is_closed_when_its_link_is_full() {
    let mut config = private();
    config.connections.link = 4;
    let server = open_router(config).await;
    let mut link = server.realm().memory_link(principal("stuck"), CodecId::Msgpack);
    for request in [
        json!([1, "realm1", {"roles": {"subscriber": {}}}]),
        json!([32, 1, {}, "news"]),
    ] {
        let message = CodecId::Json.decode(request.to_string().into()).expect("a message");
        link.outgoing.try_send(message).expect("there is room");
        link.incoming.receive().await.expect("an answer");
    }
    let mut publisher = Raw::anonymous(&server).await;
    for number in 1..=20 {
        let published = publisher.ask(json!([16, number, {"acknowledge": true}, "news"])).await;
        assert_eq!(published[0], 17, "nobody waits for who is stuck");
    }
    assert_eq!(server.realm().stats().slow_peers, 1);
    let mut last = None;
    for _ in 0..=5 {
        match link.incoming.receive().await {
            Ok(message) => last = Some(message),
            Err(_) => break,
        }
    }
    assert!(
        matches!(&last, Some(Message::Goodbye(goodbye)) if goodbye.reason == close::TOO_SLOW),
        "after four events, why: {last:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn who_reads_none_of_its_answers_for_as_long_as_a_ping_may_take_is_gone() {
    let mut config = private();
    let limits = &mut config.connections;
    (limits.ping_after, limits.pong_within) = (Duration::from_millis(300), Duration::from_millis(200));
    (limits.queue.bytes, limits.queue.reserved) = (1, 1);
    let server = open_router(config).await;
    let mut greedy = Raw::anonymous(&server).await;
    assert_eq!(server.realm().stats().router.sessions, 1);
    // The answer names the procedure: it is as large as the question.
    let name = "x".repeat(60_000);
    let asking = async {
        for number in 1_u64.. {
            let question = tokio_tungstenite::tungstenite::Message::text(format!(r#"[48,{number},{{}},"{name}"]"#));
            if greedy.socket.send(question).await.is_err() {
                return;
            }
        }
    };
    // Ends when the server reads no more, or has gone.
    let _ = tokio::time::timeout(Duration::from_secs(1), asking).await;
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while server.realm().stats().router.sessions > 0 {
        assert!(
            std::time::Instant::now() < patience,
            "it keeps its session without reading anything"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(server.realm().stats().slow_peers, 1, "that shows in the metrics, too");
    server.stop().await;
}
