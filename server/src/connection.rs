//! One WebSocket: who may open it, and its life between socket and realm.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Extension, FromRequestParts, Request, State, WebSocketUpgrade, ws::WebSocket},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use shared::wamp::{CodecId, router::Principal, uri::close};

use crate::{
    auth::{Identity, TokenHash},
    config::ConnectionLimits,
    http::{App, ClientAddress, Origin, refuse, sentence},
    router::queue::Outbound,
};

mod rate;
mod reader;
mod sockets;
mod writer;

pub(crate) use sockets::{CloseWhy, Sockets};

use rate::CallRate;
use reader::{End, Reader};
use sockets::{Full, SocketOwner};

/// Buffer that each idle connection holds for reading: the default of 128 KiB would be most of its memory.
const READ_BUFFER: usize = 2 * 1024;
/// Written bytes that are collected before they go out; everything goes out when the queue is empty.
const WRITE_BUFFER: usize = 16 * 1024;

/// What kind of program is at the other end; limits go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Logged in by cookie.
    Browser,
    /// Logged in by a token in the `Authorization` header, which no web page can send, or anonymous on a bare router.
    Component,
}

/// `GET /ws`: refuses or upgrades.
pub(crate) async fn upgrade(
    State(app): State<App>,
    Extension(address): Extension<ClientAddress>,
    request: Request,
) -> Response {
    let (kind, identity) = match admit(&app, request.headers()).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refusal,
    };
    if !app.is_serving() {
        return sentence(StatusCode::SERVICE_UNAVAILABLE, "The server is starting or stopping.");
    }
    let Some(codec) = negotiate(request.headers()) else {
        return sentence(
            StatusCode::BAD_REQUEST,
            "Offer one of wamp.2.json, wamp.2.msgpack, wamp.2.cbor as sub-protocol.",
        );
    };
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &app).await {
        Ok(upgrade) => upgrade,
        Err(refused) => return refused.into_response(),
    };
    let owner = SocketOwner {
        address: address.0,
        user: identity.as_ref().map(|identity| identity.authid.clone()),
        token: identity.as_ref().map(|identity| identity.token),
    };
    let mut open = match app.sockets.admit(owner) {
        Ok(open) => open,
        Err(Full::Address) => return full("address", "Too many connections from your address."),
        Err(Full::User) => return full("user", "You have too many connections open."),
    };
    let limits = app.config.connections;
    let largest = match kind {
        Kind::Browser => limits.browser_message,
        Kind::Component => limits.component_message,
    };
    let closed = open.closed();
    let tasks = app.tasks.clone();
    upgrade
        .protocols([codec.subprotocol()])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest)
        .on_upgrade(move |socket| {
            tasks.track_future(async move {
                let connection = Connection {
                    app,
                    codec,
                    kind,
                    limits,
                    identity,
                    address: address.0,
                };
                connection.run(socket, closed).await;
                drop(open);
            })
        })
}

fn full(reason: &'static str, text: &str) -> Response {
    metrics::counter!(crate::telemetry::REFUSED, "reason" => reason).increment(1);
    tracing::info!(reason, "socket refused");
    sentence(StatusCode::TOO_MANY_REQUESTS, text)
}

/// Who may open a socket. A browser shows its origin and its cookie; a component its token and no origin.
async fn admit(app: &App, headers: &HeaderMap) -> Result<(Kind, Option<Identity>), Response> {
    let origin = app.policy.origin(headers);
    if origin == Origin::Foreign {
        return Err(refuse("origin", "This socket is not for pages of other servers."));
    }
    let Some(authenticator) = &app.authenticator else {
        return Ok((Kind::Component, None));
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(bearer_token);
    let (kind, token) = match (bearer, origin) {
        (Some(token), _) => (Kind::Component, Some(token)),
        (None, Origin::Own) => (Kind::Browser, app.token(headers)),
        (None, Origin::Absent | Origin::Foreign) => {
            return Err(refuse("origin", "A socket without an origin needs a token."));
        }
    };
    let unknown = || sentence(StatusCode::UNAUTHORIZED, "Please log in.");
    let identified = authenticator.identify(token.ok_or_else(unknown)?).await;
    match identified {
        Ok(Some(identity)) => Ok((kind, Some(identity))),
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

/// The client's first offer that the server knows.
fn negotiate(headers: &HeaderMap) -> Option<CodecId> {
    const KNOWN: [CodecId; 3] = [CodecId::Json, CodecId::Msgpack, CodecId::Cbor];
    let offers = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut offers = offers.flat_map(|list| list.split(',')).map(str::trim);
    offers.find_map(|offer| KNOWN.into_iter().find(|codec| codec.subprotocol() == offer))
}

/// An upgraded socket.
struct Connection {
    app: App,
    codec: CodecId,
    kind: Kind,
    limits: ConnectionLimits,
    identity: Option<Identity>,
    address: IpAddr,
}

impl Connection {
    async fn run(self, socket: WebSocket, closed: impl Future<Output = CloseWhy>) {
        let queue = Arc::new(Outbound::new(self.limits.queue));
        let attached = self
            .app
            .realm
            .attach_socket(self.codec, self.principal(), queue.clone(), self.address);
        let (sink, stream) = socket.split();
        let rate = (self.kind == Kind::Browser).then(|| CallRate::new(&self.limits));
        let reader = Reader {
            stream,
            codec: self.codec,
            queue: &queue,
            attached: &attached,
            limits: &self.limits,
            rate,
        };
        let exchange = async {
            let (reading, writing) = (reader.run(), writer::run(sink, self.codec, &queue, &attached));
            tokio::pin!(reading, writing);
            tokio::select! {
                end = &mut reading => match end {
                    End::Gone => {}
                    End::Refused => writing.await,
                },
                // The farewell is out. What still comes is read and ignored, lest the system takes the farewell back.
                () = &mut writing => {
                    reading.await;
                }
            }
        };
        let farewell = async {
            queue.ended().await;
            tokio::time::sleep(self.limits.farewell).await;
        };
        let login = async {
            let text = tokio::select! {
                CloseWhy::LoggedOut = closed => "You have logged out.",
                () = self.login_ends() => "Your login has ended.",
            };
            attached.kill(close::KILLED, Some(text.to_owned()));
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = exchange => {}
            () = farewell => {}
            () = login => {}
        }
        attached.end().await;
    }

    fn principal(&self) -> Principal {
        match &self.identity {
            Some(identity) => Principal {
                authid: identity.authid.clone(),
                authrole: identity.role.clone(),
                authmethod: match self.kind {
                    Kind::Browser => "cookie".to_owned(),
                    Kind::Component => "bearer".to_owned(),
                },
                authprovider: "accounts".to_owned(),
                internal: false,
            },
            // A name of its own each, so that publishers can pick out or leave out one of many.
            None => Principal {
                authid: anonymous_name(),
                authrole: "anonymous".to_owned(),
                authmethod: "anonymous".to_owned(),
                authprovider: "static".to_owned(),
                internal: false,
            },
        }
    }

    /// Completes when the login behind the socket has ended or changed its role: an open socket outlives no login.
    async fn login_ends(&self) {
        let (Some(authenticator), Some(identity)) = (&self.app.authenticator, &self.identity) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(self.app.config.logins.recheck).await;
            match authenticator.identify(identity.token).await {
                Ok(Some(now)) if now == *identity => {}
                Ok(Some(_) | None) => return,
                // A database that is away for a moment ends nobody's session; the next look decides.
                Err(error) => tracing::warn!(%error, "a socket's login could not be checked again"),
            }
        }
    }
}

fn anonymous_name() -> String {
    let mut bytes = [0; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => format!("anonymous-{:016x}", u64::from_ne_bytes(bytes)),
        Err(error) => {
            tracing::error!(%error, "the system gives no randomness");
            "anonymous".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_offer_is_taken() {
        let of = |lines: &[&'static str]| {
            let values = lines
                .iter()
                .map(|line| (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(line)));
            negotiate(&values.collect::<HeaderMap>())
        };
        assert_eq!(of(&["wamp.2.cbor, wamp.2.json"]), Some(CodecId::Cbor));
        assert_eq!(of(&["wamp.2.json,wamp.2.cbor"]), Some(CodecId::Json));
        assert_eq!(of(&["nonsense", "wamp.2.msgpack"]), Some(CodecId::Msgpack));
        assert_eq!(of(&["wamp.2.json.batched, wamp.1"]), None);
        assert_eq!(of(&[]), None);
    }
}
