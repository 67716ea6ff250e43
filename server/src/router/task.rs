//! The task that owns the pure router: takes inputs one at a time and carries out what comes of each.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use shared::wamp::{
    Message, SessionId, Uri,
    router::{Class, ConnectionId, Input, Outgoing, Output, Router, RouterConfig},
    uri::{close, error},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    peer_queue::PeerQueue,
    queue::Pushed,
    realm::{Control, Place, RealmStats, Received},
};
use crate::telemetry;

struct PeerEntry {
    queue: PeerQueue,
    authid: String,
    /// Of sockets only.
    address: Option<Place>,
    session: Option<SessionId>,
}

/// A realm's router and its peers.
pub(super) struct RealmTask {
    router: Router,
    peers: BTreeMap<ConnectionId, PeerEntry>,
    sessions: BTreeMap<SessionId, ConnectionId>,
    /// Who waits for a session to be gone.
    waiting: Vec<(SessionId, oneshot::Sender<()>)>,
    /// Who waits for the end.
    ending: Option<oneshot::Sender<()>>,
    /// The end was decided: nobody is let in any more.
    closed: bool,
    slow_peers: u64,
    origin: Instant,
    /// To itself, from tasks that wait for room in a memory link. Weak: it must not keep the realm alive.
    control: mpsc::WeakUnboundedSender<Control>,
}

impl RealmTask {
    pub(super) fn new(name: Uri, config: RouterConfig, control: mpsc::WeakUnboundedSender<Control>) -> Self {
        Self {
            router: Router::new(name, config),
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
            ending: None,
            closed: false,
            slow_peers: 0,
            origin: Instant::now(),
            control,
        }
    }

    pub(super) async fn run(
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
                address,
            } => {
                let authid = principal.authid.clone();
                self.peers.insert(
                    connection,
                    PeerEntry {
                        queue,
                        authid,
                        address,
                        session: None,
                    },
                );
                self.feed(Input::Attach {
                    connection,
                    codec,
                    principal,
                });
                if self.closed {
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
                self.closed = true;
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
            if let Some(address) = peer.address {
                tracing::info!(session = welcome.session.get(), user = ?peer.authid, %address, "joined");
            }
        }
        if let (Message::Abort(abort), Some(address)) = (message.message(), peer.address) {
            if abort.reason == error::PROTOCOL_VIOLATION {
                metrics::counter!(telemetry::VIOLATIONS).increment(1);
            }
            let text = abort.details.message.as_deref().unwrap_or_default();
            tracing::info!(reason = ?abort.reason, ?text, user = ?peer.authid, %address, "session refused");
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
