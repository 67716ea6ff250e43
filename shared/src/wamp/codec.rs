//! Codecs turn messages into frames and back, decoding the head only and leaving the arguments as bytes.

pub(crate) mod cbor;
mod element;
pub(crate) mod json;
pub(crate) mod msgpack;
mod writer;

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use element::{Element, Elements, Kind};
pub(crate) use writer::{Details, FrameWriter, ListWriter, payload_count};

use crate::{
    platform::PREFERS_SIZE,
    wamp::{message::Message, value::Dynamic},
};

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
        self.decode_boxed(frame).map(|message| *message)
    }

    /// As [`Self::decode`], for who hands the message on: it is made where it stays.
    ///
    /// # Errors
    /// If the frame is not exactly one message.
    pub fn decode_boxed(self, frame: Bytes) -> Result<Box<Message>, DecodeError> {
        Message::from_frame(self, frame)
    }

    /// The frame of a message. Arguments in this codec are copied as they are, others are transcoded.
    #[must_use]
    pub fn encode(self, message: &Message) -> Bytes {
        message.to_frame(self, &mut BytesMut::new())
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

    /// How many bytes options or details take, nearly.
    pub(crate) fn size_of_details(self, details: &impl Details) -> usize {
        let mut buffer = BytesMut::with_capacity(64);
        let mut writer = FrameWriter::new(self, 1, &mut buffer);
        writer.details(details);
        writer.finish();
        buffer.len()
    }

    pub(crate) fn value_to_bytes<T: Serialize + ?Sized>(self, value: &T) -> Result<Bytes, String> {
        let mut buffer = Vec::with_capacity(64);
        self.value_to_buffer(value, &mut buffer)?;
        Ok(buffer.into())
    }

    /// Each codec writes and reads each type by code of its own, which is fast; where size counts more, they do so for
    /// [`Dynamic`] only, and types are turned into that and back.
    pub(crate) fn value_to_buffer<T: Serialize + ?Sized>(self, value: &T, buffer: &mut Vec<u8>) -> Result<(), String> {
        if PREFERS_SIZE {
            return self.write(&Dynamic::of(value)?, buffer);
        }
        self.write(value, buffer)
    }

    pub(crate) fn value_from_slice<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        if PREFERS_SIZE {
            return self.read::<Dynamic>(bytes)?.read();
        }
        self.read(bytes)
    }

    fn write<T: Serialize + ?Sized>(self, value: &T, buffer: &mut Vec<u8>) -> Result<(), String> {
        match self {
            Self::Json => serde_json::to_writer(buffer, value).map_err(|error| error.to_string()),
            Self::Msgpack => msgpack::to_buffer(value, buffer),
            Self::Cbor => cbor::to_buffer(value, buffer),
        }
    }

    fn read<T: DeserializeOwned>(self, bytes: &[u8]) -> Result<T, String> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(|error| error.to_string()),
            Self::Msgpack => msgpack::from_slice(bytes),
            Self::Cbor => cbor::from_slice(bytes),
        }
    }

    /// The number, if it is written as a plain whole one. Others are left to serde, which also words the errors.
    pub(crate) fn plain_number(self, bytes: &[u8]) -> Option<u64> {
        match self {
            Self::Json => json::plain_number(bytes),
            Self::Msgpack => msgpack::plain_number(bytes),
            Self::Cbor => cbor::plain_number(bytes),
        }
    }

    /// The text, if its bytes are those of the frame.
    pub(crate) fn plain_text(self, bytes: &[u8]) -> Option<&str> {
        match self {
            Self::Json => json::plain_text(bytes),
            Self::Msgpack => msgpack::plain_text(bytes),
            Self::Cbor => cbor::plain_text(bytes),
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Debug};

    use serde::Deserialize;

    use super::*;
    use crate::data::{Cell, Filter, Query, RowKey};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Unit,
        Newtype(Option<f64>),
        Tuple(i8, char),
        Struct {
            name: String,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            parts: Vec<Shape>,
        },
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Empty;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Wrapped(u64);

    /// The way over [`Dynamic`] writes what the codecs write themselves, and reads what they read.
    fn agrees<T: Serialize + DeserializeOwned + Debug + PartialEq>(value: T) {
        let dynamic = Dynamic::of(&value).expect("it serialises");
        for codec in CodecId::ALL {
            let (mut direct, mut small) = (Vec::new(), Vec::new());
            codec.write(&value, &mut direct).expect("it serialises");
            codec.write(&dynamic, &mut small).expect("it serialises");
            assert_eq!(direct, small, "{codec:?} {value:?}");
            let read: Dynamic = codec.read(&direct).expect("a value");
            assert_eq!(read.read::<T>().as_ref(), Ok(&value), "{codec:?}");
        }
    }

    #[test]
    fn what_is_small_writes_and_reads_as_what_is_fast() {
        agrees((
            true,
            -1_i8,
            200_u8,
            i64::MIN,
            u64::MAX,
            -1e300_f64,
            'ä',
            "text".to_owned(),
            (),
        ));
        agrees([
            -33,
            -32,
            -1,
            0,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            i64::from(u32::MAX),
            i64::MAX,
        ]);
        // All real numbers have 64 bits here.
        assert_eq!(Dynamic::of(&0.1_f32).and_then(Dynamic::read), Ok(0.1_f32));
        agrees((Some(Some(1)), None::<u32>, Wrapped(7), vec![Wrapped(u64::MAX)]));
        agrees(vec![
            Shape::Unit,
            Shape::Newtype(None),
            Shape::Newtype(Some(1.5)),
            Shape::Tuple(-8, '\0'),
            Shape::Struct {
                name: "outer".to_owned(),
                parts: vec![Shape::Struct {
                    name: String::new(),
                    parts: Vec::new(),
                }],
            },
        ]);
        agrees(BTreeMap::from([(-1_i64, "a".to_owned()), (70_000, "b".to_owned())]));
        agrees(BTreeMap::from([(u64::MAX, Shape::Unit)]));
        agrees(BTreeMap::from([("key".to_owned(), vec![Dynamic::Null, Dynamic::Binary(vec![])])]).len());
        agrees((
            Cell::Integer(i64::MAX),
            Cell::Null,
            Cell::Text("x".to_owned()),
            RowKey::Integer(7),
        ));
        agrees(Query {
            filter: Filter::And(vec![Filter::All, Filter::Not(Box::new(Filter::All))]),
            ..Query::default()
        });
    }

    #[test]
    fn what_is_small_refuses_as_what_is_fast_and_says_why() {
        fn refused<T: DeserializeOwned + Debug>(json: &str, word: &str) {
            assert!(CodecId::Json.read::<T>(json.as_bytes()).is_err(), "{json}");
            let read = CodecId::Json
                .read::<Dynamic>(json.as_bytes())
                .and_then(Dynamic::read::<T>);
            let text = read.expect_err(json);
            assert!(text.contains(word), "{json}: {text}");
        }
        refused::<u8>("256", "256");
        refused::<u32>("-1", "-1");
        refused::<u32>("1.5", "1.5");
        refused::<u32>("\"1\"", "a number");
        refused::<String>("1", "text");
        refused::<bool>("0", "boolean");
        refused::<Vec<u8>>("{}", "a list");
        refused::<BTreeMap<String, u8>>("[]", "a map");
        refused::<BTreeMap<u8, u8>>(r#"{"x":1}"#, "a number");
        refused::<(u8, u8)>("[1]", "length 1");
        refused::<()>("1", "nothing");
        refused::<Shape>(r#""Other""#, "Other");
        refused::<Shape>(r#"{"Newtype":1,"Unit":null}"#, "a variant");
        refused::<Shape>(r#""Newtype""#, "content");
        refused::<Shape>(r#"{"Struct":{}}"#, "name");
        refused::<Cell>("18446744073709551615", "");
        // What MessagePack says for a type without content is read too.
        assert_eq!(Dynamic::List(Vec::new()).read(), Ok(Empty));
        assert_eq!(Dynamic::of(&Empty).and_then(Dynamic::read), Ok(Empty));
    }
}
