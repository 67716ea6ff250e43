//! A realm: one task owns the pure router, everybody else holds a handle.
//!
//! Messages come through a bounded inbox in which only the readers of sockets and links wait. Everything else goes
//! through a second channel that is served first: what it carries is bounded by what is going on (one entry per
//! connection that opens, ends or has room again, and per call of a node that grants or revokes).

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use shared::{
    platform::PlatformRef,
    wamp::{
        CodecId, Join, Link, Message, Peer, SessionId, Uri,
        router::{ConnectionId, Principal, RouterConfig, Stats},
        transport::memory,
    },
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use super::{peer_queue::PeerQueue, queue::Outbound, task::RealmTask};
use crate::{
    config::ConnectionLimits,
    error::{Error, ErrorKind, Result},
};

/// What is in a realm.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealmStats {
    /// What the router counts.
    pub router: Stats,
    /// Bytes in the queues to sockets.
    pub queue_bytes: usize,
    /// Peers closed because they read too slowly, since the start.
    pub slow_peers: u64,
}

/// Where a socket comes from, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Network(IpAddr),
    /// A socket in the file system.
    Unix,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => address.fmt(formatter),
            Self::Unix => formatter.write_str("unix"),
        }
    }
}

/// A handle to a realm. Cheap to clone, usable from every thread.
#[derive(Clone)]
pub struct RealmHandle {
    name: Uri,
    /// To the realm task, which holds the other end. Full = the senders, all of them readers, wait.
    inbox: mpsc::Sender<(ConnectionId, Received)>,
    /// To the realm task, served first. See the module for why it needs no bound.
    control: mpsc::UnboundedSender<Control>,
    next_connection: Arc<AtomicU64>,
    memory_capacity: usize,
    runtime: Handle,
}

/// What a reader took from its connection.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are messages")]
pub(crate) enum Received {
    Message(Message),
    /// A frame that is no message.
    Malformed(String),
    /// The last thing that is ever received.
    End,
}

#[derive(Debug)]
pub(super) enum Control {
    Attach {
        connection: ConnectionId,
        codec: CodecId,
        principal: Principal,
        queue: PeerQueue,
        /// Of sockets only.
        address: Option<Place>,
    },
    /// The connection was dropped without an orderly [`Received::End`].
    Vanished(ConnectionId),
    Room(ConnectionId),
    KillConnection {
        connection: ConnectionId,
        reason: Uri,
        message: Option<String>,
    },
    Kill {
        session: SessionId,
        reason: Uri,
        message: Option<String>,
    },
    KillUser {
        authid: String,
        reason: Uri,
        message: Option<String>,
    },
    BindBase {
        session: SessionId,
        base: Uri,
        done: oneshot::Sender<()>,
    },
    Grant {
        session: SessionId,
        topic: Uri,
        done: oneshot::Sender<()>,
    },
    Revoke {
        session: SessionId,
        topic: Uri,
    },
    Left {
        session: SessionId,
        done: oneshot::Sender<()>,
    },
    Stats(oneshot::Sender<RealmStats>),
    Shutdown(oneshot::Sender<()>),
}

impl fmt::Debug for RealmHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RealmHandle")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl RealmHandle {
    /// Starts a realm on the current runtime. It ends when all its handles are gone.
    #[must_use]
    pub fn start(name: Uri, config: RouterConfig, limits: &ConnectionLimits) -> Self {
        let (inbox, messages) = mpsc::channel(limits.inbox.max(1));
        let (control, commands) = mpsc::unbounded_channel();
        let task = RealmTask::new(name.clone(), config, control.downgrade());
        tokio::spawn(task.run(messages, commands));
        Self {
            name,
            inbox,
            control,
            next_connection: Arc::new(AtomicU64::new(1)),
            memory_capacity: limits.link,
            runtime: Handle::current(),
        }
    }

    /// The realm's name.
    #[must_use]
    pub fn name(&self) -> &Uri {
        &self.name
    }

    /// A link for a peer in this process. May be called on any thread; the link stays on the caller's.
    #[must_use]
    pub fn memory_link(&self, principal: Principal, codec: CodecId) -> Link {
        let (link, far) = memory::link(self.memory_capacity, codec);
        let ended = CancellationToken::new();
        let queue = PeerQueue::Memory {
            lane: far.outgoing,
            ended: ended.clone(),
        };
        let attached = self.attach(codec, principal, queue, None);
        self.runtime.spawn(async move {
            loop {
                let message = tokio::select! {
                    message = far.incoming.receive() => message,
                    () = ended.cancelled() => None,
                };
                let Some(message) = message else { break };
                if !attached.deliver(Received::Message(message)).await {
                    break;
                }
            }
            attached.end().await;
        });
        link
    }

    /// Joins a peer of this process, on the thread that its nodes live on.
    ///
    /// # Errors
    /// The router's refusal, or [`shared::error::ErrorKind::Disconnected`] when the realm has ended.
    pub async fn internal_peer(&self, platform: PlatformRef, principal: Principal) -> shared::error::Result<Peer> {
        let link = self.memory_link(principal, CodecId::Msgpack);
        Peer::join(platform, link, Join::new(self.name.clone())).await
    }

    /// Attaches a socket; `address` is for the log.
    pub(crate) fn attach_socket(
        &self,
        codec: CodecId,
        principal: Principal,
        queue: Arc<Outbound>,
        address: Place,
    ) -> Attached {
        self.attach(codec, principal, PeerQueue::Socket(queue), Some(address))
    }

    fn attach(&self, codec: CodecId, principal: Principal, queue: PeerQueue, address: Option<Place>) -> Attached {
        let connection = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        self.tell(Control::Attach {
            connection,
            codec,
            principal,
            queue,
            address,
        });
        Attached {
            connection,
            realm: self.clone(),
            over: false,
        }
    }

    /// Ends a session by GOODBYE. Nothing happens if there is no such session.
    pub fn kill(&self, session: SessionId, reason: Uri, message: Option<String>) {
        self.tell(Control::Kill {
            session,
            reason,
            message,
        });
    }

    /// Ends all sessions of a user by GOODBYE.
    pub fn kill_user(&self, authid: &str, reason: Uri, message: Option<String>) {
        self.tell(Control::KillUser {
            authid: authid.to_owned(),
            reason,
            message,
        });
    }

    /// Says that a session has proven to be the client of the session root at `base`. When this returns, the session
    /// that was it before has been closed and its registrations are gone.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the realm has ended.
    pub async fn bind_base(&self, session: SessionId, base: Uri) -> Result<()> {
        let (done, bound) = oneshot::channel();
        self.tell(Control::BindBase { session, base, done });
        bound.await.map_err(|_| ended())
    }

    /// Lets a session subscribe to a topic outside its base, from when this returns.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the realm has ended.
    pub async fn grant(&self, session: SessionId, topic: Uri) -> Result<()> {
        let (done, granted) = oneshot::channel();
        self.tell(Control::Grant { session, topic, done });
        granted.await.map_err(|_| ended())
    }

    /// Takes a grant back, and the subscription that it allowed.
    pub fn revoke(&self, session: SessionId, topic: Uri) {
        self.tell(Control::Revoke { session, topic });
    }

    /// Completes when a session is gone, at once if there is none.
    pub async fn left(&self, session: SessionId) {
        let (done, left) = oneshot::channel();
        self.tell(Control::Left { session, done });
        // An ended realm has no sessions either.
        let _ = left.await;
    }

    /// What is in the realm.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] when the realm has ended.
    pub async fn stats(&self) -> Result<RealmStats> {
        let (answer, stats) = oneshot::channel();
        self.tell(Control::Stats(answer));
        stats.await.map_err(|_| ended())
    }

    /// Says GOODBYE `wamp.close.system_shutdown` to everybody; completes when all connections are gone.
    pub async fn shutdown(&self) {
        let (done, over) = oneshot::channel();
        self.tell(Control::Shutdown(done));
        let _ = over.await;
    }

    fn tell(&self, control: Control) {
        if self.control.send(control).is_err() {
            tracing::debug!(realm = %self.name, "the realm has ended");
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Closed, "The realm has ended")
}

/// A connection of the realm, held by its reader. Dropping it detaches the connection.
#[derive(Debug)]
pub(crate) struct Attached {
    connection: ConnectionId,
    realm: RealmHandle,
    over: bool,
}

impl Attached {
    /// Hands over what was received, waiting for room. False when the realm has ended.
    pub(crate) async fn deliver(&self, received: Received) -> bool {
        self.realm.inbox.send((self.connection, received)).await.is_ok()
    }

    /// Detaches in order: after everything that was delivered.
    pub(crate) async fn end(mut self) {
        self.over = self.deliver(Received::End).await;
    }

    /// Says that there is room for an invocation again.
    pub(crate) fn has_room(&self) {
        self.realm.tell(Control::Room(self.connection));
    }

    /// Ends the session by GOODBYE, or just the connection if it has none yet.
    pub(crate) fn kill(&self, reason: &str, message: Option<String>) {
        let (connection, reason) = (self.connection, Uri::unchecked(reason));
        self.realm.tell(Control::KillConnection {
            connection,
            reason,
            message,
        });
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if !self.over {
            self.realm.tell(Control::Vanished(self.connection));
        }
    }
}
