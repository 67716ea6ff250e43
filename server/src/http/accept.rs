//! The accept loop: TCP connections in, requests with their peer's address to the routes.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{App, PeerAddress};
use crate::tls::ServerTls;

/// What the kernel may buffer for a peer that does not read. The default is megabytes, which hides slow peers.
const SEND_BUFFER: usize = 128 * 1024;
/// Room for a request's head.
const HEAD: usize = 16 * 1024;
/// Pause after the system had no more files to give: those who are connected go on, the loop does not spin.
const PAUSE: Duration = Duration::from_millis(100);

/// One of the places that all connections of a server share. Goes with the connection, also when it becomes a WebSocket.
#[derive(Clone, Debug)]
pub(crate) struct Seat(#[expect(dead_code, reason = "to hold it is all")] Arc<OwnedSemaphorePermit>);

impl Seat {
    /// A free place, if there is one.
    pub(crate) fn take(places: &Arc<Semaphore>) -> Option<Self> {
        let place = places.clone().try_acquire_owned().ok()?;
        Some(Self(Arc::new(place)))
    }
}

/// Accepts until `stop`; then lets requests at hand finish. Connections are counted in `tasks`.
pub(crate) async fn accept(
    listener: TcpListener,
    tls: Option<ServerTls>,
    routes: Router,
    app: App,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let (handshake, proxies) = (app.config.connections.handshake, app.config.proxies());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(seat) = Seat::take(&app.places) else {
            tracing::warn!(%address, "connection refused: all places are taken");
            continue;
        };
        // A listener for both kinds of addresses shows IPv4 in the form of IPv6.
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let counted = (!proxies.contains(&address.ip())).then_some(address.ip());
        let Ok(guest) = counted.map(|address| app.sockets.greet(address)).transpose() else {
            continue;
        };
        let options = socket2::SockRef::from(&stream);
        if stream.set_nodelay(true).is_err() || options.set_send_buffer_size(SEND_BUFFER).is_err() {
            continue; // the peer is gone already
        }
        let (tls, routes, stop) = (tls.clone(), routes.clone(), stop.clone());
        tasks.spawn(async move {
            // Goes when the last request is answered, or one has become a socket.
            let _guest = guest;
            match tls {
                None => serve(stream, address, seat, routes, handshake, stop).await,
                Some(tls) => {
                    if let Some(stream) = tls.accept(stream, handshake).await {
                        serve(stream, address, seat, routes, handshake, stop).await;
                    }
                }
            }
        });
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    address: SocketAddr,
    seat: Seat,
    routes: Router,
    handshake: Duration,
    stop: CancellationToken,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(PeerAddress(address));
        request.extensions_mut().insert(seat.clone());
        let routes = routes.clone();
        async move { Ok::<_, Infallible>(routes.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(handshake)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}
