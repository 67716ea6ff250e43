//! A message on its way out, encoded at most once per codec.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::wamp::{codec::CodecId, message::Message};

/// A message for one or many receivers.
#[derive(Debug)]
pub struct Outgoing {
    message: Message,
    /// Its place among the invocations of one callee; several may belong to one call.
    place: u64,
    frames: [OnceLock<Bytes>; 3],
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
            frames: [OnceLock::new(), OnceLock::new(), OnceLock::new()],
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

    /// The frame in a codec; encoded by whoever asks first.
    #[must_use]
    pub fn frame(&self, codec: CodecId) -> Bytes {
        let [json, msgpack, cbor] = &self.frames;
        let slot = match codec {
            CodecId::Json => json,
            CodecId::Msgpack => msgpack,
            CodecId::Cbor => cbor,
        };
        slot.get_or_init(|| codec.encode(&self.message)).clone()
    }
}
