//! A link inside one process: messages as they are, no bytes encoded; the far end may live on another thread.

use async_channel::{Receiver, Sender};
use futures::future::LocalBoxFuture;

use super::{Link, LinkError, MessageSink, MessageSource, SendError};
use crate::wamp::{codec::CodecId, message::Message};

/// A queue in one direction. Messages with reserved room always get in; others only below the capacity.
fn lane(capacity: usize) -> (LaneSender, LaneReceiver) {
    let (messages, queue) = async_channel::unbounded();
    // Holds one wake-up at most: "something was taken out".
    let (taken, drained) = async_channel::bounded(1);
    let capacity = capacity.max(1);
    (
        LaneSender {
            messages,
            drained,
            capacity,
        },
        LaneReceiver { queue, taken },
    )
}

/// The sending half of a direction. `Send`; clones share the queue.
#[derive(Clone, Debug)]
pub struct LaneSender {
    messages: Sender<Message>,
    drained: Receiver<()>,
    capacity: usize,
}

impl LaneSender {
    /// Takes a message without waiting.
    ///
    /// # Errors
    /// [`SendError::Full`] if there is no room and the message has none reserved.
    pub fn try_send(&self, message: Message) -> Result<(), SendError> {
        if !message.has_reserved_room() && self.messages.len() >= self.capacity {
            return if self.messages.is_closed() {
                Err(SendError::Closed)
            } else {
                Err(SendError::Full(Box::new(message)))
            };
        }
        self.messages.try_send(message).map_err(|_| SendError::Closed)
    }

    /// Takes a message beyond the capacity. For messages that a policy of the sender's bounds.
    ///
    /// # Errors
    /// [`SendError::Closed`] if the other side is gone.
    pub fn send_beyond(&self, message: Message) -> Result<(), SendError> {
        self.messages.try_send(message).map_err(|_| SendError::Closed)
    }

    /// How many messages wait to be taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether no message waits to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many messages may be sent now before it is full.
    #[must_use]
    pub fn free(&self) -> usize {
        self.capacity.saturating_sub(self.messages.len())
    }

    /// Completes when there may be room again, or the other side is gone. One task at a time may wait.
    pub async fn room(&self) {
        while self.free() == 0 && !self.messages.is_closed() {
            if self.drained.recv().await.is_err() {
                return;
            }
        }
    }

    /// Closes this direction after what was sent.
    pub fn close(&self) {
        self.messages.close();
    }

    /// Whether the direction is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.messages.is_closed()
    }
}

/// The receiving half of a direction. `Send`.
#[derive(Debug)]
pub struct LaneReceiver {
    queue: Receiver<Message>,
    taken: Sender<()>,
}

impl LaneReceiver {
    /// The next message; none when the other side is gone and everything was taken. Cancel safe.
    pub async fn receive(&self) -> Option<Message> {
        let message = self.queue.recv().await.ok();
        let _ = self.taken.try_send(());
        message
    }

    /// The next message if there is one now.
    #[must_use]
    pub fn try_receive(&self) -> Option<Message> {
        let message = self.queue.try_recv().ok();
        let _ = self.taken.try_send(());
        message
    }

    /// Whether nothing will come any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed() && self.queue.is_empty()
    }
}

/// The router's side of a memory link.
#[derive(Debug)]
pub struct FarEnd {
    /// To the peer.
    pub outgoing: LaneSender,
    /// From the peer.
    pub incoming: LaneReceiver,
}

struct Sink(LaneSender);

impl MessageSink for Sink {
    fn try_send(&self, message: Message) -> Result<(), SendError> {
        self.0.try_send(message)
    }
    fn room(&self) -> LocalBoxFuture<'_, ()> {
        Box::pin(self.0.room())
    }
    fn close(&self) {
        self.0.close();
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.0.close();
    }
}

struct Source(LaneReceiver);

impl MessageSource for Source {
    fn receive(&mut self) -> LocalBoxFuture<'_, Result<Message, LinkError>> {
        Box::pin(async { self.0.receive().await.ok_or(LinkError::Closed(None)) })
    }
}

/// A link whose messages without reserved room are bounded by `capacity` (at least 1) in each direction, for peers
/// that encode arguments in `codec`.
#[must_use]
pub fn link(capacity: usize, codec: CodecId) -> (Link, FarEnd) {
    let (to_router, from_peer) = lane(capacity);
    let (to_peer, from_router) = lane(capacity);
    let near = Link {
        codec,
        outgoing: Box::new(Sink(to_router)),
        incoming: Box::new(Source(from_router)),
    };
    (
        near,
        FarEnd {
            outgoing: to_peer,
            incoming: from_peer,
        },
    )
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ready<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing to wait for")
    }

    fn cancel() -> Message {
        use crate::wamp::{RequestId, message::Cancel};
        Message::Cancel(Cancel {
            request: RequestId::wrapped(1),
            options: Default::default(),
        })
    }

    fn publish() -> Message {
        use crate::wamp::{Payload, RequestId, Uri, message::Publish};
        Message::Publish(Box::new(Publish {
            request: RequestId::wrapped(1),
            options: Default::default(),
            topic: Uri::unchecked("a"),
            payload: Payload::empty(CodecId::Msgpack),
        }))
    }

    #[test]
    fn a_full_lane_still_takes_what_has_reserved_room() {
        let (near, far) = link(1, CodecId::Msgpack);
        assert!(near.outgoing.try_send(publish()).is_ok());
        assert!(matches!(near.outgoing.try_send(publish()), Err(SendError::Full(_))));
        assert!(near.outgoing.try_send(cancel()).is_ok());
        ready(async {
            assert_eq!(far.incoming.receive().await, Some(publish()));
            assert_eq!(far.incoming.receive().await, Some(cancel()));
            near.outgoing.room().await;
        });
        assert!(near.outgoing.try_send(publish()).is_ok());
    }

    #[test]
    fn dropping_either_end_closes_both_directions() {
        let (mut near, far) = link(4, CodecId::Msgpack);
        drop(far);
        assert!(matches!(near.outgoing.try_send(cancel()), Err(SendError::Closed)));
        assert_eq!(ready(near.incoming.receive()), Err(LinkError::Closed(None)));

        let (near, far) = link(4, CodecId::Msgpack);
        drop(near);
        assert!(matches!(far.outgoing.try_send(cancel()), Err(SendError::Closed)));
        assert_eq!(ready(far.incoming.receive()), None);
    }
}
