//! A message on its way out, encoded once for all its receivers.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::wamp::{codec::CodecId, message::Message};

/// A message for one or many receivers.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    /// Its place among the invocations of one callee; several may belong to one call.
    place: u64,
    /// Receivers of one message nearly always have one codec: the broker makes a message for each.
    frame: OnceLock<(CodecId, Bytes)>,
}

impl Outgoing {
    /// Wraps a message.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self::at(0, message)
    }

    /// An INVOCATION at its place among those of its callee.
    pub(super) fn at(place: u64, message: Message) -> Self {
        Self {
            message,
            place,
            frame: OnceLock::new(),
        }
    }

    pub(super) const fn place(&self) -> u64 {
        self.place
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// The message, without a copy if nobody else holds it. For receivers over memory.
    #[must_use]
    pub fn into_message(this: Arc<Self>) -> Message {
        Arc::try_unwrap(this).map_or_else(|shared| shared.message.clone(), |own| own.message)
    }

    /// The frame in a codec; encoded by whoever asks first, and kept for the others.
    #[must_use]
    pub fn frame(&self, codec: CodecId) -> Bytes {
        let (of, frame) = self.frame.get_or_init(|| (codec, codec.encode(&self.message)));
        if *of == codec {
            return frame.clone();
        }
        codec.encode(&self.message)
    }

    /// As [`Self::frame`], for a receiver that does not need it again: the last one shares it with nobody.
    #[must_use]
    pub fn take_frame(this: &mut Arc<Self>, codec: CodecId) -> Bytes {
        let Some(own) = Arc::get_mut(this) else {
            return this.frame(codec);
        };
        match own.frame.take() {
            Some((of, frame)) if of == codec => frame,
            Some(_) | None => codec.encode(&own.message),
        }
    }
}
