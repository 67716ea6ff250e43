//! How messages get from the realm to a peer: a socket's queue or a link in memory.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use shared::wamp::{
    SubscriptionId, Uri,
    router::{Class, ConnectionId, Outgoing},
    transport::{SendError, memory::LaneSender},
};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{SocketLimits, queue::Outbound, realm::Shared, wakes::Wakes};

/// How messages get to a peer.
#[derive(Clone)]
pub(super) enum PeerQueue {
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

impl PeerQueue {
    /// Hands a message on. A socket's writer hears of it when `wakes` are flushed.
    ///
    /// # Errors
    /// The message, if there is no room.
    pub(super) fn push(&self, message: Arc<Outgoing>, class: Class, wakes: &mut Wakes) -> Result<(), Arc<Outgoing>> {
        match self {
            Self::Socket(queue) => queue.push(message, class, wakes),
            Self::Memory { lane, .. } => {
                let copy = message.message().clone();
                let sent = match class {
                    Class::Reply | Class::Control => lane.send_beyond(copy),
                    Class::Event | Class::Resumable | Class::Invocation => lane.try_send(copy),
                };
                match sent {
                    // A closed link ends by itself; what is sent to it is lost either way.
                    Ok(()) | Err(SendError::Closed) => Ok(()),
                    Err(SendError::Full(_)) => Err(message),
                }
            }
        }
    }

    /// After a refused invocation: sees to it that the realm hears of room.
    pub(super) fn wait_for_room(&self, connection: ConnectionId, realm: &Weak<Shared>, runtime: &Handle) {
        match self {
            Self::Socket(_) => {} // its writer will tell
            Self::Memory { lane, .. } => {
                let (lane, realm) = (lane.clone(), realm.clone());
                runtime.spawn(async move {
                    lane.room().await;
                    if let Some(realm) = realm.upgrade() {
                        realm.with(|state| state.room(connection));
                    }
                });
            }
        }
    }

    /// The router holds more: true if there is room for it now, otherwise the realm will hear of it.
    pub(super) fn owe_room(&self, connection: ConnectionId, realm: &Weak<Shared>, runtime: &Handle) -> bool {
        match self {
            Self::Socket(queue) => queue.owe_room(),
            Self::Memory { lane, .. } if lane.free() > 0 => true,
            Self::Memory { .. } => {
                self.wait_for_room(connection, realm, runtime);
                false
            }
        }
    }

    pub(super) fn forget_bulk(&self) {
        match self {
            Self::Socket(queue) => queue.forget_bulk(),
            Self::Memory { .. } => {}
        }
    }

    /// What the session's role may use.
    pub(super) fn grant(&self, granted: SocketLimits) {
        match self {
            Self::Socket(queue) => queue.grant(granted),
            Self::Memory { .. } => {} // our own trees have no role that is described
        }
    }

    pub(super) fn pause(&self, paused: bool) {
        match self {
            Self::Socket(queue) => queue.pause(paused),
            Self::Memory { .. } => {} // our own trees are asked about nothing
        }
    }

    /// Forgets the waiting events of a resumable subscription; how many there were. What is in a link in memory stays: its
    /// reader gets it before it hears that it misses the rest.
    pub(super) fn forget_events(&self, subscription: SubscriptionId) -> usize {
        match self {
            Self::Socket(queue) => queue.forget_events(subscription),
            Self::Memory { .. } => 0,
        }
    }

    pub(super) fn close(&self, reason: &Uri) {
        match self {
            Self::Socket(queue) => queue.close(reason.clone()),
            Self::Memory { lane, ended } => {
                lane.close();
                ended.cancel();
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Socket(queue) => queue.bytes(),
            Self::Memory { .. } => 0,
        }
    }
}
