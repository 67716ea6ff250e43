//! A raw WAMP client over JSON: sends exactly the text it is given, right or wrong.

use std::{net::SocketAddr, time::Duration};

use coati_server::Running;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest, http::HeaderValue},
};

#[derive(Debug)]
pub struct Raw {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub session: u64,
}

/// What a raw client sees.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Message(Value),
    /// Close code and text; 0 if the connection ended without.
    Closed(u16, String),
}

impl Seen {
    pub fn message(self) -> Value {
        match self {
            Self::Message(message) => message,
            Self::Closed(code, reason) => panic!("closed: {code} {reason}"),
        }
    }
}

impl Raw {
    /// Opens a socket with these headers. The error is the HTTP status of the refusal.
    pub async fn open(to: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{to}/ws").into_client_request().expect("an address");
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Self { socket, session: 0 }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// Opens a socket as the browser of a logged-in user would.
    pub async fn browser(to: SocketAddr, cookie: &str) -> Result<Self, u16> {
        let origin = format!("http://{to}");
        Self::open(
            to,
            &[
                ("origin", &origin),
                ("cookie", cookie),
                ("sec-websocket-protocol", "wamp.2.json"),
            ],
        )
        .await
    }

    /// Logs in by the form, opens a socket and joins.
    pub async fn user(server: &Running, name: &str) -> Self {
        let to = server.address();
        let cookie = super::log_in(to, name, super::PASSWORD, "").await.cookie();
        let mut raw = Self::browser(to, &cookie)
            .await
            .expect("a logged-in user gets a socket");
        raw.join().await;
        raw
    }

    /// Opens a socket without any login and joins: for bare routers.
    pub async fn anonymous(server: &Running) -> Self {
        let mut raw = Self::open(server.address(), &[("sec-websocket-protocol", "wamp.2.json")])
            .await
            .expect("everybody gets a socket");
        raw.join().await;
        raw
    }

    pub async fn join(&mut self) -> Value {
        self.send(json!([1, "realm1", {"roles": roles()}])).await;
        let welcome = self.next().await.message();
        assert_eq!(welcome[0], 2, "{welcome}");
        self.session = welcome[1].as_u64().expect("an id");
        welcome
    }

    pub async fn send(&mut self, message: Value) {
        self.text(&message.to_string()).await;
    }

    pub async fn text(&mut self, text: &str) {
        self.socket
            .send(Message::text(text))
            .await
            .expect("the socket takes it");
    }

    /// What comes next, within five seconds.
    pub async fn next(&mut self) -> Seen {
        let next = tokio::time::timeout(Duration::from_secs(5), self.unbounded());
        next.await.expect("something comes within five seconds")
    }

    async fn unbounded(&mut self) -> Seen {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    return Seen::Message(serde_json::from_str(&text).expect("JSON comes out of the router"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Seen::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(Message::Close(None)) | Err(_)) | None => return Seen::Closed(0, String::new()),
                Some(Ok(_)) => {}
            }
        }
    }

    /// Sends a request and returns its answer.
    pub async fn ask(&mut self, message: Value) -> Value {
        self.send(message).await;
        self.next().await.message()
    }
}

/// All roles of a client, as HELLO says them.
pub fn roles() -> Value {
    json!({"caller": {}, "callee": {}, "publisher": {}, "subscriber": {}})
}
