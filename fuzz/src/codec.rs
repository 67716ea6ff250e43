//! Codecs: whatever decodes is no deeper than allowed, means the same after encoding, and can be said in every codec.

use shared::wamp::{CodecId, DecodeError, Message, Payload, codec::DEPTH_LIMIT, value::Dynamic};

/// Pieces of JSON messages.
pub const JSON_WORDS: &[&str] = &[
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    "[[[[",
    "{\"a\":",
    "\\ud83d\\ude00",
    "\\ud800",
    "\\u0000",
    "null",
    "true",
    "-0",
    "1e308",
    "1e309",
    "9007199254740993",
    "18446744073709551616",
    "\"match\":\"prefix\"",
    "\"acknowledge\":true",
    "\"receive_progress\":true",
    "\"progress\":true",
    "\"exclude\":[1]",
    "\"invoke\":\"roundrobin\"",
    "\"timeout\":1",
    "\"ppt_scheme\":\"x_a\"",
    "\"kwargs\"",
    "wamp.",
    "\u{1e}[",
];

/// Pieces of MessagePack and CBOR messages; the heads of lists, maps and numbers are among the mutator's bytes.
pub const BINARY_WORDS: &[&str] = &[
    "match",
    "prefix",
    "acknowledge",
    "progress",
    "timeout",
    "\u{0}",
    "\u{7f}",
    "\u{11}\u{11}\u{11}\u{11}",
    "\u{10}\u{1}",
    "ppt_scheme",
];

/// How a frame becomes a message. Another one than ours shows that the oracle can fail.
pub type Decode = fn(CodecId, &[u8]) -> Result<Message, DecodeError>;

/// A frame of `wamp.2.json`.
pub fn json(bytes: &[u8]) {
    check(CodecId::Json, bytes, ours);
}

/// A frame of `wamp.2.msgpack`.
pub fn msgpack(bytes: &[u8]) {
    check(CodecId::Msgpack, bytes, ours);
}

/// A frame of `wamp.2.cbor`.
pub fn cbor(bytes: &[u8]) {
    check(CodecId::Cbor, bytes, ours);
}

fn ours(codec: CodecId, bytes: &[u8]) -> Result<Message, DecodeError> {
    codec.decode(bytes.to_vec().into())
}

/// Holds a frame against the promises of a codec.
pub fn check(codec: CodecId, bytes: &[u8], decode: Decode) {
    let message = match decode(codec, bytes) {
        Ok(message) => message,
        Err(error) => return assert!(!error.text.is_empty(), "an error without words"),
    };
    let frame = codec.encode(&message);
    let again = decode(codec, &frame).unwrap_or_else(|error| panic!("{message:?} as {frame:?}: {error}"));
    assert!(same(&message, &again), "{message:?} became {again:?}");
    if let Some(payload) = message.payload() {
        check_payload(payload);
    }
}

/// Equal, or equal but for numbers that are none.
fn same(one: &Message, other: &Message) -> bool {
    one == other || format!("{one:?}") == format!("{other:?}")
}

fn check_payload(payload: &Payload) {
    check_depth(payload);
    for codec in CodecId::ALL.into_iter().filter(|codec| *codec != payload.codec()) {
        let there = payload
            .transcode(codec)
            .unwrap_or_else(|error| panic!("{payload:?} in {codec:?}: {error}"));
        // Nil takes a byte and `null,` five; a control character in a key within a key takes seven.
        assert!(
            there.size() <= 8 * payload.size() + 64,
            "{payload:?} takes {} bytes in {codec:?}",
            there.size()
        );
        check_depth(&there);
    }
}

/// Reads both kinds of arguments and counts their levels, those of the message included.
fn check_depth(payload: &Payload) {
    let read = |value: shared::error::Result<Dynamic>| {
        let value = value.unwrap_or_else(|error| panic!("{payload:?}: {error}"));
        let levels = 1 + depth(&value);
        assert!(levels <= DEPTH_LIMIT, "{levels} levels in {payload:?}");
    };
    if !payload.args().is_empty() {
        read(payload.decode_args());
    }
    if !payload.kwargs().is_empty() {
        read(payload.decode_kwargs());
    }
}

fn depth(value: &Dynamic) -> usize {
    match value {
        Dynamic::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Dynamic::Map(pairs) => {
            1 + pairs
                .iter()
                .map(|(key, value)| depth(key).max(depth(value)))
                .max()
                .unwrap_or(0)
        }
        Dynamic::Null
        | Dynamic::Boolean(_)
        | Dynamic::Integer(_)
        | Dynamic::Unsigned(_)
        | Dynamic::Real(_)
        | Dynamic::Text(_)
        | Dynamic::Binary(_) => 0,
    }
}
