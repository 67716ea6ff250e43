//! What breaks the rules of HTTP and WebSocket is turned away by name, and nobody else notices.

mod support;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use coati_server::Running;
use serde_json::json;
use support::{
    any_port, door,
    octets::{Octets, RAW_JSON, ws_frame, ws_head},
    private,
    raw::Raw,
    started,
};

const JSON: &str = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
const TEXT: u8 = 0x81;
const FIRST_TEXT: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// A router whose limits are those of browsers.
async fn bare() -> Running {
    let mut config = private();
    config.connections.component_message = 64 * 1024;
    config.connections.handshake = Duration::from_millis(800);
    started(config).await
}

async fn open(server: &Running) -> Octets {
    let mut peer = Octets::tcp(server.address()).await;
    assert_eq!(peer.upgrade(server.address(), JSON).await, 101);
    peer
}

async fn join(server: &Running) -> Octets {
    let mut peer = open(server).await;
    let hello = json!([1, "realm1", {"roles": {"caller": {}}}]).to_string();
    peer.send(&ws_frame(TEXT, hello.as_bytes())).await;
    let welcome = peer.ws_frame().await.expect("an answer");
    assert!(welcome.payload.starts_with(b"[2,"), "{welcome:?}");
    peer
}

#[tokio::test]
async fn messages_above_the_limit_are_refused_when_they_are_announced() {
    let server = bare().await;
    let mut witness = Raw::anonymous(&server).await;
    let mut peer = join(&server).await;
    peer.send(&ws_head(TEXT, 1 << 30)).await;
    assert_eq!(peer.ws_close().await, 1009, "a gigabyte is announced");
    let mut peer = join(&server).await;
    peer.send(&ws_frame(TEXT, &vec![b' '; 64 * 1024 + 1])).await;
    assert_eq!(peer.ws_close().await, 1009, "64 KiB and one");
    let mut peer = join(&server).await;
    let call = "[48,1,{},\"a.b\"]";
    let fits = call.to_owned() + &" ".repeat(64 * 1024 - call.len());
    assert_eq!(fits.len(), 64 * 1024);
    peer.send(&ws_frame(TEXT, fits.as_bytes())).await;
    let answer = peer.ws_frame().await.expect("an answer");
    assert!(answer.payload.starts_with(b"[8,48,1,"), "64 KiB are taken: {answer:?}");
    assert_eq!(witness.ask(json!([48, 1, {}, "a.b"])).await[0], 8);
    server.stop().await;
}

#[tokio::test]
async fn a_message_in_endless_pieces_ends_at_the_limit_and_empty_pieces_at_the_time() {
    let server = bare().await;
    let mut peer = join(&server).await;
    let mut flood = ws_frame(FIRST_TEXT, b"[");
    flood.extend((0..70_000).flat_map(|_| ws_frame(CONTINUATION, b" ")));
    peer.send(&flood).await;
    assert_eq!(peer.ws_close().await, 1009, "70,000 pieces of one octet");

    let mut peer = open(&server).await;
    peer.send(&ws_frame(FIRST_TEXT, b"[")).await;
    let empty: Vec<u8> = (0..1000).flat_map(|_| ws_frame(CONTINUATION, b"")).collect();
    let start = Instant::now();
    while peer.send(&empty).await {
        assert!(start.elapsed() < Duration::from_secs(8), "endless nothing is cut");
    }
    server.stop().await;
}

#[tokio::test]
async fn each_broken_rule_of_the_protocol_closes_with_its_code() {
    let server = bare().await;
    let mut unmasked = ws_frame(TEXT, b"[]");
    unmasked.drain(2..6);
    unmasked[1] = 2;
    let close = |code: u16| ws_frame(CLOSE, &code.to_be_bytes());
    for (what, octets, code) in [
        ("unmasked", unmasked, 1002),
        (
            "reserved bit 1, as compression would use it",
            ws_frame(0xC1, b"[]"),
            1002,
        ),
        ("reserved bit 2", ws_frame(0xA1, b"[]"), 1002),
        ("reserved bit 3", ws_frame(0x91, b"[]"), 1002),
        ("unknown kind of data", ws_frame(0x83, b"[]"), 1002),
        ("unknown kind of control", ws_frame(0x8B, b""), 1002),
        ("ping of 126 octets", ws_frame(PING, &[b'x'; 126]), 1002),
        ("ping in pieces", ws_frame(0x09, b"x"), 1002),
        ("continuation of nothing", ws_frame(CONTINUATION, b"x"), 1002),
        (
            "a message within a message",
            [ws_frame(FIRST_TEXT, b"["), ws_frame(TEXT, b"[]")].concat(),
            1002,
        ),
        ("close of one octet", ws_frame(CLOSE, b"x"), 1002),
        ("close code 1005", close(1005), 1002),
        ("close code 999", close(999), 1002),
        ("close code 65535", close(65_535), 1002),
        ("invalid UTF-8", ws_frame(TEXT, b"[\"\xC3\x28\"]"), 1007),
        ("half a surrogate pair", ws_frame(TEXT, b"[\"\xED\xA0\x80\"]"), 1007),
        ("overlong NUL", ws_frame(TEXT, b"\xC0\x80"), 1007),
        (
            "invalid UTF-8 over two pieces",
            [ws_frame(FIRST_TEXT, b"[\"\xC3"), ws_frame(0x80, b"\x28\"]")].concat(),
            1007,
        ),
        ("binary in a text protocol", ws_frame(0x82, b"[]"), 1002),
        ("NUL", ws_frame(TEXT, b"\0"), 1002),
        (
            "an escaped half of a pair",
            ws_frame(TEXT, br#"[48,1,{},"\ud800"]"#),
            1002,
        ),
    ] {
        let mut peer = join(&server).await;
        peer.send(&octets).await;
        assert_eq!(peer.ws_close().await, code, "{what}");
    }
    let mut orderly = join(&server).await;
    orderly.send(&close(1000)).await;
    assert_eq!(orderly.ws_close().await, 1000, "a good close code is returned");
    let mut witness = Raw::anonymous(&server).await;
    assert_eq!(witness.ask(json!([48, 1, {}, "a.b"])).await[0], 8);
    server.stop().await;
}

#[tokio::test]
async fn broken_heads_get_their_status_and_the_server_goes_on() {
    let server = bare().await;
    let to = server.address();
    let status = async |headers: &str| Octets::tcp(to).await.upgrade(to, headers).await;
    assert_eq!(status("Sec-WebSocket-Protocol: wämp.2.json\r\n").await, 400);
    assert_eq!(status("Sec-WebSocket-Protocol: wamp.2.ubjson\r\n").await, 400);
    assert_eq!(status("").await, 400, "no sub-protocol");
    assert_eq!(
        status(&format!("{JSON}Sec-WebSocket-Extensions: permessage-deflate\r\n")).await,
        101,
        "without the extension"
    );
    let long = format!("{JSON}X-Long: {}\r\n", "x".repeat(100 * 1024));
    assert_eq!(status(&long).await, 431, "a header of 100 KiB");
    let many: String = (0..2000).map(|number| format!("X-{number}: y\r\n")).collect();
    assert_eq!(status(&many).await, 431, "2,000 headers");
    assert_eq!(status(JSON).await, 101, "the next one is served");
    server.stop().await;
}

#[tokio::test]
async fn who_sends_octet_by_octet_is_cut_in_head_handshake_and_first_message() {
    let server = bare().await;
    let to = server.address();
    let drip = async |mut peer: Octets, octets: Vec<u8>| {
        let start = Instant::now();
        for octet in octets.into_iter().cycle() {
            if !peer.send(&[octet]).await {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(6), "still open");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let head = Octets::tcp(to).await;
    let hello = open(&server).await;
    let pings = open(&server).await;
    tokio::join!(
        drip(head, b"GET /ws HTTP/1.1\r\nX-Slow: ".to_vec()),
        drip(hello, [ws_head(TEXT, 60_000), vec![b' '; 60_000]].concat()),
        drip(pings, ws_frame(PING, b"")),
    );
    let stats = server.realm().stats();
    assert_eq!(stats.router.sessions, 0);
    server.stop().await;
}

#[tokio::test]
async fn batched_sub_protocols_carry_several_messages_in_a_frame() {
    let server = bare().await;
    let to = server.address();
    let mut peer = Octets::tcp(to).await;
    let offer = "Sec-WebSocket-Protocol: wamp.2.ubjson.batched, wamp.2.json.batched, wamp.2.json\r\n";
    assert_eq!(peer.upgrade(to, offer).await, 101);
    let hello = json!([1, "realm1", {"roles": {"caller": {}}}]);
    let calls = (1..=50).map(|request| json!([48, request, {}, "a.b"]));
    let batch: String = std::iter::once(hello)
        .chain(calls)
        .map(|message| format!("{message}\x1e"))
        .collect();
    peer.send(&ws_frame(TEXT, batch.as_bytes())).await;
    let (mut answers, mut frames) = (Vec::new(), 0);
    while answers.len() < 51 {
        let frame = peer.ws_frame().await.expect("answers come");
        let text = String::from_utf8(frame.payload).expect("text");
        assert!(text.ends_with('\x1e'), "{text:?}");
        answers.extend(text.trim_end_matches('\x1e').split('\x1e').map(str::to_owned));
        frames += 1;
    }
    assert!(frames < 51, "{frames} frames for 51 answers");
    assert!(answers[0].starts_with("[2,"), "{}", answers[0]);
    for (request, answer) in answers.iter().enumerate().skip(1) {
        assert!(answer.starts_with(&format!("[8,48,{request},")), "{answer}");
    }
    peer.send(&ws_frame(TEXT, b"[48,51,{},\"a.b\"]")).await;
    assert_eq!(peer.ws_close().await, 1002, "a batch that does not end");
    server.stop().await;
}

#[tokio::test]
async fn all_places_are_shared_by_requests_and_sockets_of_every_kind() {
    let mut config = private();
    config.connections.total = 3;
    config.raw_sockets = vec![door(any_port(), Some("anonymous"))];
    let server = started(config).await;
    let (web, raw) = (server.address(), server.raw_addresses()[0]);
    let first = Raw::anonymous(&server).await;
    let _second = Raw::anonymous(&server).await;
    let mut third = Octets::tcp(raw).await;
    assert_eq!(third.greet(RAW_JSON).await[0], 0x7F);
    for to in [web, raw] {
        assert!(
            Octets::tcp(to).await.is_closed().await,
            "there is no fourth place at {to}"
        );
    }
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Octets::tcp(web)
        .await
        .upgrade(web, "Sec-WebSocket-Protocol: wamp.2.json\r\n")
        .await
        != 101
    {
        assert!(Instant::now() < deadline, "who goes makes room");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

/// A connection that says nothing and is not closed for it at once.
async fn silent(to: std::net::SocketAddr) -> Octets {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let mut peer = Octets::tcp(to).await;
        if tokio::time::timeout(Duration::from_millis(50), peer.read(1))
            .await
            .is_err()
        {
            return peer;
        }
        assert!(Instant::now() < deadline, "there is room");
    }
}

#[tokio::test]
async fn one_address_has_so_many_connections_that_say_nothing_and_sockets_are_not_among_them() {
    let mut config = private();
    config.connections.requests_per_address = 3;
    config.raw_sockets = vec![door(any_port(), None)];
    let server = started(config).await;
    let (web, raw) = (server.address(), server.raw_addresses()[0]);
    let (_one, _other) = (Raw::anonymous(&server).await, Raw::anonymous(&server).await);
    let mut greeted = Octets::tcp(raw).await;
    assert_eq!(greeted.greet(RAW_JSON).await[0], 0x7F);
    // These three are sockets.
    let (first, _second, _third) = (silent(web).await, silent(raw).await, silent(web).await);
    for to in [web, raw] {
        assert!(
            Octets::tcp(to).await.is_closed().await,
            "there is no fourth place at {to}"
        );
    }
    drop(first);
    silent(raw).await;
    server.stop().await;
}

#[tokio::test]
async fn one_address_has_so_many_sockets_and_is_told_why_it_gets_no_more() {
    let mut config = private();
    config.connections.per_address = 2;
    let server = started(config).await;
    let offer = [("sec-websocket-protocol", "wamp.2.json")];
    let _first = Raw::anonymous(&server).await;
    let second = Raw::anonymous(&server).await;
    assert_eq!(Raw::open(server.address(), &offer).await.err(), Some(429));
    drop(second);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Raw::open(server.address(), &offer).await.is_err() {
        assert!(Instant::now() < deadline, "who goes makes room");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn whoever_comes_by_ipv4_to_a_listener_of_ipv6_has_the_limits_of_that_address_alone() {
    let mut config = private();
    config.connections.per_address = 1;
    // As a listener on all addresses does, it sees clients of IPv4 in the form of IPv6.
    config.address = "[::ffff:127.0.0.1]:0".parse().expect("an address");
    let server = started(config).await;
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), server.address().port());
    let (one, other) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let mut held = Vec::new();
    for (from, status) in [(one, 101), (other, 101), (one, 429), (other, 429)] {
        let mut peer = Octets::tcp_from(from, to).await;
        assert_eq!(peer.upgrade(to, JSON).await, status, "{from}");
        held.push(peer);
    }
    server.stop().await;
}
