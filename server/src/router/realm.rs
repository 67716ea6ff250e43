//! A realm: one task owns the pure router, everybody else holds a handle.
//!
//! Messages come through a bounded inbox in which only the readers of sockets and links wait. Everything else goes
//! through a second channel that is served first: what it carries is bounded by what is going on (one entry per
//! connection that opens, ends or has room again, and per call of a node that grants or revokes).

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use shared::{
    platform::PlatformRef,
    wamp::{
        CodecId, Join, Link, Message, Peer, SessionId, Uri,
        router::{Class, ConnectionId, Input, Outgoing, Output, Principal, Router, RouterConfig, Stats},
        transport::{
            SendError,
            memory::{self, LaneSender},
        },
        uri::close,
    },
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::queue::{Outbound, Pushed};
use crate::{
    config::ConnectionLimits,
    error::{Error, ErrorKind, Result},
    telemetry,
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
pub(crate) enum Received {
    Message(Message),
    /// A frame that is no message.
    Malformed(String),
    /// The last thing that is ever received.
    End,
}

#[derive(Debug)]
enum Control {
    Attach {
        connection: ConnectionId,
        codec: CodecId,
        principal: Principal,
        queue: PeerQueue,
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

/// How messages get to a peer.
#[derive(Clone)]
enum PeerQueue {
    Socket(Arc<Outbound>),
    Memory { lane: LaneSender, ended: CancellationToken },
}

impl fmt::Debug for PeerQueue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Socket(_) => "Socket",
            Self::Memory { .. } => "Memory",
        })
    }
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
        let task = RealmTask {
            router: Router::new(name.clone(), config),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            ending: None,
            slow_peers: 0,
            origin: Instant::now(),
            control: control.downgrade(),
        };
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
        let attached = self.attach(codec, principal, queue);
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

    pub(crate) fn attach_socket(&self, codec: CodecId, principal: Principal, queue: Arc<Outbound>) -> Attached {
        self.attach(codec, principal, PeerQueue::Socket(queue))
    }

    fn attach(&self, codec: CodecId, principal: Principal, queue: PeerQueue) -> Attached {
        let connection = ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed));
        self.tell(Control::Attach {
            connection,
            codec,
            principal,
            queue,
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

struct PeerEntry {
    queue: PeerQueue,
    authid: String,
    session: Option<SessionId>,
}

struct RealmTask {
    router: Router,
    peers: BTreeMap<ConnectionId, PeerEntry>,
    sessions: BTreeMap<SessionId, ConnectionId>,
    /// Who waits for a session to be gone.
    waiting: Vec<(SessionId, oneshot::Sender<()>)>,
    /// Who waits for the end.
    ending: Option<oneshot::Sender<()>>,
    slow_peers: u64,
    origin: Instant,
    /// To itself, from tasks that wait for room in a memory link. Weak: it must not keep the realm alive.
    control: mpsc::WeakUnboundedSender<Control>,
}

impl RealmTask {
    async fn run(
        mut self,
        mut messages: mpsc::Receiver<(ConnectionId, Received)>,
        mut commands: mpsc::UnboundedReceiver<Control>,
    ) {
        loop {
            let deadline = self.router.next_deadline();
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                Some((connection, received)) = messages.recv() => self.received(connection, received),
                () = sleep_until(self.origin, deadline), if deadline.is_some() => {
                    self.feed(Input::Tick { now: self.origin.elapsed() });
                }
            }
        }
    }

    fn received(&mut self, connection: ConnectionId, received: Received) {
        if !self.peers.contains_key(&connection) {
            return; // it vanished while this was on its way
        }
        match received {
            Received::Message(message) => {
                // Time-outs count from when a call arrives, not from the last tick.
                if matches!(message, Message::Call(_)) {
                    self.feed(Input::Tick {
                        now: self.origin.elapsed(),
                    });
                }
                self.feed(Input::Message { connection, message });
            }
            Received::Malformed(reason) => {
                metrics::counter!(telemetry::VIOLATIONS).increment(1);
                tracing::info!(connection = connection.0, ?reason, "the peer sent what is no message");
                self.feed(Input::Malformed { connection, reason });
            }
            Received::End => self.detach(connection),
        }
    }

    fn command(&mut self, command: Control) {
        match command {
            Control::Attach {
                connection,
                codec,
                principal,
                queue,
            } => {
                let authid = principal.authid.clone();
                self.peers.insert(
                    connection,
                    PeerEntry {
                        queue,
                        authid,
                        session: None,
                    },
                );
                self.feed(Input::Attach {
                    connection,
                    codec,
                    principal,
                });
                if self.ending.is_some() {
                    self.close(connection, &Uri::unchecked(close::SYSTEM_SHUTDOWN));
                }
            }
            Control::Vanished(connection) => self.detach(connection),
            Control::Room(connection) => self.room(connection),
            Control::KillConnection {
                connection,
                reason,
                message,
            } => match self.peers.get(&connection).map(|peer| peer.session) {
                Some(Some(session)) => self.feed(Input::Kill {
                    session,
                    reason,
                    message,
                }),
                Some(None) => self.close(connection, &reason),
                None => {}
            },
            Control::Kill {
                session,
                reason,
                message,
            } => self.feed(Input::Kill {
                session,
                reason,
                message,
            }),
            Control::KillUser {
                authid,
                reason,
                message,
            } => {
                let of_user = self
                    .peers
                    .values()
                    .filter(|peer| peer.authid == authid)
                    .filter_map(|peer| peer.session);
                for session in of_user.collect::<Vec<_>>() {
                    self.feed(Input::Kill {
                        session,
                        reason: reason.clone(),
                        message: message.clone(),
                    });
                }
            }
            Control::BindBase { session, base, done } => {
                self.feed(Input::BindBase { session, base });
                // Who asked may have given up meanwhile.
                let _ = done.send(());
            }
            Control::Grant { session, topic, done } => {
                self.feed(Input::Grant { session, topic });
                let _ = done.send(());
            }
            Control::Revoke { session, topic } => self.feed(Input::Revoke { session, topic }),
            Control::Left { session, done } => {
                self.waiting.push((session, done));
                self.tell_who_left();
            }
            Control::Stats(answer) => {
                let _ = answer.send(self.stats());
            }
            Control::Shutdown(done) => {
                self.ending = Some(done);
                self.feed(Input::Shutdown);
                // Whoever has not joined yet gets no GOODBYE but is closed too.
                for connection in self.peers.keys().copied().collect::<Vec<_>>() {
                    self.close(connection, &Uri::unchecked(close::SYSTEM_SHUTDOWN));
                }
                self.tell_if_ended();
            }
        }
    }

    /// Has the router handle an input and carries out what comes of it.
    fn feed(&mut self, input: Input) {
        let mut outputs: VecDeque<Output> = self.router.handle(input).into();
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Send {
                    connection,
                    message,
                    class,
                } => {
                    if let Some(refused) = self.send(connection, message, class) {
                        // What the router makes of a refusal comes before whatever else it wanted.
                        for output in self.router.handle(refused).into_iter().rev() {
                            outputs.push_front(output);
                        }
                    }
                }
                Output::Close { connection, reason } => self.close(connection, &reason),
            }
        }
    }

    /// Puts a message into its queue. Returns what to tell the router if there was no room.
    fn send(&mut self, connection: ConnectionId, message: Arc<Outgoing>, class: Class) -> Option<Input> {
        let peer = self.peers.get_mut(&connection)?;
        if let Message::Welcome(welcome) = message.message() {
            peer.session = Some(welcome.session);
            self.sessions.insert(welcome.session, connection);
            metrics::gauge!(telemetry::SESSIONS).increment(1.0);
        }
        if let (Message::Goodbye(_), Some(session)) = (message.message(), peer.session) {
            // The session is over although the connection may open another one.
            peer.session = None;
            let taken = self.push(connection, message, class);
            self.forget(session);
            return taken;
        }
        self.push(connection, message, class)
    }

    fn push(&mut self, connection: ConnectionId, message: Arc<Outgoing>, class: Class) -> Option<Input> {
        let peer = self.peers.get_mut(&connection)?;
        if peer.queue.push(&message, class) == Pushed::Taken {
            return None;
        }
        match class {
            Class::Invocation => {
                peer.queue.wait_for_room(connection, &self.control);
                Some(Input::Undelivered { connection, message })
            }
            Class::Event | Class::Reply | Class::Control => {
                let session = peer.session?;
                peer.queue.forget_bulk();
                self.slow_peers += 1;
                metrics::counter!(telemetry::SLOW_PEERS).increment(1);
                tracing::warn!(session = session.get(), user = ?peer.authid, "closing a peer that reads too slowly");
                let message = Some("Events arrived faster than they were read.".to_owned());
                Some(Input::Kill {
                    session,
                    reason: Uri::unchecked(close::TOO_SLOW),
                    message,
                })
            }
        }
    }

    /// The peer has room for an invocation; goes on as long as the router holds some and there is room.
    fn room(&mut self, connection: ConnectionId) {
        loop {
            let held = self.router.stats().held;
            self.feed(Input::Room {
                connection,
                invocations: 1,
            });
            let more = self.router.stats().held;
            if more == 0 || more >= held {
                // Nothing was released: either nothing is held here, or the queue is full again and will tell.
                return;
            }
            let Some(peer) = self.peers.get(&connection) else {
                return;
            };
            if !peer.queue.owe_room(connection, &self.control) {
                return;
            }
        }
    }

    fn close(&mut self, connection: ConnectionId, reason: &Uri) {
        let Some(peer) = self.peers.get_mut(&connection) else {
            return;
        };
        peer.queue.close(reason);
        if let Some(session) = peer.session.take() {
            self.forget(session);
        }
    }

    fn detach(&mut self, connection: ConnectionId) {
        let Some(peer) = self.peers.remove(&connection) else {
            return;
        };
        self.feed(Input::Detach { connection });
        if let Some(session) = peer.session {
            self.forget(session);
        }
        self.tell_if_ended();
    }

    fn forget(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        metrics::gauge!(telemetry::SESSIONS).decrement(1.0);
        self.tell_who_left();
    }

    fn tell_who_left(&mut self) {
        let sessions = &self.sessions;
        let gone = self.waiting.extract_if(.., |(session, done)| {
            !sessions.contains_key(session) || done.is_closed()
        });
        for (_, done) in gone {
            // Who waited may have given up.
            let _ = done.send(());
        }
    }

    fn tell_if_ended(&mut self) {
        if self.peers.is_empty()
            && let Some(done) = self.ending.take()
        {
            let _ = done.send(());
        }
    }

    fn stats(&self) -> RealmStats {
        let queue_bytes = self.peers.values().map(|peer| peer.queue.bytes()).sum();
        RealmStats {
            router: self.router.stats(),
            queue_bytes,
            slow_peers: self.slow_peers,
        }
    }
}

async fn sleep_until(origin: Instant, deadline: Option<Duration>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(origin + deadline).await;
    }
}

impl PeerQueue {
    fn push(&self, message: &Arc<Outgoing>, class: Class) -> Pushed {
        match self {
            Self::Socket(queue) => queue.push(message.clone(), class),
            Self::Memory { lane, .. } => match lane.try_send(message.message().clone()) {
                // A closed link ends by itself; what is sent to it is lost either way.
                Ok(()) | Err(SendError::Closed) => Pushed::Taken,
                Err(SendError::Full(_)) => Pushed::Full,
            },
        }
    }

    /// After a refused invocation: sees to it that the realm hears of room.
    fn wait_for_room(&self, connection: ConnectionId, control: &mpsc::WeakUnboundedSender<Control>) {
        match self {
            Self::Socket(_) => {} // its writer will tell
            Self::Memory { lane, .. } => {
                let (lane, control) = (lane.clone(), control.clone());
                tokio::spawn(async move {
                    lane.room().await;
                    if let Some(control) = control.upgrade() {
                        let _ = control.send(Control::Room(connection));
                    }
                });
            }
        }
    }

    /// The router holds more: true if there is room for it now, otherwise the realm will hear of it.
    fn owe_room(&self, connection: ConnectionId, control: &mpsc::WeakUnboundedSender<Control>) -> bool {
        match self {
            Self::Socket(queue) => queue.owe_room(),
            Self::Memory { lane, .. } if lane.free() > 0 => true,
            Self::Memory { .. } => {
                self.wait_for_room(connection, control);
                false
            }
        }
    }

    fn forget_bulk(&self) {
        match self {
            Self::Socket(queue) => queue.forget_bulk(),
            Self::Memory { .. } => {}
        }
    }

    fn close(&self, reason: &Uri) {
        match self {
            Self::Socket(queue) => queue.close(reason.clone()),
            Self::Memory { lane, ended } => {
                lane.close();
                ended.cancel();
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Socket(queue) => queue.bytes(),
            Self::Memory { .. } => 0,
        }
    }
}
