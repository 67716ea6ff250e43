//! What hashing passwords may cost. In a file, and so a process, of its own: it looks at the memory of all of it.
#![allow(missing_docs, reason = "a test")]

mod support;

use std::time::Duration;

use support::{PASSWORD, log_in, plain};
use tokio::io::AsyncWriteExt;

/// Memory of this process now, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("it is there");
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .expect("a number");
    kib / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_that_are_given_up_do_not_hash_more_than_two_at_once() {
    let server = plain().await;
    let to = server.address();
    log_in(to, "anna", PASSWORD, "").await;
    let before = resident();
    let body = "login=nobody&password=wrong";
    let mut most = 0;
    for number in 0..18 {
        let body = body.replace("nobody", &format!("nobody{number}"));
        let text = format!(
            "POST /login HTTP/1.1\r\nHost: {to}\r\nOrigin: http://{to}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = tokio::net::TcpStream::connect(to).await.expect("the server listens");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        tokio::time::sleep(Duration::from_millis(2)).await;
        drop(stream);
        most = most.max(resident());
    }
    for _ in 0..100 {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let more = most.saturating_sub(before);
    assert!(more < 120, "{more} MiB: more than two hashes ran at once");
    server.stop().await;
}
