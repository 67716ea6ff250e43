//! What one peer announces or does not read takes no memory. Alone in its program, because memory is measured for the
//! whole of it.

mod support;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use coati_server::{Server, router::Open};
use serde_json::json;
use support::{
    any_port, door, get,
    octets::{Octets, RAW_JSON, ws_frame, ws_head},
    private,
    raw::Raw,
    started,
};
use tokio::sync::Mutex;

/// One test at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.expect("a number of pages") * 4096
}

#[tokio::test]
async fn announced_gigabytes_take_no_memory() {
    let _alone = ALONE.lock().await;
    let mut config = private();
    config.raw_sockets = vec![door(any_port(), Some("component"))];
    config.connections.per_address = 200;
    let server = started(config).await;
    let (web, raw) = (server.address(), server.raw_addresses()[0]);
    let mut peers = Vec::new();
    for _ in 0..50 {
        let mut peer = Octets::tcp(web).await;
        let offer = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
        assert_eq!(peer.upgrade(web, offer).await, 101);
        peers.push(peer);
    }
    let before = resident();
    for peer in &mut peers {
        peer.send(&ws_head(0x81, 1 << 30)).await;
        peer.send(&[b'x'; 1024]).await;
        assert_eq!(peer.ws_close().await, 1009);
    }
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut peer = Octets::tcp(raw).await;
        peer.greet(RAW_JSON).await;
        // Within the limit, so it is waited for.
        peer.send(&[0, 0x3F, 0xFF, 0xFF, b'[']).await;
        waiting.push(peer);
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "50 announced gigabytes and 50 times 4 MiB took {grown} bytes"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_connection_that_does_nothing_takes_little_memory() {
    const MANY: u64 = 300;
    let _alone = ALONE.lock().await;
    let mut config = private();
    config.connections.per_address = 1000;
    let server = Server::builder().config(config).authorizer(Box::new(Open)).start();
    let server = server.await.expect("the server starts");
    let mut idle = Vec::new();
    for _ in 0..100 {
        idle.push(subscriber(server.address()).await);
    }
    let before = resident();
    for _ in 0..MANY {
        idle.push(subscriber(server.address()).await);
    }
    let each = resident().saturating_sub(before) / MANY;
    // Both ends are in this process; a subscription is more than nothing.
    assert!(each < 12 * 1024, "{each} bytes for each connection");
    server.stop().await;
}

/// Joins and subscribes to `news`.
async fn subscriber(to: SocketAddr) -> Octets {
    let mut peer = Octets::tcp(to).await;
    let offer = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
    assert_eq!(peer.upgrade(to, offer).await, 101);
    for request in [
        json!([1, "realm1", {"roles": {"subscriber": {}}}]),
        json!([32, 1, {}, "news"]),
    ] {
        peer.send(&ws_frame(0x81, request.to_string().as_bytes())).await;
        peer.ws_frame().await.expect("an answer");
    }
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_one_that_never_reads_costs_five_hundred_others_nothing() {
    const OTHERS: u64 = 500;
    const EVENTS: u64 = 320;
    /// Published before all others have read all.
    const AT_ONCE: u64 = 16;
    const CAP: usize = 256 * 1024;
    let _alone = ALONE.lock().await;
    let mut config = private();
    config.connections.per_address = 600;
    config.connections.queue.bytes = CAP;
    // Long enough for the one to be told, should it begin to read.
    config.connections.farewell = Duration::from_secs(10);
    let server = Server::builder()
        .config(config)
        .authorizer(Box::new(Open))
        .start()
        .await
        .expect("the server starts");
    let to = server.address();
    let received = Arc::new(AtomicU64::new(0));
    let mut reading = tokio::task::JoinSet::new();
    for _ in 0..OTHERS {
        let (mut peer, received) = (subscriber(to).await, received.clone());
        reading.spawn(async move {
            for number in 1..=EVENTS {
                let event = peer.ws_frame().await.expect("an event").payload;
                assert!(
                    event.ends_with(format!(",{number}]]").as_bytes()),
                    "in order, without a gap"
                );
                received.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut slow = subscriber(to).await;
    let mut publisher = Raw::anonymous(&server).await;
    let text = "x".repeat(4 * 1024);
    let (mut before, mut most_memory, mut most_queued) = (0, 0, 0);
    for number in 1..=EVENTS {
        publisher.send(json!([16, number, {}, "news", [text, number]])).await;
        if number % AT_ONCE > 0 {
            continue;
        }
        let deadline = Instant::now() + Duration::from_secs(30);
        while received.load(Ordering::Relaxed) < number * OTHERS {
            assert!(Instant::now() < deadline, "an event is lost");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // The others have read everything: what is queued is for the one.
        most_queued = most_queued.max(server.realm().stats().queue_bytes);
        if before == 0 {
            before = resident();
        }
        most_memory = most_memory.max(resident().saturating_sub(before));
    }
    while let Some(ended) = reading.join_next().await {
        ended.expect("every event came");
    }
    let stats = server.realm().stats();
    assert_eq!(stats.slow_peers, 1, "{stats:?}");
    assert!(
        CAP / 2 < most_queued && most_queued <= CAP,
        "{most_queued} bytes were queued"
    );
    assert!(
        most_memory < CAP as u64 + (2 << 20),
        "{most_memory} bytes more than at the start"
    );
    let metrics = get(to, "/metrics", &[]).await.text();
    for (peer, closed) in [("browser", 1), ("component", 0), ("tree", 0)] {
        let line = format!("coati_slow_peers_closed_total{{peer=\"{peer}\"}} {closed}");
        assert!(metrics.lines().any(|own| own == line), "{line} in {metrics}");
    }
    assert_eq!(slow.ws_close().await, 1013, "try again later");
    assert_eq!(server.realm().stats().queue_bytes, 0);
    server.stop().await;
}
