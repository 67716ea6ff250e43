//! RawSocket: the handshake, frames and limits of the specification, and that its peers are peers like all others.

mod support;

use std::time::Duration;

use coati_server::{
    Config, ErrorKind, Running, Server,
    config::RawAddress,
    router::{Limits, Open},
};
use serde_json::{Value, json};
use support::{
    any_port, door,
    octets::{Octets, RAW_JSON, raw_frame},
    private,
    raw::{Raw, roles},
    with_accounts,
};

async fn serve(address: RawAddress, change: impl FnOnce(&mut Config)) -> Running {
    let mut config = private();
    config.raw_sockets = vec![door(address, Some("component"))];
    change(&mut config);
    let server = Server::builder()
        .config(config)
        .authorizer(Box::new(Open))
        .role_limits("component", Limits::COMPONENT);
    server.start().await.expect("the server starts")
}

async fn join(peer: &mut Octets) -> Value {
    assert_eq!(
        peer.greet(RAW_JSON).await,
        [0x7F, 0xD1, 0, 0],
        "4 MiB is the most that is taken"
    );
    peer.say(&json!([1, "realm1", {"roles": roles()}])).await;
    let welcome = peer.heard().await;
    assert_eq!(welcome[0], 2, "{welcome}");
    welcome
}

#[tokio::test]
async fn a_peer_over_tcp_and_one_over_websocket_call_each_other() {
    let server = serve(any_port(), |_| {}).await;
    let mut raw = Octets::tcp(server.raw_addresses()[0]).await;
    let welcome = join(&mut raw).await;
    assert_eq!(welcome[2]["authrole"], "component", "{welcome}");
    let mut web = Raw::anonymous(&server).await;
    raw.say(&json!([64, 1, {}, "raw.add"])).await;
    assert_eq!(raw.heard().await[0], 65);
    web.send(json!([48, 1, {}, "raw.add", [2, 3]])).await;
    let invocation = raw.heard().await;
    assert_eq!((&invocation[0], &invocation[4]), (&json!(68), &json!([2, 3])));
    raw.say(&json!([70, invocation[1], {}, [5]])).await;
    assert_eq!(web.next().await.message()[3], json!([5]));
    raw.say(&json!([6, {}, "wamp.close.close_realm"])).await;
    assert_eq!(raw.heard().await[0], 6);
    server.stop().await;
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_is_removed_at_the_end_and_replaced_after_a_crash() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
    assert!(path.exists(), "as a program that crashed leaves it");
    let server = serve(RawAddress::Unix(path.clone()), |_| {}).await;
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut raw = Octets::unix(&path).await;
    join(&mut raw).await;

    let mut second = private();
    second.raw_sockets = vec![door(RawAddress::Unix(path.clone()), Some("x"))];
    let refused = Server::builder().config(second).start().await.expect_err("taken");
    assert_eq!(refused.kind(), ErrorKind::AddressTaken, "{refused}");

    let stopping = tokio::spawn(server.stop());
    assert_eq!(raw.heard().await[2], "wamp.close.system_shutdown");
    assert!(raw.is_closed().await);
    stopping.await.expect("it stops");
    assert!(!path.exists());
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").expect("written");
    let mut config = private();
    config.raw_sockets = vec![door(RawAddress::Unix(path.clone()), Some("x"))];
    let refused = Server::builder().config(config).start().await.expect_err("refused");
    assert!(refused.to_string().contains("precious"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).expect("still there"), "data");
}

#[tokio::test]
async fn wrong_handshakes_get_their_error_or_nothing_and_are_closed() {
    let server = serve(any_port(), |config| {
        config.connections.per_address = 1;
        config.connections.handshake = Duration::from_millis(300);
    })
    .await;
    let to = server.raw_addresses()[0];
    for (octets, answer) in [
        ([0x7F, 0xF4, 0, 0], vec![0x7F, 0x10, 0, 0]),
        ([0x7F, 0xF0, 0, 0], vec![0x7F, 0x10, 0, 0]),
        ([0x7F, 0xF1, 0, 1], vec![0x7F, 0x30, 0, 0]),
        (*b"GET ", vec![]),
    ] {
        let mut peer = Octets::tcp(to).await;
        assert_eq!(peer.greet(octets).await, answer, "{octets:?}");
        assert!(peer.is_closed().await);
    }
    let mut slow = Octets::tcp(to).await;
    slow.send(&RAW_JSON[..3]).await;
    assert!(slow.is_closed().await, "half a handshake is cut");
    let mut first = Octets::tcp(to).await;
    join(&mut first).await;
    let mut second = Octets::tcp(to).await;
    assert_eq!(
        second.greet(RAW_JSON).await,
        [0x7F, 0x40, 0, 0],
        "all places of the address are taken"
    );
    server.stop().await;
}

#[tokio::test]
async fn pings_are_answered_with_what_they_carry_and_pongs_keep_a_peer_alive() {
    let server = serve(any_port(), |config| {
        let limits = &mut config.connections;
        (limits.ping_after, limits.pong_within) = (Duration::from_millis(200), Duration::from_millis(200));
    })
    .await;
    let mut peer = Octets::tcp(server.raw_addresses()[0]).await;
    join(&mut peer).await;
    peer.send(&raw_frame(1, b"are you there")).await;
    assert_eq!(peer.raw().await, Some((2, b"are you there".to_vec())));
    for _ in 0..3 {
        assert_eq!(peer.raw().await, Some((1, vec![])), "a silent peer is asked");
        peer.send(&raw_frame(2, &[])).await;
    }
    assert_eq!(peer.raw().await, Some((1, vec![])));
    assert_eq!(peer.raw().await, None, "one that does not answer is closed");
    server.stop().await;
}

#[tokio::test]
async fn frames_of_unknown_kind_and_above_the_limit_end_the_session_by_name() {
    let server = serve(any_port(), |config| config.connections.component_message = 512).await;
    let to = server.raw_addresses()[0];
    for (frame, reason) in [
        (vec![3, 0, 0, 0], "wamp.error.protocol_violation"),
        (vec![0x80, 0, 0, 1, b'x'], "wamp.error.protocol_violation"),
        (raw_frame(0, b"nonsense"), "wamp.error.protocol_violation"),
        (raw_frame(0, &[]), "wamp.error.protocol_violation"),
        (vec![0, 0xFF, 0xFF, 0xFF], "wamp.error.payload_size_exceeded"),
        (vec![0, 0, 2, 1], "wamp.error.payload_size_exceeded"),
        (vec![1, 0, 2, 1], "wamp.error.payload_size_exceeded"),
    ] {
        let mut peer = Octets::tcp(to).await;
        assert_eq!(peer.greet(RAW_JSON).await, [0x7F, 0x01, 0, 0]);
        peer.say(&json!([1, "realm1", {"roles": {"caller": {}}}])).await;
        assert_eq!(peer.heard().await[0], 2);
        peer.send(&frame).await;
        assert_eq!(peer.heard().await[2], reason, "{frame:?}");
        assert!(peer.is_closed().await, "{frame:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_peer_never_gets_more_than_it_takes_and_who_waits_is_told() {
    let server = serve(any_port(), |_| {}).await;
    let mut small = Octets::tcp(server.raw_addresses()[0]).await;
    assert_eq!(small.greet([0x7F, 0x11, 0, 0]).await, [0x7F, 0xD1, 0, 0]);
    let roles = json!({"caller": {}, "callee": {}, "subscriber": {}});
    small.say(&json!([1, "realm1", {"roles": roles}])).await;
    let welcome = small.heard().await;
    assert_eq!(welcome[0], 2, "{welcome}");
    small.say(&json!([64, 1, {}, "small.echo"])).await;
    assert_eq!(small.heard().await[0], 65);
    small.say(&json!([32, 2, {}, "news"])).await;
    assert_eq!(small.heard().await[0], 33);
    let mut web = Raw::anonymous(&server).await;
    let long = "x".repeat(2000);
    let answer = web.ask(json!([48, 1, {}, "small.echo", [long]])).await;
    assert_eq!(
        answer[4], "wamp.error.payload_size_exceeded",
        "the caller is told: {answer}"
    );
    web.send(json!([16, 2, {}, "news", [long]])).await;
    assert_eq!(
        web.ask(json!([16, 3, {"acknowledge": true}, "news", ["short"]])).await[0],
        17
    );
    assert_eq!(
        small.heard().await[4],
        json!(["short"]),
        "the long event is lost to this peer alone"
    );
    assert_eq!(web.ask(json!([64, 4, {}, "web.long"])).await[0], 65);
    small.say(&json!([48, 3, {}, "web.long"])).await;
    let invocation = web.next().await.message();
    web.send(json!([70, invocation[1], {}, [long]])).await;
    let answer = small.heard().await;
    assert_eq!(
        (&answer[0], &answer[4]),
        (&json!(8), &json!("wamp.error.payload_size_exceeded"))
    );
    server.stop().await;
}

#[tokio::test]
async fn frames_may_come_in_pieces_and_many_at_once() {
    let server = serve(any_port(), |_| {}).await;
    let mut peer = Octets::tcp(server.raw_addresses()[0]).await;
    join(&mut peer).await;
    for octet in raw_frame(0, br#"[48, 1, {}, "a.b"]"#) {
        peer.send(&[octet]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(peer.heard().await[2], 1);
    let many: Vec<u8> = (2..500)
        .flat_map(|request| raw_frame(0, json!([48, request, {}, "a.b"]).to_string().as_bytes()))
        .collect();
    peer.send(&many).await;
    for request in 2..500 {
        assert_eq!(peer.heard().await[2], request);
    }
    server.stop().await;
}

#[tokio::test]
async fn with_accounts_there_is_no_door_without_a_login() {
    let mut config = private();
    config.raw_sockets = vec![door(any_port(), Some("component"))];
    let accounts = std::sync::Arc::new(coati_server::auth::MemoryAccounts::default());
    let refused = Server::builder().config(config).accounts(accounts).start().await;
    assert_eq!(
        refused.map(|_| ()).map_err(|error| error.kind()),
        Err(ErrorKind::Configuration)
    );
    let mut config = private();
    config.raw_sockets = vec![door(
        RawAddress::Tcp("0.0.0.0:0".parse().expect("an address")),
        Some("x"),
    )];
    assert!(
        config
            .validate()
            .is_err_and(|error| error.to_string().contains("raw_sockets"))
    );
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = private();
    config.raw_sockets = vec![door(RawAddress::Unix(folder.path().join("s")), Some("component"))];
    with_accounts(Server::builder().config(config)).await.0.stop().await;
}
