//! What the tests of the server share: a private server each, and an HTTP client that sends exactly what it is told.
#![allow(dead_code, reason = "each test file uses its own part")]

pub mod octets;
pub mod raw;

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use coati_server::{
    Config, Running, Server, ServerBuilder,
    auth::MemoryAccounts,
    config::{RawAddress, RawSocket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub const PASSWORD: &str = "correct horse battery staple";

/// Settings of a private server on a free port.
pub fn private() -> Config {
    let mut config = Config {
        tree_threads: 1,
        ..Config::default()
    };
    config.address.set_port(0);
    // The raw clients of these tests answer no close frame.
    config.connections.farewell = Duration::from_millis(200);
    config
}

/// A place where RawSocket is spoken; all who come there have the role, or join as over WebSocket.
pub fn door(address: RawAddress, role: Option<&str>) -> RawSocket {
    RawSocket {
        address,
        role: role.map(str::to_owned),
        realm: None,
        everybody: false,
    }
}

/// A free port, for a door.
pub fn any_port() -> RawAddress {
    RawAddress::Tcp("127.0.0.1:0".parse().expect("an address"))
}

/// A router of these settings alone.
pub async fn started(config: Config) -> Running {
    let server = Server::builder().config(config).start();
    server.await.expect("the server starts")
}

/// A server with the accounts anna and bert, both of role `editor`.
pub async fn with_accounts(builder: ServerBuilder) -> (Running, Arc<MemoryAccounts>) {
    let accounts = Arc::new(MemoryAccounts::default());
    for name in ["anna", "bert"] {
        accounts.add(name, PASSWORD, "editor").await.expect("a fresh store");
    }
    (
        builder
            .accounts(accounts.clone())
            .start()
            .await
            .expect("the server starts"),
        accounts,
    )
}

/// A server with accounts and default settings.
pub async fn plain() -> Running {
    with_accounts(Server::builder().config(private())).await.0
}

/// An answer, taken apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, Vec<String>>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The one value of a header, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|values| values.first())
            .map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// `name=value` of the cookie that was set.
    pub fn cookie(&self) -> String {
        self.header("set-cookie")
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Sends a request whose `Host` is the server's own unless `headers` say otherwise.
pub async fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += &format!("Host: {to}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    text += body;
    let mut stream = TcpStream::connect(to).await.expect("the server listens");
    stream.write_all(text.as_bytes()).await.expect("the server reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("the server answers");
    parse(&bytes)
}

pub async fn get(to: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(to, "GET", path, headers, "").await
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a whole head");
    let head = std::str::from_utf8(&bytes[..end]).expect("heads are text");
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok());
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(value.to_owned());
    }
    Answer {
        status: status.expect("a status"),
        headers,
        body: bytes[end + 4..].to_vec(),
    }
}

/// Posts the login form as a browser on our own page would.
pub async fn log_in(to: SocketAddr, name: &str, password: &str, cookie: &str) -> Answer {
    let origin = format!("http://{to}");
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    let body = form
        .append_pair("login", name)
        .append_pair("password", password)
        .finish();
    let headers = [
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/x-www-form-urlencoded"),
        ("Cookie", cookie),
    ];
    send(to, "POST", "/login", &headers, &body).await
}
