//! HTTP: which routes there are, what every request and answer goes through, and what the handlers share.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use axum::http::{HeaderMap, StatusCode, header};
use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    auth::{Authenticator, Identity, TokenHash},
    config::Config,
    connection::{self, Sockets},
    router::{RealmHandle, realms::Realms},
};

mod accept;
pub mod assets;
mod cookie;
mod guard;
mod health;
mod html;
mod login;
mod reload;
mod shell;

pub(crate) use accept::{Seat, accept};
use assets::Client;
pub(crate) use cookie::SessionCookie;
use guard::forwarded_address;
pub(crate) use guard::{HostPolicy, Origin, refuse};
pub(crate) use reload::port_of_watcher as reload_port;

/// A named question whose answer says whether the server can do its work, asked by `/readyz`.
pub type ReadyCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The largest body that any plain HTTP route takes.
const LARGEST_BODY: usize = 8 * 1024;

/// What all handlers share.
pub(crate) struct AppState {
    pub(crate) config: Config,
    pub(crate) policy: HostPolicy,
    pub(crate) cookie: SessionCookie,
    pub(crate) client: Client,
    pub(crate) title: String,
    /// Where services, components and pages are.
    pub(crate) realm: RealmHandle,
    pub(crate) realms: Realms,
    pub(crate) sockets: Arc<Sockets>,
    /// For all connections of whatever kind.
    pub(crate) places: Arc<Semaphore>,
    /// Everything that runs for a connection; the end waits for it.
    pub(crate) tasks: TaskTracker,
    /// None: everybody is let in without a login.
    pub(crate) authenticator: Option<Arc<Authenticator>>,
    /// Roles of programs: the ones with limits of their own.
    pub(crate) component_roles: BTreeSet<String>,
    /// Roles whose people are operators when they come with a token.
    pub(crate) operators: BTreeSet<String>,
    pub(crate) ready_checks: Vec<(String, ReadyCheck)>,
    /// Set once the services have started, cleared when the end begins.
    pub(crate) serving: AtomicBool,
    pub(crate) started: Instant,
    /// Port of cargo-leptos' reload socket, in development only.
    pub(crate) reload_port: Option<u16>,
}

impl fmt::Debug for AppState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AppState")
            .field("title", &self.title)
            .finish_non_exhaustive()
    }
}

pub(crate) type App = Arc<AppState>;

impl AppState {
    /// The login token of a request's cookie, unchecked.
    pub(crate) fn token(&self, headers: &HeaderMap) -> Option<TokenHash> {
        self.cookie.read(headers).map(|token| TokenHash::of(&token))
    }

    /// Who sent a request, by its cookie. A store that cannot be asked means nobody: closed, not open.
    pub(crate) async fn identity(&self, headers: &HeaderMap) -> Option<Identity> {
        let (authenticator, token) = (self.authenticator.as_ref()?, self.token(headers)?);
        authenticator.identify(token).await.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot check a login");
            None
        })
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }
}

/// The address of the TCP peer, put on each request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddress(pub(crate) SocketAddr);

/// The address of the client: the peer's, or what a trusted proxy said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

/// All routes. A test compares this list with the one it allows.
pub(crate) fn routes(app: App) -> Router {
    let mut routes = Router::new()
        .route("/", get(shell::page))
        .route("/pkg/{*path}", get(assets::package))
        .route("/ws", get(connection::upgrade))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(assets::other);
    if app.authenticator.is_some() {
        routes = routes
            .route("/login", get(login::form).post(login::log_in))
            .route("/logout", axum::routing::post(login::log_out));
    }
    if app.reload_port.is_some() {
        routes = routes.route("/dev/reload.js", get(reload::script));
    }
    routes
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), around))
        .with_state(app)
}

/// What every request goes through: address, Host check, log line, headers of the answer.
async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let peer = request.extensions().get::<PeerAddress>().map(|peer| peer.0.ip());
    let Some(peer) = peer else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let address = forwarded_address(peer, &app.config.proxies(), request.headers());
    request.extensions_mut().insert(ClientAddress(address));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());

    let host = app.policy.host(&request).map(str::to_owned);
    let health = matches!(path.as_str(), "/healthz" | "/readyz");
    let mut answer = match &host {
        // Probes of an orchestrator come by address; these two routes tell nothing.
        None if !health => guard::refuse("host", "This server does not answer to that host name."),
        Some(_) | None => next.run(request).await,
    };
    guard::add_headers(&app, host.as_deref(), answer.headers_mut());

    let status = answer.status().as_u16();
    let milliseconds = format_args!("{:.1}", start.elapsed().as_secs_f64() * 1000.0).to_string();
    // The path comes from outside: `?` escapes control characters. The query is left out, it may carry what is private.
    if health || path.starts_with("/pkg/") {
        tracing::debug!(%method, ?path, status, %address, %milliseconds, "request");
    } else {
        tracing::info!(%method, ?path, status, %address, %milliseconds, "request");
    }
    answer
}

/// A plain sentence with a status.
pub(crate) fn sentence(status: StatusCode, text: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
        format!("{text}\n"),
    )
        .into_response()
}
