//! A WebSocket link to any WAMP router, for native peers.

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures::{SinkExt, StreamExt, stream::SplitStream};
use shared::wamp::{
    CodecId, Link,
    transport::memory::{self, FarEnd, LaneSender},
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error as Refused, Message as Frame,
        client::IntoClientRequest,
        http::{HeaderName, HeaderValue, header},
        protocol::WebSocketConfig,
    },
};

use tokio_util::either::Either;

use crate::{
    error::{Error, ErrorKind, Result},
    tls,
};

/// Silence after which the router is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(20);
/// Time for its answer.
const PONG_WITHIN: Duration = Duration::from_secs(10);

/// How to reach a router.
#[derive(Clone)]
pub struct Dial {
    /// Such as `ws://127.0.0.1:3000/ws` or `wss://router.example.org/ws`.
    pub url: String,
    /// For `wss`: a PEM file with the authorities to believe, instead of those that browsers believe.
    pub roots: Option<PathBuf>,
    /// The codec to ask for.
    pub codec: CodecId,
    /// The login token for the `Authorization` header.
    pub token: Option<String>,
    /// Further headers, such as `Origin` and `Cookie` of a browser that is stood in for.
    pub headers: Vec<(String, String)>,
    /// Messages without reserved room that may wait in each direction.
    pub capacity: usize,
    /// Largest message accepted, in bytes.
    pub largest: usize,
    /// Time for the connection to stand.
    pub within: Duration,
}

/// Without the token and what headers hold: both may be somebody's key.
impl fmt::Debug for Dial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&String> = self.headers.iter().map(|(name, _)| name).collect();
        formatter
            .debug_struct("Dial")
            .field("url", &self.url)
            .field("codec", &self.codec)
            .field("has_token", &self.token.is_some())
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

impl Dial {
    /// Dials `url` with MessagePack and usual limits.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            roots: None,
            codec: CodecId::Msgpack,
            token: None,
            headers: Vec::new(),
            capacity: 1024,
            largest: 4 * 1024 * 1024,
            within: Duration::from_secs(10),
        }
    }

    /// Opens the socket. The link may be used on any thread with a runtime of tokio; the socket itself stays on the
    /// runtime of the caller.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for what is no address, [`ErrorKind::Link`] when the router cannot be reached or refuses.
    pub async fn connect(self) -> Result<Link> {
        let malformed = |text: String| Error::configuration(format!("Cannot dial {:?}: {text}", self.url));
        let mut request = self
            .url
            .as_str()
            .into_client_request()
            .map_err(|error| malformed(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(self.codec.subprotocol()),
        );
        let token = self
            .token
            .iter()
            .map(|token| ("authorization".to_owned(), format!("Bearer {token}")));
        for (name, value) in token.chain(self.headers.iter().cloned()) {
            let name = HeaderName::try_from(name).map_err(|error| malformed(error.to_string()))?;
            headers.insert(
                name,
                HeaderValue::try_from(value).map_err(|error| malformed(error.to_string()))?,
            );
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .max_message_size(Some(self.largest))
            .max_frame_size(Some(self.largest));
        let unreachable = || Error::new(ErrorKind::Link, format!("Cannot reach the router at {}", self.url));
        // Shaking hands takes kilobytes of state, which nobody needs to carry afterwards.
        let dialled = Box::pin(async {
            let stream = self.stream().await?;
            let dialled = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
            dialled.map_err(|error| match error {
                Refused::Http(answer) => {
                    let text = format!("The router at {} refuses: {}", self.url, answer.status());
                    let said = answer
                        .body()
                        .as_deref()
                        .map(String::from_utf8_lossy)
                        .unwrap_or_default();
                    Error::new(ErrorKind::Link, text).because(said.trim())
                }
                other => unreachable().because(other),
            })
        });
        let (socket, answer) = tokio::time::timeout(self.within, dialled)
            .await
            .map_err(|late| unreachable().because(late))??;
        let chosen = answer
            .headers()
            .get(header::SEC_WEBSOCKET_PROTOCOL)
            .map(HeaderValue::as_bytes);
        if chosen != Some(self.codec.subprotocol().as_bytes()) {
            return Err(unreachable().because("it does not speak the sub-protocol that was asked for"));
        }
        let (link, far) = memory::link(self.capacity, self.codec);
        tokio::spawn(pump(socket, far, self.codec));
        Ok(link)
    }

    /// Connects to the host of the address, with TLS if it says so.
    async fn stream(&self) -> Result<Stream> {
        let malformed = |what: &str| Error::configuration(format!("Cannot dial {:?}: {what}", self.url));
        let url = url::Url::parse(&self.url).map_err(|error| malformed(&error.to_string()))?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(malformed("it names no host"));
        };
        let connected = match host {
            url::Host::Domain(name) => TcpStream::connect((name, port)).await,
            url::Host::Ipv4(address) => TcpStream::connect((address, port)).await,
            url::Host::Ipv6(address) => TcpStream::connect((address, port)).await,
        };
        let unreachable = || Error::new(ErrorKind::Link, format!("Cannot reach the router at {}", self.url));
        let stream = connected.map_err(|error| unreachable().because(error))?;
        // A router that is gone already is noticed by who reads.
        let _ = stream.set_nodelay(true);
        if url.scheme() != "wss" {
            return Ok(Either::Left(stream));
        }
        let connector = tls::connector(self.roots.as_deref())?;
        let name = tls::server_name(&host)?;
        let stream = connector.connect(name, stream).await;
        stream.map(Either::Right).map_err(|error| unreachable().because(error))
    }
}

type Stream = Either<TcpStream, TlsStream<TcpStream>>;
type Socket = WebSocketStream<Stream>;

/// Carries messages until one side is gone. Writing never waits for reading, nor the other way round.
async fn pump(socket: Socket, far: FarEnd, codec: CodecId) {
    let (mut sink, stream) = socket.split();
    let FarEnd { outgoing, incoming } = far;
    // Holds one ping at most: the writer takes it as soon as it can write.
    let (ping, pings) = async_channel::bounded(1);
    let write = async {
        loop {
            let frame = tokio::select! {
                message = incoming.receive() => match message {
                    Some(message) => codec_frame(codec, codec.encode(&message)),
                    None => break,
                },
                Ok(()) = pings.recv() => Some(Frame::Ping(Bytes::new())),
            };
            let Some(frame) = frame else { break };
            if sink.send(frame).await.is_err() {
                return;
            }
        }
        // The router may have closed first.
        let _ = sink.close().await;
    };
    tokio::select! {
        () = write => {}
        () = read(stream, &outgoing, codec, ping) => {}
    }
    outgoing.close();
}

async fn read(mut stream: SplitStream<Socket>, peer: &LaneSender, codec: CodecId, ping: async_channel::Sender<()>) {
    let mut asked = false;
    loop {
        // Only the reader waits: the router then sees that this peer does not read.
        peer.room().await;
        let patience = if asked { PONG_WITHIN } else { PING_AFTER };
        let frame = match tokio::time::timeout(patience, stream.next()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_)) | None) => return,
            Err(_) if asked => return,
            Err(_) => {
                asked = true;
                // A full channel means that a ping is on its way already.
                let _ = ping.try_send(());
                continue;
            }
        };
        asked = false;
        let bytes = match frame {
            Frame::Text(text) => Bytes::from(text),
            Frame::Binary(bytes) => bytes,
            Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) | Frame::Frame(_) => continue,
        };
        match codec.decode(bytes) {
            // There is room, and nobody else fills this direction.
            Ok(message) => {
                if peer.try_send(message).is_err() {
                    return;
                }
            }
            Err(error) => return tracing::warn!(error = ?error.text, "the router sent what is no message"),
        }
    }
}

fn codec_frame(codec: CodecId, bytes: Bytes) -> Option<Frame> {
    match codec {
        CodecId::Json => bytes.try_into().ok().map(Frame::Text),
        CodecId::Msgpack | CodecId::Cbor => Some(Frame::Binary(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_in_a_log_shows_no_token_and_no_cookie() {
        let dial = Dial {
            token: Some("the-token".to_owned()),
            headers: vec![("cookie".to_owned(), "the-cookie".to_owned())],
            ..Dial::new("ws://127.0.0.1:1/ws")
        };
        let text = format!("{dial:?}");
        assert!(text.contains("cookie") && !text.contains("the-"), "{text}");
    }
}
