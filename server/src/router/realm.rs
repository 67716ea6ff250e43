//! A realm: the pure router behind a lock, and the handles to it.
//!
//! Whoever has an input for the router takes the lock, has it handled and puts what comes of it into the queues of its
//! receivers: no hand-over to another task, whose wake-up would cost more than routing does. Nothing waits while it
//! holds the lock. Readers of sockets and links leave the processor to others after each [`TURN`].

use std::{
    fmt,
    future::poll_fn,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use shared::{
    platform::PlatformRef,
    wamp::{
        CodecId, Join, Link, Message, Payload, Peer, SessionId, Uri,
        router::{ConnectionId, Input, Principal, RouterConfig, Stats},
        transport::memory,
    },
};
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{peer_queue::PeerQueue, queue::Outbound, realms::Equipment, state::RealmState, wakes::Wakes};
use crate::config::ConnectionLimits;

/// Messages that one reader hands on before everybody else gets a turn: above all those who write out what came of them.
/// Otherwise who publishes fast would fill the queues of others before they had a chance to empty them. Far less than a
/// queue holds; more than one, so that whoever writes finds several at once and sends them by one system call.
const TURN: usize = 128;

/// The same in bytes of arguments.
const TURN_BYTES: usize = 64 * 1024;

/// The same for messages caused, over all receivers: nobody waits longer because one topic has many subscribers.
const TURN_CAUSED: u64 = 4096;

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

impl Place {
    /// None for who comes over a socket in the file system.
    pub(crate) const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Network(address) => Some(address),
            Self::Unix => None,
        }
    }
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
    shared: Arc<Shared>,
    memory_capacity: usize,
    runtime: Handle,
}

/// What all handles to a realm share.
pub(super) struct Shared {
    state: Mutex<RealmState>,
    /// Tells the alarm's task when to ring.
    alarm: watch::Sender<Option<Instant>>,
    next_connection: AtomicU64,
}

impl Shared {
    /// Has something done, and sets the alarm for what comes of it. A panic in there costs whoever caused it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut RealmState) -> T) -> T {
        self.with_later(&mut Wakes::default(), act)
    }

    /// The same, but whoever has something to write then is woken when `wakes` are flushed.
    fn with_later<T>(&self, wakes: &mut Wakes, act: impl FnOnce(&mut RealmState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = act(&mut state);
        wakes.append(&mut state.wakes);
        if let Some(earlier) = state.earlier_alarm() {
            self.alarm.send_replace(Some(earlier));
        }
        done
    }
}

/// Rings whenever calls are over their time limit. Ends with the realm.
async fn ring(realm: std::sync::Weak<Shared>, mut alarm: watch::Receiver<Option<Instant>>) {
    loop {
        let next = *alarm.borrow_and_update();
        tokio::select! {
            changed = alarm.changed() => if changed.is_err() { return },
            () = sleep_until(next), if next.is_some() => {
                let Some(realm) = realm.upgrade() else { return };
                realm.with(|state| realm.alarm.send_replace(state.ring()));
            }
        }
    }
}

async fn sleep_until(moment: Option<Instant>) {
    if let Some(moment) = moment {
        tokio::time::sleep_until(moment).await;
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
        Self::start_with(name, config, Equipment::default(), limits)
    }

    /// As [`Self::start`], with what its sockets and its history need. What the store holds has to be in `config` already.
    pub(crate) fn start_with(name: Uri, config: RouterConfig, equipment: Equipment, limits: &ConnectionLimits) -> Self {
        let (alarm, rings) = watch::channel(None);
        let shared = Arc::new_cyclic(|own| Shared {
            state: Mutex::new(RealmState::new(name.clone(), config, equipment, own.clone())),
            alarm,
            next_connection: AtomicU64::new(1),
        });
        tokio::spawn(ring(Arc::downgrade(&shared), rings));
        Self {
            name,
            shared,
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
            let mut burst = Burst::default();
            loop {
                let next = async {
                    tokio::select! {
                        message = far.incoming.receive() => message,
                        () = ended.cancelled() => None,
                    }
                };
                let Some(message) = burst.before(next).await else { break };
                attached.deliver(Box::new(message), &mut burst);
                burst.turn().await;
            }
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
        let connection = ConnectionId(self.shared.next_connection.fetch_add(1, Ordering::Relaxed));
        self.shared
            .with(|state| state.attach(connection, codec, principal, queue, address));
        let realm = Arc::clone(&self.shared);
        Attached {
            seat: RwLock::new(Seat { connection, realm }),
        }
    }

    /// Ends a session by GOODBYE. Nothing happens if there is no such session.
    pub fn kill(&self, session: SessionId, reason: Uri, message: Option<String>) {
        self.feed(Input::Kill {
            session,
            reason,
            message,
        });
    }

    /// Ends all sessions of a user by GOODBYE.
    pub fn kill_user(&self, authid: &str, reason: Uri, message: Option<String>) {
        self.shared
            .with(|state| state.kill_user(authid, &reason, message.as_deref()));
    }

    /// Says that a session has proven to be the client of the session root at `base`. The session that was it before
    /// is closed and its registrations are gone.
    pub fn bind_base(&self, session: SessionId, base: Uri) {
        self.feed(Input::BindBase { session, base });
    }

    /// Lets a session subscribe to a topic outside its base.
    pub fn grant(&self, session: SessionId, topic: Uri) {
        self.feed(Input::Grant { session, topic });
    }

    /// Takes a grant back, and the subscription that it allowed.
    pub fn revoke(&self, session: SessionId, topic: Uri) {
        self.feed(Input::Revoke { session, topic });
    }

    /// Completes when a session is gone, at once if there is none.
    pub async fn left(&self, session: SessionId) {
        let (done, left) = oneshot::channel();
        self.shared.with(|state| state.tell_when_left(session, done));
        // It is only dropped with the realm, which then has no sessions either.
        let _ = left.await;
    }

    /// Permissions have changed: asks again about what a session has, or all sessions, and takes away what they may not
    /// have any more.
    pub fn reauthorize(&self, session: Option<SessionId>) {
        self.shared.with(|state| state.reauthorize(session));
    }

    /// What is in the realm.
    #[must_use]
    pub fn stats(&self) -> RealmStats {
        self.shared.with(|state| state.stats())
    }

    /// Says GOODBYE `wamp.close.system_shutdown` to everybody; completes when all connections are gone.
    pub async fn shutdown(&self) {
        let (done, over) = oneshot::channel();
        self.shared.with(|state| state.shutdown(done));
        let _ = over.await;
    }

    fn feed(&self, input: Input) {
        self.shared.with(|state| state.feed(input));
    }
}

/// What a reader hands on before it waits for more, or before others have their turn.
#[derive(Debug, Default)]
pub(crate) struct Burst {
    /// Whoever has something to write of it.
    wakes: Wakes,
    /// Messages handed on in this turn.
    handed_on: usize,
    /// Bytes of their arguments.
    bytes: usize,
    /// Messages caused by them.
    caused: u64,
}

impl Burst {
    /// Before the reader waits for anything: has written out what it has handed on.
    pub(crate) fn flush(&mut self) {
        (self.handed_on, self.bytes, self.caused) = (0, 0, 0);
        self.wakes.flush();
    }

    /// Gets what comes next, and flushes first if that is not there yet.
    async fn before<T>(&mut self, next: impl Future<Output = T>) -> T {
        let mut next = pin!(next);
        poll_fn(|context| {
            let polled = next.as_mut().poll(context);
            if polled.is_pending() {
                self.flush();
            }
            polled
        })
        .await
    }

    /// Before the next message: if the turn is over, gives all others theirs.
    pub(crate) async fn turn(&mut self) {
        if self.handed_on >= TURN || self.bytes >= TURN_BYTES || self.caused >= TURN_CAUSED {
            self.flush();
            tokio::task::yield_now().await;
        }
    }
}

/// A connection of a realm, held by its reader. Dropping it detaches the connection.
pub(crate) struct Attached {
    seat: RwLock<Seat>,
}

/// A connection and its realm.
struct Seat {
    connection: ConnectionId,
    realm: Arc<Shared>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.realm.with(|state| state.detach(self.connection));
    }
}

impl Attached {
    fn with<T>(&self, act: impl FnOnce(&mut RealmState, ConnectionId) -> T) -> T {
        self.with_later(&mut Wakes::default(), act)
    }

    fn with_later<T>(&self, wakes: &mut Wakes, act: impl FnOnce(&mut RealmState, ConnectionId) -> T) -> T {
        let seat = self.seat.read().unwrap_or_else(PoisonError::into_inner);
        seat.realm.with_later(wakes, |state| act(state, seat.connection))
    }

    pub(super) fn is_in(&self, realm: &RealmHandle) -> bool {
        let seat = self.seat.read().unwrap_or_else(PoisonError::into_inner);
        Arc::ptr_eq(&seat.realm, &realm.shared)
    }

    /// Leaves its realm for another one, between two sessions.
    pub(super) fn move_to(&self, other: Self) {
        let other = other.seat.into_inner().unwrap_or_else(PoisonError::into_inner);
        let former = {
            let mut seat = self.seat.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *seat, other)
        };
        drop(former);
    }

    /// Hands over what was received. What comes of it is written out when the burst is flushed.
    pub(crate) fn deliver(&self, message: Box<Message>, burst: &mut Burst) {
        burst.handed_on += 1;
        burst.bytes += message.payload().map_or(0, Payload::size);
        burst.caused += self.with_later(&mut burst.wakes, |state, connection| state.message(connection, message));
    }

    /// Ends the session for a frame that is no message.
    pub(crate) fn malformed(&self, reason: String) {
        self.with(|state, connection| state.malformed(connection, reason));
    }

    /// Says that the peer is given up because it reads nothing.
    pub(crate) fn reads_nothing(&self) {
        self.with(RealmState::count_slow);
    }

    /// Says that there is room for an invocation again.
    pub(crate) fn has_room(&self) {
        self.with(RealmState::room);
    }

    /// Ends the session by GOODBYE, or just the connection if it has none yet.
    pub(crate) fn kill(&self, reason: &str, message: Option<String>) {
        let reason = Uri::unchecked(reason);
        self.with(|state, connection| state.kill_connection(connection, reason, message));
    }
}

#[cfg(test)]
mod tests {
    use shared::wamp::{
        RequestId,
        message::{Hello, HelloDetails, Publish, PublishOptions, Subscribe, SubscribeOptions},
        router::Open,
    };

    use super::*;
    use crate::{config::QueueLimits, router::queue::Next};

    const REALM: &str = "realm1";

    async fn joined(realm: &RealmHandle) -> (Attached, Arc<Outbound>) {
        let queue = Arc::new(Outbound::new(QueueLimits {
            frames: 2 * TURN,
            ..QueueLimits::default()
        }));
        let attached = realm.attach_socket(CodecId::Json, Principal::default(), queue.clone(), Place::Unix);
        let hello = Hello {
            realm: Uri::unchecked(REALM),
            details: HelloDetails::default(),
        };
        attached.deliver(Box::new(Message::Hello(Box::new(hello))), &mut Burst::default());
        assert!(queue.is_welcomed());
        (attached, queue)
    }

    #[tokio::test]
    async fn who_publishes_without_pause_leaves_subscribers_time_to_read() {
        const EVENTS: u64 = 5000;
        let mut config = RouterConfig::new(1);
        config.authorizer = Box::new(Open);
        let realm = RealmHandle::start(Uri::unchecked(REALM), config, &ConnectionLimits::default());
        let (subscriber, queue) = joined(&realm).await;
        let topic = Uri::unchecked("news");
        let request = RequestId::new(1).expect("an id");
        let subscribe = Subscribe {
            request,
            options: SubscribeOptions::default(),
            topic: topic.clone(),
        };
        subscriber.deliver(Box::new(Message::Subscribe(subscribe)), &mut Burst::default());
        let reading = tokio::spawn(async move {
            let (mut events, mut batch) = (0, Vec::new());
            while events < EVENTS {
                queue.filled().await;
                queue.take(&mut batch);
                for next in batch.drain(..) {
                    events += u64::from(
                        matches!(next, Next::Message(message) if matches!(message.message(), Message::Event(_))),
                    );
                }
            }
            events
        });
        let (publisher, _queue) = joined(&realm).await;
        let mut burst = Burst::default();
        for _ in 0..EVENTS {
            let publish = Publish {
                request,
                options: PublishOptions::default(),
                topic: topic.clone(),
                payload: Payload::empty(CodecId::Json),
            };
            publisher.deliver(Box::new(Message::Publish(Box::new(publish))), &mut burst);
            burst.turn().await;
        }
        drop(burst);
        assert_eq!(reading.await.expect("it ends"), EVENTS);
        assert_eq!(realm.stats().slow_peers, 0);
    }
}
