//! A client that sends exactly the octets it is told, over TCP or a Unix socket, and frames of WebSocket and RawSocket.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UnixStream},
};

/// The first octets of RawSocket: any length, JSON.
pub const RAW_JSON: [u8; 4] = [0x7F, 0xF1, 0, 0];

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

pub struct Octets(Box<dyn Both>);

/// A frame of WebSocket: its first octet and its payload.
#[derive(Debug, PartialEq)]
pub struct WsFrame {
    pub first: u8,
    pub payload: Vec<u8>,
}

impl WsFrame {
    /// The code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        (self.first == 0x88).then(|| u16::from_be_bytes([self.payload[0], self.payload[1]]))
    }
}

impl Octets {
    pub async fn tcp(to: SocketAddr) -> Self {
        Self(Box::new(TcpStream::connect(to).await.expect("somebody listens")))
    }

    /// The same, from this address of the loopback network.
    pub async fn tcp_from(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this machine");
        Self(Box::new(socket.connect(to).await.expect("somebody listens")))
    }

    pub async fn unix(path: &Path) -> Self {
        Self(Box::new(UnixStream::connect(path).await.expect("somebody listens")))
    }

    /// Sends as much as the other side takes: it may close in the middle.
    pub async fn send(&mut self, octets: &[u8]) -> bool {
        self.0.write_all(octets).await.is_ok() && self.0.flush().await.is_ok()
    }

    /// Reads so many octets; fewer at the end.
    pub async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut octets = vec![0; count];
        let mut read = 0;
        while read < count {
            let more = tokio::time::timeout(Duration::from_secs(10), self.0.read(&mut octets[read..])).await;
            match more.expect("something comes within ten seconds") {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        octets.truncate(read);
        octets
    }

    pub async fn is_closed(&mut self) -> bool {
        self.read(1).await.is_empty()
    }

    /// Upgrades to WebSocket with these header lines; the answer's status.
    pub async fn upgrade(&mut self, to: SocketAddr, headers: &str) -> u16 {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        self.send(head.as_bytes()).await;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let octet = self.read(1).await;
            if octet.is_empty() {
                break;
            }
            answer.extend(octet);
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            !answer.to_ascii_lowercase().contains("sec-websocket-extensions"),
            "{answer}"
        );
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The next frame of WebSocket that is no ping; None at the end.
    pub async fn ws_frame(&mut self) -> Option<WsFrame> {
        loop {
            let head: [u8; 2] = self.read(2).await.try_into().ok()?;
            let length = match head[1] {
                126 => u64::from(u16::from_be_bytes(self.read(2).await.try_into().ok()?)),
                127 => u64::from_be_bytes(self.read(8).await.try_into().ok()?),
                short => u64::from(short),
            };
            let payload = self
                .read(usize::try_from(length).expect("frames of tests are small"))
                .await;
            if head[0] != 0x89 {
                return Some(WsFrame {
                    first: head[0],
                    payload,
                });
            }
        }
    }

    /// The close code that ends a WebSocket; 0 if it ends without.
    pub async fn ws_close(&mut self) -> u16 {
        while let Some(frame) = self.ws_frame().await {
            if let Some(code) = frame.close_code() {
                return code;
            }
        }
        0
    }

    /// Greets as a RawSocket client; the answer.
    pub async fn greet(&mut self, octets: [u8; 4]) -> Vec<u8> {
        self.send(&octets).await;
        self.read(4).await
    }

    /// Sends a message of RawSocket over JSON.
    pub async fn say(&mut self, message: &Value) {
        self.send(&raw_frame(0, message.to_string().as_bytes())).await;
    }

    /// The next frame of RawSocket: kind and payload; None at the end.
    pub async fn raw(&mut self) -> Option<(u8, Vec<u8>)> {
        let [kind, a, b, c]: [u8; 4] = self.read(4).await.try_into().ok()?;
        let length = u32::from_be_bytes([0, a, b, c]);
        let payload = self.read(usize::try_from(length).expect("small")).await;
        Some((kind, payload))
    }

    /// The next message of RawSocket over JSON.
    pub async fn heard(&mut self) -> Value {
        let (kind, payload) = self.raw().await.expect("a frame comes");
        assert_eq!(kind, 0, "a message");
        serde_json::from_slice(&payload).expect("JSON comes out of the router")
    }
}

/// A frame of RawSocket.
pub fn raw_frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = payload.len().to_be_bytes();
    [&[kind, a, b, c], payload].concat()
}

/// A frame of WebSocket with a mask of zeros, which leaves the payload as it is.
pub fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = ws_head(first, payload.len());
    frame.extend_from_slice(payload);
    frame
}

/// The head of a masked frame that announces `length` octets.
pub fn ws_head(first: u8, length: usize) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..126 => head.push(0x80 | u8::try_from(length).expect("small")),
        126..65_536 => {
            head.push(0x80 | 126);
            head.extend_from_slice(&u16::try_from(length).expect("small").to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}
