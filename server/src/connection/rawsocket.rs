//! RawSocket over TCP and Unix sockets: WAMP without HTTP, for components.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    pin::pin,
    time::Duration,
};

use shared::wamp::{
    Uri,
    router::{Principal, authentication::DOOR},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixListener, UnixStream, unix},
};
use tokio_util::sync::CancellationToken;

mod frames;
mod handshake;

pub(super) use frames::RawIncoming;
use frames::RawOutgoing;
use handshake::Refusal;

use super::{
    Connection,
    sockets::{Guest, SocketOwner},
};
use crate::{
    config::{RawAddress, RawSocket},
    error::{Error, ErrorKind, Result},
    http::{App, Seat},
    router::realm::Place,
    tls::ServerTls,
};

/// What the kernel may buffer for a peer that does not read, as for WebSocket.
const SEND_BUFFER: usize = 128 * 1024;
/// Pause after the system had no more files to give.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound address that takes RawSocket connections.
pub(crate) struct RawListener {
    listener: Listener,
    /// Goes together with the listener.
    _file: Option<SocketFile>,
    door: Door,
}

/// Who comes in, by having come.
#[derive(Clone, Debug)]
struct Door {
    role: Option<String>,
    realm: Option<Uri>,
}

impl Door {
    fn principal(&self) -> Principal {
        match &self.role {
            Some(role) => Principal::new("", role.as_str(), DOOR),
            None => Principal::default(),
        }
    }
}

enum Listener {
    Tcp(TcpListener, Option<ServerTls>),
    Unix(UnixListener),
}

/// Removes a socket from the file system when nobody listens any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Both halves of an accepted socket.
enum Accepted {
    Tcp(TcpStream, Option<ServerTls>, IpAddr),
    Unix(unix::OwnedReadHalf, unix::OwnedWriteHalf),
}

impl Accepted {
    /// None for who comes over a socket in the file system.
    const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, _, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }
}

impl RawListener {
    /// Binds an address. A socket file that nobody listens at is replaced; a new one is open to its owner only.
    pub(crate) async fn bind(settings: &RawSocket, tls: Option<&ServerTls>) -> Result<Self> {
        let (listener, file) = match &settings.address {
            RawAddress::Tcp(address) | RawAddress::Tls(address) => {
                let tls = tls.filter(|_| matches!(settings.address, RawAddress::Tls(_))).cloned();
                let bound = TcpListener::bind(address).await;
                let listener = bound.map_err(|error| refused(&settings.address.to_string(), error))?;
                (Listener::Tcp(listener, tls), None)
            }
            RawAddress::Unix(path) => {
                let name = settings.address.to_string();
                if UnixStream::connect(path).await.is_ok() {
                    return Err(refused(&name, io::ErrorKind::AddrInUse.into()));
                }
                remove_stale(path).map_err(|error| refused(&name, error))?;
                let listener = bind_closed(path).map_err(|error| refused(&name, error))?;
                (Listener::Unix(listener), Some(SocketFile(path.clone())))
            }
        };
        Ok(Self {
            listener,
            _file: file,
            door: Door {
                role: settings.role.clone(),
                realm: settings.realm.as_deref().map(Uri::unchecked),
            },
        })
    }

    /// The TCP address, with the port that the system chose.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener, _) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    /// Accepts until `stop`. Connections are counted in the tasks of `app`.
    pub(crate) async fn accept(self, app: App, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let Some(seat) = Seat::take(&app.places) else {
                tracing::warn!("connection refused: all places are taken");
                continue;
            };
            let Ok(guest) = accepted.address().map(|address| app.sockets.greet(address)).transpose() else {
                continue;
            };
            let (served, door) = (app.clone(), self.door.clone());
            app.tasks.spawn(async move {
                greet(served, accepted, door, guest).await;
                drop(seat);
            });
        }
    }
}

async fn greet(app: App, accepted: Accepted, door: Door, guest: Option<Guest>) {
    // Boxed: beside it there would be room for TLS, and for each kind of socket, as long as the connection lives.
    match accepted {
        Accepted::Tcp(stream, None, address) => {
            let (reader, writer) = stream.into_split();
            Box::pin(serve(app, reader, writer, Place::Network(address), door, guest)).await;
        }
        Accepted::Tcp(stream, Some(tls), address) => {
            let within = app.config.connections.handshake;
            if let Some(stream) = Box::pin(tls.accept(stream, within)).await {
                let (reader, writer) = tokio::io::split(stream);
                Box::pin(serve(app, reader, writer, Place::Network(address), door, guest)).await;
            }
        }
        Accepted::Unix(reader, writer) => Box::pin(serve(app, reader, writer, Place::Unix, door, guest)).await,
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                // A peer that is gone already is noticed by who reads.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
                Ok(Accepted::Tcp(stream, tls.clone(), address.ip().to_canonical()))
            }
            Self::Unix(listener) => {
                let (reader, writer) = listener.accept().await?.0.into_split();
                Ok(Accepted::Unix(reader, writer))
            }
        }
    }
}

fn refused(address: &str, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::AddressTaken,
            format!("The address {address} is taken: another program takes RawSocket connections there"),
        ),
        _ => Error::new(ErrorKind::Io, format!("Cannot take RawSocket connections at {address}")).because(error),
    }
}

/// Removes the socket that a program left which did not end in order. Anything else at the path stays.
fn remove_stale(path: &std::path::Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    match std::fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other("something that is no socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Binds a socket that at no moment anybody else than its owner can open: in a folder that is closed to others, from
/// which it is moved when its own rights are set.
fn bind_closed(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder = parent
        .unwrap_or(std::path::Path::new("."))
        .join(format!(".{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let made = folder.join("s");
    let bound = UnixListener::bind(&made).and_then(|listener| {
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    // What is left of a failure is not worth hiding it.
    let _ = std::fs::remove_file(&made);
    let _ = std::fs::remove_dir(&folder);
    bound
}

/// Greets a client and serves it until either side ends.
async fn serve<R, W>(app: App, mut reader: R, mut writer: W, from: Place, door: Door, guest: Option<Guest>)
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let limits = &app.config.connections;
    let limit = limits.component_message;
    let owner = SocketOwner {
        network: from.address().map(Into::into),
        user: None,
        token: None,
    };
    let mut octets = [0; 4];
    let greeting = tokio::time::timeout(limits.handshake, reader.read_exact(&mut octets));
    if !matches!(greeting.await, Ok(Ok(_))) {
        tracing::debug!(address = %from, "no RawSocket handshake came");
        return;
    }
    let agreed = handshake::read(octets);
    let admitted = agreed.and_then(|agreed| match app.sockets.admit(owner) {
        Ok(open) if app.is_serving() => Ok((agreed, open)),
        Ok(_) | Err(_) => Err(Refusal::Full),
    });
    let (agreed, mut open) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            tracing::info!(address = %from, ?refusal, "RawSocket refused");
            metrics::counter!(crate::telemetry::REFUSED, "reason" => "rawsocket").increment(1);
            if let Some(answer) = refusal.answer()
                && writer.write_all(&answer).await.is_ok()
            {
                let _ = writer.shutdown().await;
            }
            return;
        }
    };
    if writer.write_all(&handshake::accept(octets[1], limit)).await.is_err() {
        return;
    }
    drop(guest); // it is a socket now
    let closed = open.closed();
    let connection = Connection {
        limits,
        codec: agreed.codec,
        batched: false,
        principal: Box::new(door.principal()),
        home: door.realm,
        from,
        counted: false,
        audited: false,
    };
    let ended = pin!(async { closed.await.text() });
    let mut incoming = RawIncoming::new(reader, handshake::taken(limit));
    let mut outgoing = RawOutgoing::new(writer, agreed.largest);
    connection.run(&app.realms, &mut incoming, &mut outgoing, ended).await;
}
