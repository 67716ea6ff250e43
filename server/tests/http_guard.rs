//! Who is turned away before anything happens, and what every answer says about itself.

mod support;

use coati_server::{Config, ErrorKind, Server};
use support::{get, log_in, plain, private, send, with_accounts};

#[tokio::test]
async fn a_foreign_host_gets_nothing() {
    let server = plain().await;
    let to = server.address();
    for path in ["/", "/login", "/ws", "/pkg/x.js", "/metrics", "/nothing"] {
        for host in ["evil.test", "evil.test:80", "127.0.0.1", ""] {
            let answer = get(to, path, &[("Host", host)]).await;
            assert_eq!(answer.status, 403, "{path} for {host:?}: {}", answer.text());
        }
    }
    let local = format!("localhost:{}", to.port());
    assert_eq!(get(to, "/login", &[("Host", &local)]).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn forms_of_foreign_pages_have_no_effect() {
    let server = plain().await;
    let to = server.address();
    let own = format!("http://{to}");
    let body = format!("login=anna&password={}", support::PASSWORD.replace(' ', "+"));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    let foreign: &[&[(&str, &str)]] = &[
        &[form],
        &[form, ("Origin", "https://evil.test")],
        &[form, ("Origin", "null")],
        &[form, ("Origin", &own), ("Sec-Fetch-Site", "cross-site")],
        &[form, ("Origin", &own), ("Sec-Fetch-Site", "same-site")],
    ];
    for headers in foreign {
        let answer = send(to, "POST", "/login", headers, &body).await;
        assert_eq!((answer.status, answer.cookie().as_str()), (403, ""), "{headers:?}");
    }
    let cookie = log_in(to, "anna", support::PASSWORD, "").await.cookie();
    for headers in foreign {
        let mut headers = headers.to_vec();
        headers.push(("Cookie", &cookie));
        assert_eq!(
            send(to, "POST", "/logout", &headers, "").await.status,
            403,
            "{headers:?}"
        );
    }
    assert_eq!(
        get(to, "/", &[("Cookie", &cookie)]).await.status,
        200,
        "still logged in"
    );
    server.stop().await;
}

#[tokio::test]
async fn every_answer_carries_the_protective_headers() {
    let server = plain().await;
    for path in ["/", "/login", "/healthz", "/pkg/nothing.js", "/nothing", "/ws"] {
        let answer = get(server.address(), path, &[]).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self' 'wasm-unsafe-eval';"),
            "{path}: {policy}"
        );
        assert!(
            !policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"),
            "{path}: {policy}"
        );
        for part in [
            "default-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{path}");
        assert_eq!(
            answer.header("strict-transport-security"),
            "",
            "no TLS, no promise of it"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn health_answers_json_and_numbers_stay_on_this_machine() {
    let server = plain().await;
    let to = server.address();
    for path in ["/healthz", "/readyz"] {
        let answer = get(to, path, &[]).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!((answer.status, &json["status"]), (200, &"ok".into()), "{path}: {json}");
    }
    let numbers = get(to, "/metrics", &[]).await.text();
    for name in [
        "coati_sessions",
        "coati_queue_bytes",
        "coati_slow_peers_closed_total",
        "coati_feed_lag_seconds",
    ] {
        assert!(numbers.contains(name), "{name} is missing:\n{numbers}");
    }
    assert!(numbers.contains("coati_tree_stalls_total"));
    server.stop().await;

    let config = Config {
        behind_proxy: true,
        allowed_hosts: vec!["safety.example".into()],
        ..private()
    };
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let headers = [("Host", "safety.example"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(get(server.address(), "/metrics", &headers).await.status, 403);
    let secured = get(server.address(), "/login", &headers).await;
    assert!(secured.header("strict-transport-security").contains("max-age=31536000"));
    server.stop().await;
}

#[tokio::test]
async fn readiness_names_the_check_that_failed() {
    use futures::FutureExt;
    let check = std::sync::Arc::new(|| async { Err("no database".to_owned()) }.boxed());
    let server = Server::builder()
        .config(private())
        .ready_check("database", check)
        .start()
        .await
        .expect("it starts");
    let answer = get(server.address(), "/readyz", &[]).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().contains("\"database\":\"no database\""),
        "{}",
        answer.text()
    );
    assert_eq!(
        get(server.address(), "/healthz", &[]).await.status,
        200,
        "alive all the same"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let server = plain().await;
    let config = Config {
        address: server.address(),
        ..private()
    };
    let error = Server::builder()
        .config(config)
        .start()
        .await
        .expect_err("the port is taken");
    assert_eq!(error.kind(), ErrorKind::AddressTaken);
    let text = error.to_string();
    assert!(
        text.contains(&server.address().to_string()) && text.lines().count() == 1,
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_slow_head_is_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = private();
    config.connections.handshake = std::time::Duration::from_millis(200);
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let mut stream = tokio::net::TcpStream::connect(server.address())
        .await
        .expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("it reads");
    let mut rest = Vec::new();
    let cut = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    assert!(cut.is_ok(), "the connection was still open");
    server.stop().await;
}
