//! Logging in and out by the plain form.

mod support;

use coati_server::{Config, Server};
use support::{PASSWORD, get, log_in, plain, private, send, with_accounts};

#[tokio::test]
async fn without_a_login_there_is_only_the_form() {
    let server = plain().await;
    let answer = get(server.address(), "/?open=assessments&key=7", &[]).await;
    assert_eq!(answer.status, 303);
    assert_eq!(
        answer.header("location"),
        "/login?next=%2F%3Fopen%3Dassessments%26key%3D7"
    );
    let form = get(server.address(), "/login?next=%2F%3Fopen%3D%22%3E%3Cscript%3E", &[])
        .await
        .text();
    assert!(
        form.contains("type=\"password\"") && form.contains("action=\"/login\""),
        "{form}"
    );
    assert!(!form.contains("<script"), "{form}");
    server.stop().await;
}

#[tokio::test]
async fn a_right_password_sets_a_guarded_cookie_and_leads_on() {
    let server = plain().await;
    let answer = log_in(server.address(), "anna", PASSWORD, "").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, "/"),
        "{}",
        answer.text()
    );
    let set = answer.header("set-cookie");
    for flag in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(set.split("; ").any(|part| part == flag), "{flag} is missing: {set}");
    }
    assert!(!set.contains("Secure") && !set.contains("Domain"), "{set}");
    assert!(
        answer.cookie().split('=').nth(1).is_some_and(|token| token.len() >= 43),
        "{set}"
    );
    server.stop().await;
}

#[tokio::test]
async fn behind_tls_the_cookie_is_secure_and_bound_to_the_host() {
    let config = Config {
        behind_proxy: true,
        allowed_hosts: vec!["safety.example".into()],
        ..private()
    };
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let headers = [
        ("Host", "safety.example"),
        ("Origin", "https://safety.example"),
        ("Content-Type", "application/x-www-form-urlencoded"),
    ];
    let body = format!("login=anna&password={}", PASSWORD.replace(' ', "+"));
    let answer = send(server.address(), "POST", "/login", &headers, &body).await;
    let set = answer.header("set-cookie");
    assert!(set.starts_with("__Host-") && set.contains("; Secure"), "{set}");
    server.stop().await;
}

#[tokio::test]
async fn wrong_names_and_wrong_passwords_are_refused_in_the_same_words() {
    let server = plain().await;
    let wrong_password = log_in(server.address(), "anna", "wrong", "").await;
    let wrong_name = log_in(server.address(), "nobody", "wrong", "").await;
    for answer in [&wrong_password, &wrong_name] {
        assert_eq!((answer.status, answer.cookie().as_str()), (401, ""));
        assert!(answer.text().contains("Login name or password is wrong."));
    }
    assert_eq!(wrong_password.text().replace("anna", "nobody"), wrong_name.text());
    let injected = log_in(server.address(), "\"><script>alert(1)</script>", "wrong", "").await;
    assert!(!injected.text().contains("<script"), "{}", injected.text());
    server.stop().await;
}

#[tokio::test]
async fn guessing_is_told_to_wait() {
    let server = plain().await;
    let mut last = log_in(server.address(), "anna", "guess", "").await;
    for _ in 0..10 {
        last = log_in(server.address(), "anna", "guess", "").await;
    }
    assert_eq!(last.status, 429);
    assert!(
        last.header("retry-after")
            .parse::<u64>()
            .is_ok_and(|seconds| seconds >= 1)
    );
    assert_eq!(
        log_in(server.address(), "bert", PASSWORD, "").await.status,
        303,
        "others are not slowed"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_planted_login_ends_and_a_new_one_starts() {
    let server = plain().await;
    let to = server.address();
    let old = log_in(to, "bert", PASSWORD, "").await.cookie();
    let new = log_in(to, "anna", PASSWORD, &old).await.cookie();
    assert_ne!(old, new);
    assert_eq!(
        get(to, "/", &[("Cookie", &old)]).await.status,
        303,
        "the old login is gone"
    );
    assert_eq!(get(to, "/", &[("Cookie", &new)]).await.status, 200, "the page");
    server.stop().await;
}

#[tokio::test]
async fn logging_out_ends_the_login_and_takes_the_cookie() {
    let server = plain().await;
    let to = server.address();
    let cookie = log_in(to, "anna", PASSWORD, "").await.cookie();
    let origin = format!("http://{to}");
    let answer = send(to, "POST", "/logout", &[("Origin", &origin), ("Cookie", &cookie)], "").await;
    assert_eq!((answer.status, answer.header("location")), (303, "/login"));
    assert!(answer.header("set-cookie").contains("Max-Age=0"));
    assert_eq!(get(to, "/", &[("Cookie", &cookie)]).await.status, 303);
    assert_eq!(
        get(to, "/logout", &[]).await.status,
        405,
        "reading a page has no effects"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_large_login_form_is_refused() {
    let server = plain().await;
    let answer = log_in(server.address(), "anna", &"x".repeat(64 * 1024), "").await;
    assert_eq!(answer.status, 413);
    server.stop().await;
}

#[tokio::test]
async fn a_login_form_that_trickles_in_is_cut() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = private();
    config.connections.handshake = std::time::Duration::from_millis(300);
    let (server, _) = with_accounts(Server::builder().config(config)).await;
    let to = server.address();
    let mut stream = tokio::net::TcpStream::connect(to).await.expect("it listens");
    let head = format!(
        "POST /login HTTP/1.1\r\nHost: {to}\r\nOrigin: http://{to}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nlogin=an"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection was still open");
    assert!(
        answer.starts_with(b"HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    server.stop().await;
}
