//! What carries messages between a peer and a router, seen from the peer.

pub mod memory;

use std::fmt;

use futures::future::LocalBoxFuture;

use crate::wamp::{codec::CodecId, message::Message};

/// Why a message was not taken.
#[derive(Debug)]
pub enum SendError {
    /// There is no room now; the message comes back.
    Full(Box<Message>),
    /// The link is gone.
    Closed,
}

/// The way out. Local to one thread.
pub trait MessageSink {
    /// Takes a message without waiting. Messages with [`Message::has_reserved_room`] are never refused as
    /// [`SendError::Full`].
    ///
    /// # Errors
    /// If there is no room, or no link any more.
    fn try_send(&self, message: Message) -> Result<(), SendError>;

    /// Completes when there may be room again, or the link is gone. Cancel safe.
    fn room(&self) -> LocalBoxFuture<'_, ()>;

    /// Closes the link after what was sent.
    fn close(&self);
}

/// Why nothing comes any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// The link is gone; with the transport's reason if it gave one.
    Closed(Option<String>),
    /// The other side sent something that is not a message.
    Malformed(String),
}

impl fmt::Display for LinkError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(None) => formatter.write_str("the link is closed"),
            Self::Closed(Some(reason)) => write!(formatter, "the link is closed: {reason}"),
            Self::Malformed(text) => write!(formatter, "not a message: {text}"),
        }
    }
}

/// The way in. Local to one thread.
pub trait MessageSource {
    /// The next message. Cancel safe.
    ///
    /// # Errors
    /// Once: nothing comes after it.
    fn receive(&mut self) -> LocalBoxFuture<'_, Result<Message, LinkError>>;
}

/// A way out and a way in.
pub struct Link {
    /// What arguments should be encoded in.
    pub codec: CodecId,
    /// The way out.
    pub outgoing: Box<dyn MessageSink>,
    /// The way in.
    pub incoming: Box<dyn MessageSource>,
}
