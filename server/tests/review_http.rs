//! Requests that are made to get around limits.
#![allow(missing_docs, reason = "tests")]

mod support;

use std::time::Duration;

use coati_server::{Config, Server};
use serde_json::json;
use support::{PASSWORD, get, log_in, plain, private, raw::Raw, with_accounts};

#[tokio::test]
async fn nonsense_in_a_forwarded_header_makes_nobody_local() {
    let config = Config {
        behind_proxy: true,
        allowed_hosts: vec!["safety.example".into()],
        ..private()
    };
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    // The client sent the first part, the proxy appended the second.
    for forged in [
        "nonsense, 192.0.2.1",
        "192.0.2.1:4711",
        "unknown, 192.0.2.1",
        ", 192.0.2.1",
    ] {
        let headers = [("Host", "safety.example"), ("X-Forwarded-For", forged)];
        let answer = get(server.address(), "/metrics", &headers).await;
        assert_eq!(answer.status, 403, "{forged:?} got the numbers");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_cookie_s_token_sent_as_bearer_does_not_lift_the_limits() {
    let server = plain().await;
    let to = server.address();
    let cookie = log_in(to, "anna", PASSWORD, "").await.cookie();
    let token = cookie
        .split_once('=')
        .map(|(_, token)| token.to_owned())
        .unwrap_or_default();
    let bearer = format!("Bearer {token}");
    let mut raw = Raw::open(
        to,
        &[("authorization", &bearer), ("sec-websocket-protocol", "wamp.2.json")],
    )
    .await
    .expect("the token opens a socket");
    raw.join().await;
    let mut busy = 0;
    for number in 1..=400 {
        let answer = raw.ask(json!([48, number, {}, "no.such"])).await;
        busy += usize::from(answer[4] == "coati.error.busy");
    }
    assert!(busy > 0, "400 calls in a row and no limit");
    server.stop().await;
}

#[tokio::test]
async fn pings_do_not_replace_hello() {
    use futures::SinkExt;
    use std::time::Duration;
    use tokio_tungstenite::tungstenite::Message;
    let mut config = private();
    config.connections.handshake = Duration::from_millis(300);
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let cookie = log_in(server.address(), "anna", PASSWORD, "").await.cookie();
    let mut raw = Raw::browser(server.address(), &cookie).await.expect("a socket");
    let mut sent = 0;
    for _ in 0..30 {
        if raw.socket.send(Message::Ping(Vec::new().into())).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(sent < 30, "a socket without HELLO stays open for as long as it pings");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_in_parts_do_not_pile_up_for_a_caller_that_does_not_read() {
    use std::time::Duration;
    let server = Server::builder()
        .config(private())
        .authorizer(Box::new(shared::wamp::router::Open))
        .start()
        .await
        .expect("the server starts");
    let features = json!({"progressive_call_results": true, "call_canceling": true});
    let roles = json!({"caller": {"features": features}, "callee": {"features": features}});
    let protocol = [("sec-websocket-protocol", "wamp.2.json")];
    let mut callee = Raw::open(server.address(), &protocol).await.expect("a socket");
    let mut caller = Raw::open(server.address(), &protocol).await.expect("a socket");
    for raw in [&mut callee, &mut caller] {
        assert_eq!(raw.ask(json!([1, "realm1", {"roles": roles}])).await[0], 2);
    }
    callee.ask(json!([64, 1, {}, "a.b"])).await;
    caller.send(json!([48, 1, {"receive_progress": true}, "a.b"])).await;
    let invocation = callee.next().await.message()[1].clone();
    let filling = "x".repeat(8 * 1024);
    let mut most = 0;
    for _ in 0..4_000 {
        use futures::SinkExt;
        let message = json!([70, invocation, {"progress": true}, [filling]]).to_string();
        let message = tokio_tungstenite::tungstenite::Message::text(message);
        if !matches!(
            tokio::time::timeout(Duration::from_secs(2), callee.socket.send(message)).await,
            Ok(Ok(()))
        ) {
            break;
        }
        most = most.max(server.realm().stats().queue_bytes);
    }
    assert!(
        most < 4 << 20,
        "{} KiB wait for a caller that does not read; the limit is 1 MiB",
        most / 1024
    );
    server.stop().await;
}

#[tokio::test]
async fn another_role_reaches_open_sockets_at_once_and_those_of_nobody_else() {
    let (server, accounts) = with_accounts(Server::builder().config(private())).await;
    let mut anna = Raw::user(&server, "anna").await;
    let mut bert = Raw::user(&server, "bert").await;
    accounts.set_role("anna", "reader");
    // Far sooner than the next check of the login.
    let goodbye = tokio::time::timeout(Duration::from_secs(5), anna.next())
        .await
        .expect("at once");
    assert_eq!(goodbye.message()[1]["message"], "Your account has changed.");
    let refused = bert.ask(json!([48, 1, {}, "nobody.offers"])).await;
    assert_eq!(refused[0], json!(8), "bert goes on: {refused}");
    server.stop().await;
}
