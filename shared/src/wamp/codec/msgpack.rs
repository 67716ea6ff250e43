//! Finds the elements of a MessagePack frame, and encodes values the way our peers read them.

use serde::{Serialize, de::DeserializeOwned};

use super::{DEPTH_LIMIT, DecodeError, DecodeErrorKind, Elements, Kind};

/// The kind of the value that starts with this byte.
pub(crate) const fn kind(first: u8) -> Kind {
    match first {
        0x00..=0x7f | 0xe0..=0xff | 0xca..=0xd3 => Kind::Number,
        0x80..=0x8f | 0xde | 0xdf => Kind::Map,
        0x90..=0x9f | 0xdc | 0xdd => Kind::List,
        0xa0..=0xbf | 0xd9..=0xdb => Kind::Text,
        0xc4..=0xc6 => Kind::Binary,
        0xc0..=0xc3 | 0xc7..=0xc9 | 0xd4..=0xd8 => Kind::Other,
    }
}

/// The number, if it is written as a whole one without sign.
pub(crate) fn plain_number(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [small @ 0x00..=0x7f] => Some(u64::from(*small)),
        [0xcc..=0xcf, rest @ ..] => Some(rest.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        _ => None,
    }
}

/// The text of a string that was found to be whole.
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&str> {
    let text = match bytes {
        [0xa0..=0xbf, text @ ..] | [0xd9, _, text @ ..] | [0xda, _, _, text @ ..] => text,
        _ => return None,
    };
    std::str::from_utf8(text).ok()
}

/// Finds the elements of the list that the frame is, checking all of it.
pub(crate) fn split(frame: &[u8]) -> Result<Elements, DecodeError> {
    let mut scanner = Scanner { bytes: frame, at: 0 };
    let count = match scanner.byte()? {
        first @ 0x90..=0x9f => u64::from(first & 0x0f),
        0xdc => scanner.number(2)?,
        0xdd => scanner.number(4)?,
        _ => return Err(DecodeError::new(DecodeErrorKind::BadLayout, "a message is a list")),
    };
    let mut elements = Elements::default();
    for _ in 0..count {
        let start = scanner.at;
        let kind = kind(frame.get(start).copied().unwrap_or(0));
        scanner.value(DEPTH_LIMIT - 1)?;
        elements.push(kind, start..scanner.at)?;
    }
    if scanner.at == frame.len() {
        Ok(elements)
    } else {
        Err(DecodeError::malformed("bytes after the message", scanner.at))
    }
}

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn cut_off(&self) -> DecodeError {
        DecodeError::malformed("cut off", self.at)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = self.bytes.get(self.at).copied().ok_or_else(|| self.cut_off())?;
        self.at += 1;
        Ok(byte)
    }

    /// A big-endian number of `width` bytes.
    fn number(&mut self, width: u64) -> Result<u64, DecodeError> {
        Ok(self
            .take(width)?
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], DecodeError> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.cut_off())?;
        self.at += taken.len();
        Ok(taken)
    }

    fn text(&mut self, count: u64) -> Result<(), DecodeError> {
        let start = self.at;
        std::str::from_utf8(self.take(count)?)
            .map(|_| ())
            .map_err(|error| DecodeError::malformed("text that is not UTF-8", start + error.valid_up_to()))
    }

    /// Passes `count` values one level down.
    fn values(&mut self, count: u64, depth: usize) -> Result<(), DecodeError> {
        if depth == 0 {
            return Err(DecodeError::too_deep());
        }
        // Each value takes a byte at least, so a lying count ends at the end of the frame.
        (0..count).try_for_each(|_| self.value(depth - 1))
    }

    /// Passes one value. `depth` = how many more levels may be opened.
    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        match self.byte()? {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => Ok(()),
            first @ 0x80..=0x8f => self.values(u64::from(first & 0x0f) * 2, depth),
            first @ 0x90..=0x9f => self.values(u64::from(first & 0x0f), depth),
            first @ 0xa0..=0xbf => self.text(u64::from(first & 0x1f)),
            first @ 0xc4..=0xc6 => {
                let count = self.number(1 << (first - 0xc4))?;
                self.take(count).map(|_| ())
            }
            first @ 0xc7..=0xc9 => {
                let count = self.number(1 << (first - 0xc7))?;
                self.take(count + 1).map(|_| ())
            }
            0xca => self.take(4).map(|_| ()),
            0xcb => self.take(8).map(|_| ()),
            first @ 0xcc..=0xcf => self.take(1 << (first - 0xcc)).map(|_| ()),
            first @ 0xd0..=0xd3 => self.take(1 << (first - 0xd0)).map(|_| ()),
            first @ 0xd4..=0xd8 => self.take((1 << (first - 0xd4)) + 1).map(|_| ()),
            first @ 0xd9..=0xdb => {
                let count = self.number(1 << (first - 0xd9))?;
                self.text(count)
            }
            first @ (0xdc | 0xdd) => {
                let count = self.number(if first == 0xdc { 2 } else { 4 })?;
                self.values(count, depth)
            }
            first @ (0xde | 0xdf) => {
                let count = self.number(if first == 0xde { 2 } else { 4 })?;
                self.values(count * 2, depth)
            }
            0xc1 => Err(DecodeError::malformed("byte 0xc1, which is never used", self.at - 1)),
        }
    }
}

/// Appends a value: structs as maps, and in the human readable forms of their types, as in JSON, so that a payload
/// means the same after transcoding.
pub(crate) fn to_buffer<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), String> {
    let mut serializer = rmp_serde::Serializer::new(buffer)
        .with_struct_map()
        .with_human_readable();
    value.serialize(&mut serializer).map_err(|error| error.to_string())
}

/// Reads a value.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    T::deserialize(&mut deserializer).map_err(|error| error.to_string())
}
