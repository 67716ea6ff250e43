//! The pure router of a realm with the queues of its peers: takes one input at a time and carries out what comes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use rustc_hash::FxHashMap;
use shared::wamp::{
    CodecId, Message, SessionId, Uri,
    router::{Class, ConnectionId, Input, Outgoing, Output, Principal, Router, RouterConfig},
    uri::{close, error},
};
use tokio::{runtime::Handle, sync::oneshot, time::Instant};

use super::{
    SocketLimits,
    history::HistoryWriter,
    peer_queue::PeerQueue,
    realm::{Place, RealmStats, Shared},
    realms::Equipment,
    wakes::Wakes,
};
use crate::{
    auth::{Attempt, Guard},
    telemetry::{self, PeerKind},
};

struct PeerEntry {
    queue: PeerQueue,
    /// Once it has joined, or as the transport says.
    authid: String,
    attempt: Attempt,
    /// Of sockets only.
    address: Option<Place>,
    kind: PeerKind,
    session: Option<SessionId>,
}

/// A realm's router and its peers.
pub(super) struct RealmState {
    router: Router,
    /// Its name, for the metrics.
    label: String,
    guard: Arc<Guard>,
    /// What sockets may use, by role.
    sockets: BTreeMap<String, SocketLimits>,
    /// Roles of programs.
    components: BTreeSet<String>,
    /// Looked into for every message that is sent. Its keys are our own numbers: nobody can make them collide.
    peers: FxHashMap<ConnectionId, PeerEntry>,
    sessions: BTreeMap<SessionId, ConnectionId>,
    /// Who waits for a session to be gone.
    waiting: Vec<(SessionId, oneshot::Sender<()>)>,
    /// Who waits for the end.
    ending: Option<oneshot::Sender<()>>,
    /// The end was decided: nobody is let in any more.
    closed: bool,
    slow_peers: u64,
    /// Messages sent since the beginning.
    sent: u64,
    /// Writers to wake when the lock is free again.
    pub(super) wakes: Wakes,
    /// Empty between inputs.
    outputs: Vec<Output>,
    origin: Instant,
    /// When the alarm is set for; never later than the router's next deadline.
    alarm: Option<Duration>,
    /// Where history is written to, if it survives the process.
    history: Option<HistoryWriter>,
    /// Itself, for tasks that wait for room in a memory link. Weak: they must not keep the realm alive.
    own: Weak<Shared>,
    runtime: Handle,
}

impl RealmState {
    pub(super) fn new(name: Uri, config: RouterConfig, equipment: Equipment, own: Weak<Shared>) -> Self {
        let label = name.to_string();
        metrics::gauge!(telemetry::SESSIONS, "realm" => label.clone()).set(0.0);
        let Equipment {
            guard,
            sockets,
            components,
            store,
        } = equipment;
        Self {
            guard,
            sockets,
            components,
            label,
            history: store.map(|store| HistoryWriter::start(store, own.clone())),
            router: Router::new(name, config),
            peers: FxHashMap::default(),
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            ending: None,
            closed: false,
            slow_peers: 0,
            sent: 0,
            wakes: Wakes::default(),
            outputs: Vec::new(),
            origin: Instant::now(),
            alarm: None,
            own,
            runtime: Handle::current(),
        }
    }

    /// When to ring, if that is earlier than what was said last.
    pub(super) fn earlier_alarm(&mut self) -> Option<Instant> {
        let next = self.router.next_deadline()?;
        if self.alarm.is_some_and(|alarm| alarm <= next) {
            return None;
        }
        self.alarm = Some(next);
        Some(self.origin + next)
    }

    /// The alarm rang, perhaps for nothing: a call that was answered leaves it set. Returns when to ring next.
    pub(super) fn ring(&mut self) -> Option<Instant> {
        self.tick();
        self.alarm = self.router.next_deadline();
        self.alarm.map(|next| self.origin + next)
    }

    fn tick(&mut self) {
        let now = self.origin.elapsed();
        self.feed(Input::Tick { now });
    }

    pub(super) fn attach(
        &mut self,
        connection: ConnectionId,
        codec: CodecId,
        principal: Principal,
        queue: PeerQueue,
        address: Option<Place>,
    ) {
        let entry = PeerEntry {
            queue,
            authid: principal.authid.clone(),
            attempt: Attempt::default(),
            address,
            kind: address.map_or(PeerKind::Tree, |_| PeerKind::Browser),
            session: None,
        };
        self.peers.insert(connection, entry);
        self.feed(Input::Attach {
            connection,
            codec,
            principal,
        });
        if self.closed {
            self.close(connection, &Uri::unchecked(close::SYSTEM_SHUTDOWN));
        }
    }

    /// Takes a message of a connection. Returns how many messages it caused.
    pub(super) fn message(&mut self, connection: ConnectionId, message: Box<Message>) -> u64 {
        let before = self.sent;
        // Time limits count from when a call arrives, not from the last tick.
        if needs_time(&message) || self.router.asks() {
            self.tick();
        }
        match self.refusal(connection, &message) {
            None => self.feed(Input::Message { connection, message }),
            Some(refused) => self.feed(refused),
        }
        self.sent - before
    }

    /// What to tell the router about a login that has to wait.
    fn refusal(&mut self, connection: ConnectionId, message: &Message) -> Option<Input> {
        if !matches!(message, Message::Hello(_) | Message::Authenticate(_)) {
            return None;
        }
        let peer = self.peers.get_mut(&connection).filter(|peer| peer.session.is_none())?;
        let address = peer.address?.address();
        let refused = self.guard.hears(&mut peer.attempt, address, message);
        refused.err().map(|message| Input::RefuseLogin { connection, message })
    }

    pub(super) fn reauthorize(&mut self, session: Option<SessionId>) {
        self.tick();
        self.feed(Input::Reauthorize { session });
    }

    pub(super) fn malformed(&mut self, connection: ConnectionId, reason: String) {
        self.feed(Input::Malformed { connection, reason });
    }

    /// Ends the session of a connection, or just the connection if it has none yet.
    pub(super) fn kill_connection(&mut self, connection: ConnectionId, reason: Uri, message: Option<String>) {
        match self.peers.get(&connection).map(|peer| peer.session) {
            Some(Some(session)) => self.feed(Input::Kill {
                session,
                reason,
                message,
            }),
            Some(None) => self.close(connection, &reason),
            None => {}
        }
    }

    pub(super) fn kill_user(&mut self, authid: &str, reason: &Uri, message: Option<&str>) {
        let of_user = self.peers.values().filter(|peer| peer.authid == authid);
        for session in of_user.filter_map(|peer| peer.session).collect::<Vec<_>>() {
            self.feed(Input::Kill {
                session,
                reason: reason.clone(),
                message: message.map(str::to_owned),
            });
        }
    }

    pub(super) fn tell_when_left(&mut self, session: SessionId, done: oneshot::Sender<()>) {
        self.waiting.push((session, done));
        self.tell_who_left();
    }

    pub(super) fn shutdown(&mut self, done: oneshot::Sender<()>) {
        self.closed = true;
        self.ending = Some(done);
        self.feed(Input::Shutdown);
        // Whoever has not joined yet gets no GOODBYE but is closed too.
        for connection in self.peers.keys().copied().collect::<Vec<_>>() {
            self.close(connection, &Uri::unchecked(close::SYSTEM_SHUTDOWN));
        }
        self.tell_if_ended();
    }

    /// Has the router handle an input and carries out what comes of it.
    pub(super) fn feed(&mut self, input: Input) {
        // Its memory is used again. The first output is the last element.
        let mut outputs = std::mem::take(&mut self.outputs);
        self.router.handle_into(input, &mut outputs);
        outputs.reverse();
        while let Some(output) = outputs.pop() {
            match output {
                Output::Send {
                    connection,
                    message,
                    class,
                } => {
                    if let Some(refused) = self.send(connection, message, class) {
                        // What the router makes of a refusal comes before whatever else it wanted.
                        let mut instead = self.router.handle(refused);
                        instead.reverse();
                        outputs.append(&mut instead);
                    }
                }
                Output::Store(change) => {
                    let numbers = change.number..=change.number;
                    if !self.history.as_ref().is_some_and(|history| history.store(*change)) {
                        let after = self.router.handle(Input::Stored { numbers, kept: false });
                        outputs.splice(0..0, after.into_iter().rev());
                    }
                }
                Output::Pause { connection, paused } => {
                    if let Some(peer) = self.peers.get(&connection) {
                        peer.queue.pause(paused);
                    }
                }
                Output::Close { connection, reason } => self.close(connection, &reason),
            }
        }
        self.outputs = outputs;
    }

    /// Puts a message into its queue. Returns what to tell the router if there was no room.
    fn send(&mut self, connection: ConnectionId, message: Arc<Outgoing>, class: Class) -> Option<Input> {
        self.sent += 1;
        // Whatever opens or ends a session is of this class; the rest need not be looked at.
        let over = match class {
            Class::Control => self.note(connection, message.message()),
            Class::Reply | Class::Invocation | Class::Event | Class::Resumable => None,
        };
        let peer = self.peers.get(&connection)?;
        let pushed = peer.queue.push(message, class, &mut self.wakes);
        if let Some(session) = over {
            self.forget(session);
        }
        match pushed {
            Ok(()) => None,
            Err(message) => self.refused(connection, message, class),
        }
    }

    /// Notes the sessions that open and end. Returns the one that is over with this message.
    fn note(&mut self, connection: ConnectionId, message: &Message) -> Option<SessionId> {
        let peer = self.peers.get_mut(&connection)?;
        if let Message::Welcome(welcome) = message {
            peer.session = Some(welcome.session);
            peer.authid = welcome.details.authid.clone().unwrap_or_default();
            let role = welcome.details.authrole.as_deref().unwrap_or_default();
            peer.queue.grant(self.sockets.get(role).copied().unwrap_or_default());
            peer.kind = match peer.address {
                None => PeerKind::Tree,
                Some(_) if self.components.contains(role) => PeerKind::Component,
                Some(_) => PeerKind::Browser,
            };
            self.guard
                .welcomes(&peer.attempt, peer.address.and_then(Place::address));
            self.sessions.insert(welcome.session, connection);
            metrics::gauge!(telemetry::SESSIONS, "realm" => self.label.clone()).increment(1.0);
            if let Some(address) = peer.address {
                tracing::info!(session = welcome.session.get(), user = ?peer.authid, %address, "joined");
            }
        }
        if let (Message::Abort(abort), Some(address)) = (message, peer.address) {
            if abort.reason == error::PROTOCOL_VIOLATION {
                metrics::counter!(telemetry::VIOLATIONS).increment(1);
            }
            Guard::refuses(&peer.attempt);
            let text = abort.details.message.as_deref().unwrap_or_default();
            tracing::info!(reason = ?abort.reason, ?text, user = ?peer.authid, %address, "session refused");
        }
        // The connection may open another session.
        matches!(message, Message::Goodbye(_))
            .then(|| peer.session.take())
            .flatten()
    }

    /// What to tell the router about a message that found no room.
    fn refused(&mut self, connection: ConnectionId, message: Arc<Outgoing>, class: Class) -> Option<Input> {
        let peer = self.peers.get(&connection)?;
        match class {
            Class::Invocation => {
                peer.queue.wait_for_room(connection, &self.own, &self.runtime);
                Some(Input::Undelivered { connection, message })
            }
            Class::Resumable => {
                let Message::Event(event) = message.message() else {
                    return None; // only events are resumable
                };
                let dropped = peer.queue.forget_events(event.subscription) + 1;
                metrics::counter!(telemetry::EVENTS_DROPPED).increment(dropped as u64);
                metrics::counter!(telemetry::BEHIND).increment(1);
                Some(Input::Behind { connection, message })
            }
            Class::Event | Class::Reply | Class::Control => {
                let session = peer.session?;
                peer.queue.forget_bulk();
                tracing::warn!(session = session.get(), user = ?peer.authid, "closing a peer that reads too slowly");
                self.count_slow(connection);
                let message = Some("Events arrived faster than they were read.".to_owned());
                Some(Input::Kill {
                    session,
                    reason: Uri::unchecked(close::TOO_SLOW),
                    message,
                })
            }
        }
    }

    /// A peer is closed because it reads too slowly.
    pub(super) fn count_slow(&mut self, connection: ConnectionId) {
        if let Some(peer) = self.peers.get(&connection) {
            self.slow_peers += 1;
            metrics::counter!(telemetry::SLOW_PEERS, "peer" => peer.kind.label()).increment(1);
        }
    }

    /// The peer has room for an invocation; goes on as long as the router holds some for it and there is room.
    pub(super) fn room(&mut self, connection: ConnectionId) {
        loop {
            let held = self.router.held(connection);
            self.feed(Input::Room {
                connection,
                invocations: 1,
            });
            let more = self.router.held(connection);
            if more == 0 || more >= held {
                // Nothing was released: either nothing is held here, or the queue is full again and will tell.
                return;
            }
            let Some(peer) = self.peers.get(&connection) else {
                return;
            };
            if !peer.queue.owe_room(connection, &self.own, &self.runtime) {
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

    pub(super) fn detach(&mut self, connection: ConnectionId) {
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
        metrics::gauge!(telemetry::SESSIONS, "realm" => self.label.clone()).decrement(1.0);
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
            let history = self.history.take();
            self.runtime.spawn(async move {
                if let Some(history) = history {
                    history.end().await;
                }
                // Who waited may have given up.
                let _ = done.send(());
            });
        }
    }

    pub(super) fn stats(&self) -> RealmStats {
        let queue_bytes = self.peers.values().map(|peer| peer.queue.bytes()).sum();
        RealmStats {
            router: self.router.stats(),
            queue_bytes,
            slow_peers: self.slow_peers,
        }
    }
}

/// Whether the router has to know what time it is: the clock is not read for what is frequent and needs none. An event
/// gets its date in the history by it.
fn needs_time(message: &Message) -> bool {
    if let Message::Call(call) = message {
        return call.options.timeout.is_some();
    }
    if let Message::Yield(result) = message {
        return result.options.progress;
    }
    true
}
