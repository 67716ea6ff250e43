//! Codecs turn messages into frames and back, decoding the head only and leaving the arguments as bytes.

pub(crate) mod cbor;
mod element;
pub(crate) mod json;
pub(crate) mod msgpack;
mod writer;

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use element::{Element, Elements, Kind};
pub(crate) use writer::{FrameWriter, ListWriter, payload_count};

use crate::wamp::message::Message;

/// How deeply a frame may nest, the message's own list included.
pub const DEPTH_LIMIT: usize = 32;

/// The serialisation of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodecId {
    /// JSON in text frames.
    Json,
    /// MessagePack in binary frames.
    Msgpack,
    /// CBOR in binary frames.
    Cbor,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The bytes are not of the codec.
    Malformed,
    /// Nested deeper than [`DEPTH_LIMIT`].
    TooDeep,
    /// No message has this code.
    UnknownMessage,
    /// The message does not have the elements that its layout says.
    BadLayout,
}

/// A frame that is not a message. The peer that sent it broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong, for code.
    pub kind: DecodeErrorKind,
    /// What is wrong, for people.
    pub text: String,
}

impl DecodeError {
    pub(crate) fn new(kind: DecodeErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
        }
    }

    pub(crate) fn malformed(text: &str, at: usize) -> Self {
        Self::new(DecodeErrorKind::Malformed, format!("{text} at byte {at}"))
    }

    pub(crate) fn too_deep() -> Self {
        Self::new(
            DecodeErrorKind::TooDeep,
            format!("nested deeper than {DEPTH_LIMIT} levels"),
        )
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::error::Error for DecodeError {}

impl CodecId {
    /// Every codec, the one for our own peers first.
    pub const ALL: [Self; 3] = [Self::Msgpack, Self::Json, Self::Cbor];

    /// The WebSocket sub-protocol.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "wamp.2.json",
            Self::Msgpack => "wamp.2.msgpack",
            Self::Cbor => "wamp.2.cbor",
        }
    }

    /// The codec of a WebSocket sub-protocol.
    #[must_use]
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }

    /// Whether frames are text.
    #[must_use]
    pub const fn is_text(self) -> bool {
        match self {
            Self::Json => true,
            Self::Msgpack | Self::Cbor => false,
        }
    }

    /// The message in a frame. Arguments stay undecoded and share the frame's memory; they are checked to be well
    /// formed, so that they can be handed on.
    ///
    /// # Errors
    /// If the frame is not exactly one message.
    pub fn decode(self, frame: Bytes) -> Result<Message, DecodeError> {
        Message::from_frame(self, &frame)
    }

    /// The frame of a message. Arguments in this codec are copied as they are, others are transcoded.
    #[must_use]
    pub fn encode(self, message: &Message) -> Bytes {
        message.to_frame(self)
    }

    /// Finds the elements of the list that a frame is.
    pub(crate) fn split(self, frame: &[u8]) -> Result<Elements, DecodeError> {
        match self {
            Self::Json => json::split(frame),
            Self::Msgpack => msgpack::split(frame),
            Self::Cbor => cbor::split(frame),
        }
    }

    /// Whether an item could still be read if it lay `levels` deeper than at the top of a frame.
    pub(crate) fn may_nest(self, item: &[u8], levels: usize) -> bool {
        let (open, close): (&[u8], &[u8]) = match self {
            Self::Json => (b"[", b"]"),
            Self::Msgpack => (&[0x91], &[]),
            Self::Cbor => (&[0x81], &[]),
        };
        let wrapped = [&open.repeat(levels + 1), item, &close.repeat(levels + 1)].concat();
        self.split(&wrapped).is_ok()
    }

    pub(crate) fn value_to_bytes<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, String> {
        let mut buffer = Vec::with_capacity(64);
        self.value_to_buffer(value, &mut buffer)?;
        Ok(buffer.into())
    }

    pub(crate) fn value_to_buffer<T: Serialize + ?Sized>(self, value: &T, buffer: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json => serde_json::to_writer(buffer, value).map_err(|error| error.to_string()),
            Self::Msgpack => msgpack::to_buffer(value, buffer),
            Self::Cbor => cbor::to_buffer(value, buffer),
        }
    }

    pub(crate) fn value_from_slice<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Self::Msgpack => msgpack::from_slice(bytes),
            Self::Cbor => cbor::from_slice(bytes),
        }
    }

    fn kind(self, bytes: &[u8]) -> Kind {
        let first = bytes.first().copied().unwrap_or(0);
        match self {
            Self::Json => json::kind(first),
            Self::Msgpack => msgpack::kind(first),
            Self::Cbor => cbor::kind(first),
        }
    }

    pub(crate) fn is_sequence(self, bytes: &[u8]) -> bool {
        self.kind(bytes) == Kind::List
    }

    pub(crate) fn is_null(self, bytes: &[u8]) -> bool {
        bytes == self.null()
    }

    pub(crate) const fn null(self) -> &'static [u8] {
        match self {
            Self::Json => b"null",
            Self::Msgpack => &[0xc0],
            Self::Cbor => &[0xf6],
        }
    }

    pub(crate) fn is_map(self, bytes: &[u8]) -> bool {
        self.kind(bytes) == Kind::Map
    }

    pub(crate) fn is_empty_sequence(self, bytes: &[u8]) -> bool {
        bytes == self.empty_sequence() || (self == Self::Cbor && bytes == [0x9f, 0xff])
    }

    pub(crate) fn is_empty_map(self, bytes: &[u8]) -> bool {
        bytes == self.empty_map() || (self == Self::Cbor && bytes == [0xbf, 0xff])
    }

    pub(crate) const fn empty_sequence(self) -> &'static [u8] {
        match self {
            Self::Json => b"[]",
            Self::Msgpack => &[0x90],
            Self::Cbor => &[0x80],
        }
    }

    pub(crate) const fn empty_map(self) -> &'static [u8] {
        match self {
            Self::Json => b"{}",
            Self::Msgpack => &[0x80],
            Self::Cbor => &[0xa0],
        }
    }
}
