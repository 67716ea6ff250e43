//! WebSocket: who may open one, which sub-protocol it speaks, and its frames.

use std::{future::poll_fn, pin::pin, task::ready};

use axum::{
    body::Bytes,
    extract::{
        Extension, FromRequestParts, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket},
    },
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, Sink, SinkExt, StreamExt, future::BoxFuture, stream::SplitStream};
use shared::wamp::{
    CodecId,
    router::{Outgoing as Queued, Principal, TOKEN},
    uri::{close, error},
};

use super::{
    Connection, batch,
    sockets::{CloseWhy, Full, SocketOwner},
    wire::{Came, Gone, Incoming, Outgoing, Silence},
    writer::INVALID_TEXT,
};
use crate::{
    auth::{Identity, TokenHash},
    http::{App, ClientAddress, Origin, Seat, refuse, sentence},
    router::realm::Place,
};

/// Buffer that each idle connection holds for reading: the default of 128 KiB would be most of its memory.
const READ_BUFFER: usize = 2 * 1024;
/// Written bytes that are collected before they go out; everything goes out when the queue is empty.
const WRITE_BUFFER: usize = 16 * 1024;

/// By the cookie of a page.
const COOKIE: &str = "cookie";
/// By a browser's login that a program shows.
const BEARER: &str = "bearer";

/// What kind of program is at the other end; limits go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A person: everybody whose role nothing else is said about.
    Browser,
    /// A program: its role has limits of its own, or the router is bare.
    Component,
}

/// `GET /ws`: refuses or upgrades.
pub(crate) async fn upgrade(
    State(app): State<App>,
    Extension(address): Extension<ClientAddress>,
    Extension(seat): Extension<Seat>,
    request: Request,
) -> Response {
    let identity = match admit(&app, request.headers()).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    let kind = match &identity {
        // How somebody shows the token does not say who they are: only the role does.
        Some((identity, _)) if !app.component_roles.contains(&identity.role) => Kind::Browser,
        Some(_) | None => Kind::Component,
    };
    let is_operator = identity
        .as_ref()
        .is_some_and(|(identity, method)| *method == TOKEN && app.operators.contains(&identity.role));
    let is_page = identity.as_ref().is_none_or(|(_, method)| *method == COOKIE);
    if !app.is_serving() {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, "The server is starting or stopping.");
    }
    let Some(chosen) = negotiate(request.headers()) else {
        return sentence(
            StatusCode::BAD_REQUEST,
            "Offer one of wamp.2.json, wamp.2.msgpack, wamp.2.cbor, plain or with .batched, as sub-protocol.",
        );
    };
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let owner = SocketOwner {
        network: Some(address.0.into()),
        user: identity.as_ref().map(|(identity, _)| identity.authid.clone()),
        token: identity.as_ref().map(|(identity, _)| identity.token),
    };
    let mut open = match app.sockets.admit(owner) {
        Ok(open) => open,
        Err(Full::Address) => return full("address", "Too many connections from your address."),
        Err(Full::User) => return full("user", "You have too many connections open."),
    };
    let limits = &app.config.connections;
    let largest = match kind {
        Kind::Browser => limits.browser_message,
        Kind::Component => limits.component_message,
    };
    let principal = Box::new(principal(identity.as_ref()));
    let lapses = identity.map(|(identity, _)| login_lapses(app.clone(), identity).boxed());
    let closed = open.closed();
    upgrade
        .protocols([chosen.name])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| {
            let (sink, stream) = socket.split();
            let mut incoming = WebSocketIncoming {
                stream,
                text: chosen.codec.is_text(),
            };
            let mut outgoing = WebSocketOutgoing {
                sink,
                codec: chosen.codec,
                batch: chosen.batched.then(Vec::new),
            };
            // A task of its own: the one that upgrades has room for all that a socket goes through, and ends here.
            let tasks = app.tasks.clone();
            tasks.spawn(async move {
                let connection = Connection {
                    limits: &app.config.connections,
                    codec: chosen.codec,
                    batched: chosen.batched,
                    principal,
                    home: None,
                    from: Place::Network(address.0),
                    counted: kind == Kind::Browser && !is_operator,
                    audited: is_operator || (kind == Kind::Browser && !is_page),
                };
                let ended = pin!(login_ends(lapses, closed));
                connection.run(&app.realms, &mut incoming, &mut outgoing, ended).await;
                drop((open, seat));
            });
            std::future::ready(())
        })
}

fn full(reason: &'static str, text: &str) -> Response {
    metrics::counter!(crate::telemetry::REFUSED, "reason" => reason).increment(1);
    tracing::info!(reason, "socket refused");
    sentence(StatusCode::TOO_MANY_REQUESTS, text)
}

/// Who may open a socket and by what: a page shows its origin and its cookie; a program its token and no origin.
async fn admit(app: &App, headers: &HeaderMap) -> Result<Option<(Identity, &'static str)>, Response> {
    let origin = app.policy.origin(headers);
    if origin == Origin::Foreign {
        return Err(refuse("origin", "This socket is not for pages of other servers."));
    }
    let Some(authenticator) = &app.authenticator else {
        return Ok(None);
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(bearer_token);
    let (shown, token) = match (bearer, origin) {
        (Some(token), _) => (BEARER, Some(token)),
        (None, Origin::Own) => (COOKIE, app.token(headers)),
        (None, Origin::Absent | Origin::Foreign) => {
            return Err(refuse("origin", "A socket without an origin needs a token."));
        }
    };
    let unknown = || sentence(StatusCode::UNAUTHORIZED, "Please log in.");
    let identified = authenticator.identify(token.ok_or_else(unknown)?).await;
    match identified {
        Ok(Some(identity)) => {
            let method = if shown == BEARER && identity.issued {
                TOKEN
            } else {
                shown
            };
            Ok(Some((identity, method)))
        }
        Ok(None) => Err(unknown()),
        Err(error) => {
            tracing::error!(%error, "a socket's login could not be checked");
            Err(sentence(
                StatusCode::SERVICE_UNAVAILABLE,
                "Logins cannot be checked at the moment.",
            ))
        }
    }
}

fn bearer_token(value: &HeaderValue) -> Option<TokenHash> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| TokenHash::of(token.trim()))
}

/// A sub-protocol that was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Chosen {
    name: &'static str,
    codec: CodecId,
    batched: bool,
}

/// The sub-protocols that are spoken.
const KNOWN: [Chosen; 6] = {
    const fn chosen(name: &'static str, codec: CodecId, batched: bool) -> Chosen {
        Chosen { name, codec, batched }
    }
    [
        chosen("wamp.2.json", CodecId::Json, false),
        chosen("wamp.2.msgpack", CodecId::Msgpack, false),
        chosen("wamp.2.cbor", CodecId::Cbor, false),
        chosen("wamp.2.json.batched", CodecId::Json, true),
        chosen("wamp.2.msgpack.batched", CodecId::Msgpack, true),
        chosen("wamp.2.cbor.batched", CodecId::Cbor, true),
    ]
};

/// The client's first offer that the server knows.
fn negotiate(headers: &HeaderMap) -> Option<Chosen> {
    let offers = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|list| list.split(',')).map(str::trim);
    offers.find_map(|offer| KNOWN.into_iter().find(|known| known.name == offer))
}

fn principal(identity: Option<&(Identity, &'static str)>) -> Principal {
    match identity {
        Some((identity, method)) => Principal {
            authid: identity.authid.clone(),
            authrole: identity.role.clone(),
            authmethod: (*method).to_owned(),
            authprovider: "accounts".to_owned(),
            internal: false,
        },
        None => Principal::default(),
    }
}

/// Completes when the login behind the socket has ended or changed its role: an open socket outlives no login.
async fn login_ends(lapses: Option<BoxFuture<'static, ()>>, closed: impl Future<Output = CloseWhy>) -> &'static str {
    let Some(lapses) = lapses else {
        return closed.await.text();
    };
    tokio::select! {
        why = closed => why.text(),
        () = lapses => "Your login has ended.",
    }
}

async fn login_lapses(app: App, identity: Identity) {
    let Some(authenticator) = &app.authenticator else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(app.config.logins.recheck).await;
        match Box::pin(authenticator.identify(identity.token)).await {
            Ok(Some(now)) if now == identity => {}
            Ok(Some(_) | None) => return,
            // A database that is away for a moment ends nobody's session; the next look decides.
            Err(error) => tracing::warn!(%error, "a socket's login could not be checked again"),
        }
    }
}

struct WebSocketIncoming {
    stream: SplitStream<WebSocket>,
    text: bool,
}

impl Incoming for WebSocketIncoming {
    async fn next(&mut self) -> Result<Came, Silence> {
        match self.stream.next().await {
            Some(Ok(Frame::Text(text))) if self.text => Ok(Came::Message(text.into())),
            Some(Ok(Frame::Binary(bytes))) if !self.text => Ok(Came::Message(bytes)),
            Some(Ok(Frame::Text(_))) => Ok(Came::Unfit("This sub-protocol has binary frames.")),
            Some(Ok(Frame::Binary(_))) => Ok(Came::Unfit("This sub-protocol has text frames.")),
            // The answer to a ping or a close goes out by itself.
            Some(Ok(Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_))) => Ok(Came::Nothing),
            Some(Err(error)) => Err(broken(error)),
            None => Err(Silence::Gone),
        }
    }

    async fn drain(&mut self) {
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}

fn broken(error: axum::Error) -> Silence {
    use tokio_tungstenite::tungstenite::Error as Socket;
    let text = error.to_string();
    match error.into_inner().downcast::<Socket>() {
        Ok(error) => match *error {
            Socket::Capacity(_) => Silence::TooLarge,
            Socket::Utf8(_) => Silence::NotText,
            Socket::Protocol(_) => Silence::Broken(text),
            // The rest is about the connection: nobody is there to be told.
            _ => Silence::Gone,
        },
        Err(_) => Silence::Gone,
    }
}

struct WebSocketOutgoing<S> {
    sink: S,
    codec: CodecId,
    /// Messages that go into one frame; none where the sub-protocol is not batched.
    batch: Option<Vec<u8>>,
}

impl<S: Sink<Frame> + Unpin> WebSocketOutgoing<S> {
    async fn feed(&mut self, frame: Frame) -> Result<(), Gone> {
        let mut frame = Some(frame);
        poll_fn(|context| {
            ready!(self.sink.poll_ready_unpin(context))?;
            if let Some(frame) = frame.take() {
                self.sink.start_send_unpin(frame)?;
            }
            // Half a socket keeps a frame back until it is asked for room. Until then its memory could not serve the next.
            self.sink.poll_ready_unpin(context)
        })
        .await
        .map_err(|_: S::Error| Gone)
    }

    fn frame(&self, bytes: Bytes) -> Result<Frame, Gone> {
        if !self.codec.is_text() {
            return Ok(Frame::Binary(bytes));
        }
        Utf8Bytes::try_from(bytes).map(Frame::Text).map_err(|error| {
            tracing::error!(%error, "a JSON frame is not text");
            Gone
        })
    }

    async fn end_batch(&mut self) -> Result<(), Gone> {
        match self.batch.as_mut().map(std::mem::take) {
            Some(batch) if !batch.is_empty() => self.feed(self.frame(batch.into())?).await,
            Some(_) | None => Ok(()),
        }
    }
}

impl<S: Sink<Frame> + Send + Unpin> Outgoing for WebSocketOutgoing<S> {
    /// A WebSocket peer does not say what it takes.
    fn largest(&self) -> usize {
        usize::MAX
    }

    /// That a frame is UTF-8 is checked once for all its receivers.
    async fn shared(&mut self, message: &Queued) -> Option<Result<(), Gone>> {
        if self.batch.is_some() || !self.codec.is_text() {
            return None;
        }
        let text = message.form(self.codec, |bytes| Utf8Bytes::try_from(bytes).ok())?;
        Some(self.feed(Frame::Text(text?)).await)
    }

    async fn message(&mut self, bytes: Bytes) -> Result<(), Gone> {
        let Some(batch) = &mut self.batch else {
            return self.feed(self.frame(bytes)?).await;
        };
        batch::add(self.codec, batch, &bytes);
        if batch.len() < WRITE_BUFFER {
            return Ok(());
        }
        self.end_batch().await
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        self.feed(Frame::Ping(Bytes::new())).await
    }

    async fn pong(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.feed(Frame::Pong(bytes)).await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.end_batch().await?;
        self.sink.flush().await.map_err(|_| Gone)
    }

    async fn farewell(&mut self, reason: &str) {
        // The peer may be gone already; either way this socket is done.
        if self.end_batch().await.is_ok() && self.feed(close_frame(reason)).await.is_ok() {
            let _ = self.sink.flush().await;
        }
    }
}

/// A close frame whose code says whether coming back is worth it, and whose text says why it came to this.
fn close_frame(reason: &str) -> Frame {
    let code = match reason {
        close::NORMAL | close::GOODBYE_AND_OUT | close::CLOSE_REALM => 1000,
        error::PROTOCOL_VIOLATION => 1002,
        INVALID_TEXT => 1007,
        error::PAYLOAD_SIZE_EXCEEDED => 1009,
        close::SYSTEM_SHUTDOWN => 1012,
        close::TOO_SLOW => 1013,
        _ => 1008,
    };
    // A close frame has room for 123 bytes.
    let text = &reason[..reason.floor_char_boundary(reason.len().min(123))];
    Frame::Close(Some(CloseFrame {
        code,
        reason: text.into(),
    }))
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use futures::Stream;

    use super::*;

    /// A socket that nothing comes from, and that needs a frame no longer than it takes to copy it.
    struct Copies;

    impl Stream for Copies {
        type Item = ();
        fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
            Poll::Pending
        }
    }

    impl Sink<Frame> for Copies {
        type Error = ();
        fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }
        fn start_send(self: Pin<&mut Self>, _: Frame) -> Result<(), ()> {
            Ok(())
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_frame_that_was_written_holds_its_memory_no_longer() {
        let (sink, _stream) = Copies.split();
        let codec = CodecId::Cbor;
        let mut outgoing = WebSocketOutgoing {
            sink,
            codec,
            batch: None,
        };
        let bytes = Bytes::from(vec![1; 100]);
        outgoing.message(bytes.clone()).await.expect("a socket");
        assert!(bytes.is_unique());
    }

    #[test]
    fn the_first_known_offer_is_taken() {
        let of = |lines: &[&'static str]| {
            let values = lines
                .iter()
                .map(|line| (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line)));
            negotiate(&values.collect::<HeaderMap>()).map(|chosen| chosen.name)
        };
        assert_eq!(of(&["wamp.2.cbor, wamp.2.json"]), Some("wamp.2.cbor"));
        assert_eq!(of(&["wamp.2.json,wamp.2.cbor"]), Some("wamp.2.json"));
        assert_eq!(of(&["nonsense", "wamp.2.msgpack"]), Some("wamp.2.msgpack"));
        let batched = Some("wamp.2.cbor.batched");
        assert_eq!(of(&["wamp.2.cbor.batched, wamp.2.cbor"]), batched);
        assert_eq!(of(&["wamp.2.ubjson.batched, wamp.1"]), None);
        assert_eq!(of(&[]), None);
    }
}
