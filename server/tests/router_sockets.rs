//! Who gets a socket, what ends one, and that nobody else notices.

#[path = "router_sockets/logins.rs"]
mod logins;
mod support;

use std::time::{Duration, Instant};

use coati_server::Server;
use serde_json::json;
use shared::wamp::{SessionId, Uri};
use support::{
    PASSWORD, log_in, plain, private,
    raw::{Raw, Seen},
    send, with_accounts,
};

#[tokio::test]
async fn without_login_own_origin_and_sub_protocol_there_is_no_socket() {
    let server = plain().await;
    let to = server.address();
    let cookie = log_in(to, "anna", PASSWORD, "").await.cookie();
    let own = format!("http://{to}");
    let json = ("sec-websocket-protocol", "wamp.2.json");
    let status = async |headers: &[(&'static str, &str)]| Raw::open(to, headers).await.err().unwrap_or(101);
    assert_eq!(status(&[("origin", &own), ("cookie", &cookie), json]).await, 101);
    assert_eq!(status(&[("origin", &own), json]).await, 401);
    assert_eq!(status(&[("origin", &own), ("cookie", "coati=forged"), json]).await, 401);
    assert_eq!(status(&[("cookie", &cookie), json]).await, 403, "no origin, no token");
    for origin in ["null", "http://evil.test", "https://127.0.0.1", "http://127.0.0.1:1"] {
        assert_eq!(
            status(&[("origin", origin), ("cookie", &cookie), json]).await,
            403,
            "{origin}"
        );
    }
    assert_eq!(
        status(&[("origin", &own), ("cookie", &cookie), json, ("host", "evil.test")]).await,
        403
    );
    assert_eq!(status(&[("origin", &own), ("cookie", &cookie)]).await, 400);
    assert_eq!(
        status(&[
            ("origin", &own),
            ("cookie", &cookie),
            ("sec-websocket-protocol", "wamp.2.ubjson")
        ])
        .await,
        400
    );
    let token = cookie.split_once('=').expect("a cookie").1;
    let bearer = format!("Bearer {token}");
    assert_eq!(
        status(&[("authorization", &bearer), json]).await,
        101,
        "a component needs no origin"
    );
    assert_eq!(status(&[("authorization", "Bearer forged"), json]).await, 401);
    server.stop().await;
}

#[tokio::test]
async fn the_session_is_who_the_cookie_says_whatever_hello_claims() {
    let server = plain().await;
    let mut raw = Raw::user(&server, "anna").await;
    raw.send(json!([6, {}, "wamp.close.close_realm"])).await;
    assert_eq!(raw.next().await.message()[2], "wamp.close.goodbye_and_out");
    raw.send(json!([1, "realm1", {"roles": {"caller": {}}, "authid": "root", "authrole": "node"}]))
        .await;
    let welcome = raw.next().await.message();
    assert_eq!(
        (&welcome[2]["authid"], &welcome[2]["authrole"]),
        (&json!("anna"), &json!("editor")),
        "{welcome}"
    );
    server.stop().await;
}

#[tokio::test]
async fn without_accounts_each_session_has_a_name_of_its_own() {
    let server = Server::builder()
        .config(private())
        .start()
        .await
        .expect("the server starts");
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let json = ("sec-websocket-protocol", "wamp.2.json");
        let mut raw = Raw::open(server.address(), &[json])
            .await
            .expect("everybody gets a socket");
        let welcome = raw.join().await;
        assert_eq!(welcome[2]["authrole"], "anonymous", "{welcome}");
        names.insert(welcome[2]["authid"].as_str().expect("a name").to_owned());
    }
    assert_eq!(names.len(), 3, "{names:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_message_of_wrong_shape_ends_its_session_and_no_other() {
    let server = plain().await;
    let mut witness = Raw::user(&server, "bert").await;
    for wrong in [
        "nonsense",
        "{}",
        "[]",
        "[48]",
        "[999, 1]",
        "[48, 0, {}, \"a.b\"]",
        "[48, -1, {}, \"a.b\"]",
        "[48, 1.5, {}, \"a.b\"]",
        "[48, 9007199254740993, {}, \"a.b\"]",
        "[48, 1, [], \"a.b\"]",
        "[48, 1, {}, 7]",
        "[48, 1, {}, \"a.b\", {}]",
        "[1, \"realm1\", {\"roles\": {\"caller\": {}}}]",
        "[2, 1, {}]",
        "[70, 77, {}]",
        "[48, 1, {}, \"a.b\", [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    ] {
        let mut raw = Raw::user(&server, "anna").await;
        raw.text(wrong).await;
        let abort = raw.next().await.message();
        assert_eq!(
            (&abort[0], &abort[2]),
            (&json!(3), &json!("wamp.error.protocol_violation")),
            "{wrong}: {abort}"
        );
        assert!(abort[1]["message"].is_string(), "{abort}");
        assert!(matches!(raw.next().await, Seen::Closed(1002, _)), "{wrong}");
    }
    let answer = witness.ask(json!([48, 1, {}, "nobody.offers.this"])).await;
    assert_eq!(
        (&answer[0], &answer[2]),
        (&json!(8), &json!(1)),
        "the other session goes on: {answer}"
    );
    assert_eq!(server.realm().stats().router.sessions, 1);
    server.stop().await;
}

#[tokio::test]
async fn binary_frames_and_oversized_messages_are_refused() {
    use futures::SinkExt;
    let server = plain().await;
    let mut raw = Raw::user(&server, "anna").await;
    raw.socket
        .send(tokio_tungstenite::tungstenite::Message::binary(b"[]".to_vec()))
        .await
        .expect("sent");
    assert_eq!(raw.next().await.message()[2], "wamp.error.protocol_violation");

    let mut raw = Raw::user(&server, "anna").await;
    let fits = format!("[48, 1, {{}}, \"a.b\", [\"{}\"]]", "x".repeat(64 * 1024 - 40));
    raw.text(&fits).await;
    assert_eq!(raw.next().await.message()[0], 8);
    raw.text(&format!("[48, 2, {{}}, \"a.b\", [\"{}\"]]", "x".repeat(64 * 1024)))
        .await;
    assert_eq!(raw.next().await.message()[2], "wamp.error.payload_size_exceeded");
    assert!(matches!(raw.next().await, Seen::Closed(1009, _)));
    server.stop().await;
}

#[tokio::test]
async fn a_user_cannot_touch_anything_below_the_base_of_another() {
    let server = plain().await;
    let (mut anna, mut bert) = (Raw::user(&server, "anna").await, Raw::user(&server, "bert").await);
    for (raw, base) in [(&anna, "aaaa"), (&bert, "bbbb")] {
        let session = SessionId::new(raw.session).expect("an id");
        server.realm().bind_base(session, Uri::strict(base).expect("a name"));
    }
    assert_eq!(
        bert.ask(json!([64, 1, {"match": "prefix"}, "bbbb.client."])).await[0],
        65
    );
    assert_eq!(bert.ask(json!([32, 2, {"match": "prefix"}, "bbbb."])).await[0], 33);
    let mut request = 0;
    for (code, options, uri) in [
        (48, json!({}), "bbbb.client.rows.refresh"),
        (48, json!({}), "bbbb.server.open"),
        (48, json!({}), "bbbb"),
        (64, json!({}), "bbbb.client.rows"),
        (64, json!({}), "bbbb.server"),
        (64, json!({"match": "prefix"}), "bbbb."),
        (64, json!({"match": "prefix"}), ""),
        (64, json!({"match": "wildcard"}), "..rows"),
        (64, json!({}), "aaaa.server"),
        (32, json!({}), "bbbb.server.on_changed"),
        (32, json!({"match": "prefix"}), "bbbb"),
        (32, json!({"match": "prefix"}), ""),
        (32, json!({"match": "wildcard"}), "bbbb.."),
        (32, json!({}), "coati.window.0123456789abcdef"),
        (16, json!({"acknowledge": true}), "bbbb.client.on_clicked"),
        (16, json!({"acknowledge": true}), "bbbb.server.on_changed"),
        (48, json!({}), "wamp.session.list"),
        (48, json!({}), "wamp.session.kill"),
        (48, json!({}), "wamp.registration.list"),
        (48, json!({}), "wamp.subscription.list"),
        (32, json!({}), "wamp.session.on_join"),
        (32, json!({"match": "prefix"}), "wamp."),
        (16, json!({"acknowledge": true}), "wamp.session.on_join"),
        (64, json!({}), "wamp.session.count"),
    ] {
        request += 1;
        let answer = anna.ask(json!([code, request, options, uri])).await;
        let refused = [
            json!("wamp.error.not_authorized"),
            json!("wamp.error.no_such_procedure"),
            json!("wamp.error.invalid_uri"),
        ];
        assert_eq!((&answer[0], &answer[1]), (&json!(8), &json!(code)), "{uri}: {answer}");
        assert!(refused.contains(&answer[4]), "{uri}: {answer}");
        if !uri.starts_with("wamp.") {
            assert_eq!(answer[4], refused[0], "{uri}: {answer}");
        }
    }
    // An unacknowledged publication is refused without an answer.
    anna.send(json!([16, request + 1, {}, "bbbb.client.on_clicked", ["forged"]]))
        .await;
    let own = anna.ask(json!([32, request + 2, {"match": "prefix"}, "aaaa."])).await;
    assert_eq!(own[0], 33, "what is below her own base is hers: {own}");
    let answer = bert.ask(json!([48, 3, {}, "bbbb.server.ping"])).await;
    assert_eq!(
        (&answer[0], &answer[2]),
        (&json!(8), &json!(3)),
        "nothing reached Bert before his own answer: {answer}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_newer_client_of_a_session_root_closes_the_older_one_first() {
    let server = plain().await;
    let (mut old, new) = (Raw::user(&server, "anna").await, Raw::user(&server, "anna").await);
    let base = Uri::strict("aaaa").expect("a name");
    let [old_id, new_id] = [&old, &new].map(|raw| SessionId::new(raw.session).expect("an id"));
    server.realm().bind_base(old_id, base.clone());
    assert_eq!(old.ask(json!([64, 1, {}, "aaaa.client"])).await[0], 65);
    server.realm().bind_base(new_id, base);
    server.realm().left(old_id).await;
    assert_eq!(server.realm().stats().router.registrations, 0);
    assert_eq!(old.next().await.message()[2], "coati.close.replaced");
    assert!(matches!(old.next().await, Seen::Closed(1008, _)));
    server.stop().await;
}

#[tokio::test]
async fn granted_topics_can_be_subscribed_and_revoked_ones_not() {
    let server = plain().await;
    let mut raw = Raw::user(&server, "anna").await;
    let (session, topic) = (
        SessionId::new(raw.session).expect("an id"),
        Uri::unchecked("coati.window.77"),
    );
    assert_eq!(
        raw.ask(json!([32, 1, {}, "coati.window.77"])).await[4],
        "wamp.error.not_authorized"
    );
    server.realm().grant(session, topic.clone());
    assert_eq!(raw.ask(json!([32, 2, {}, "coati.window.77"])).await[0], 33);
    server.realm().revoke(session, topic);
    assert_eq!(
        raw.ask(json!([32, 3, {}, "coati.window.77"])).await[4],
        "wamp.error.not_authorized"
    );
    assert_eq!(server.realm().stats().router.subscriptions, 0);
    server.stop().await;
}

#[tokio::test]
async fn logging_out_closes_the_sockets_of_that_login() {
    let server = plain().await;
    let to = server.address();
    let cookie = log_in(to, "anna", PASSWORD, "").await.cookie();
    let mut raw = Raw::browser(to, &cookie).await.expect("logged in");
    raw.join().await;
    let mut other = Raw::user(&server, "anna").await;
    let origin = format!("http://{to}");
    assert_eq!(
        send(to, "POST", "/logout", &[("Origin", &origin), ("Cookie", &cookie)], "")
            .await
            .status,
        303
    );
    assert_eq!(raw.next().await.message()[0], 6);
    assert!(matches!(raw.next().await, Seen::Closed(1008, _)));
    assert_eq!(Raw::browser(to, &cookie).await.err(), Some(401));
    assert_eq!(
        other.ask(json!([48, 1, {}, "a.b"])).await[0],
        8,
        "another login of the same user goes on"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_open_socket_does_not_outlive_its_account() {
    let mut config = private();
    config.logins.recheck = Duration::from_millis(50);
    let (server, accounts) = with_accounts(Server::builder().config(config)).await;
    let mut raw = Raw::user(&server, "anna").await;
    accounts.set_enabled("anna", false);
    let goodbye = raw.next().await.message();
    assert_eq!(
        (&goodbye[0], &goodbye[2]),
        (&json!(6), &json!("wamp.close.killed")),
        "{goodbye}"
    );
    server.stop().await;
}

#[tokio::test]
async fn too_many_calls_are_refused_by_name_and_the_session_goes_on() {
    let mut config = private();
    (config.connections.calls_per_second, config.connections.calls_burst) = (1, 20);
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let mut raw = Raw::user(&server, "anna").await;
    let mut answers = Vec::new();
    for request in 1..=60 {
        answers.push(raw.ask(json!([48, request, {}, "a.b"])).await[4].clone());
    }
    let busy = answers.iter().filter(|error| *error == "coati.error.busy").count();
    assert!((30..=40).contains(&busy), "{busy} of 60 refused");
    assert!(answers[..20].iter().all(|error| error != "coati.error.busy"));
    assert_eq!(
        raw.ask(json!([32, 61, {}, "a.b"])).await[0],
        8,
        "other requests are not counted"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_user_has_only_so_many_sockets() {
    let mut config = private();
    config.connections.per_user = 2;
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let cookie = log_in(server.address(), "anna", PASSWORD, "").await.cookie();
    let first = Raw::browser(server.address(), &cookie).await;
    let _second = Raw::browser(server.address(), &cookie).await.expect("room for two");
    assert_eq!(Raw::browser(server.address(), &cookie).await.err(), Some(429));
    drop(first);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Raw::browser(server.address(), &cookie).await.is_err() {
        assert!(Instant::now() < deadline, "a closed socket makes room");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn who_sends_no_hello_or_answers_no_ping_is_closed() {
    let mut config = private();
    let limits = &mut config.connections;
    (limits.handshake, limits.ping_after, limits.pong_within) = (
        Duration::from_millis(300),
        Duration::from_millis(100),
        Duration::from_millis(100),
    );
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let cookie = log_in(server.address(), "anna", PASSWORD, "").await.cookie();
    let mut silent = Raw::browser(server.address(), &cookie).await.expect("logged in");
    assert_eq!(silent.next().await.message()[0], 3);
    assert!(matches!(silent.next().await, Seen::Closed(1002, _)));

    // A client that is not polled answers no ping, as if its machine had gone.
    let gone = Raw::user(&server, "anna").await;
    let left = server.realm().left(SessionId::new(gone.session).expect("an id"));
    tokio::time::timeout(Duration::from_secs(5), left)
        .await
        .expect("the session ends");

    // One that is polled does, and stays.
    let mut alive = Raw::user(&server, "anna").await;
    let waiting = tokio::time::timeout(Duration::from_millis(700), alive.next());
    assert!(waiting.await.is_err(), "nothing but pings comes");
    assert_eq!(alive.ask(json!([48, 1, {}, "a.b"])).await[0], 8);
    server.stop().await;
}

#[tokio::test]
async fn an_orderly_end_says_goodbye_to_everybody_in_time() {
    let server = plain().await;
    let to = server.address();
    let mut joined = Raw::user(&server, "anna").await;
    let mut ignores = Raw::user(&server, "bert").await;
    let cookie = log_in(to, "anna", PASSWORD, "").await.cookie();
    let mut silent = Raw::browser(to, &cookie).await.expect("logged in");
    let start = Instant::now();
    let watching = tokio::spawn(async move {
        assert_eq!(joined.next().await.message()[2], "wamp.close.system_shutdown");
        assert!(matches!(joined.next().await, Seen::Closed(1012, _)));
        assert!(matches!(silent.next().await, Seen::Closed(1012, _)));
    });
    server.stop().await;
    watching.await.expect("both were told");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(
        ignores.next().await.message()[0],
        6,
        "even who reads late finds the reason"
    );
    assert!(
        tokio::net::TcpStream::connect(to).await.is_err(),
        "nobody listens any more"
    );
}
