//! Finds the elements of a CBOR frame (RFC 8949), and encodes values.

use bytes::BufMut;
use serde::{Serialize, de::DeserializeOwned};

use super::{DEPTH_LIMIT, DecodeError, DecodeErrorKind, Elements, Kind};

/// The kind of the value that starts with this byte.
pub(crate) const fn kind(first: u8) -> Kind {
    match first >> 5 {
        0 | 1 => Kind::Number,
        2 => Kind::Binary,
        3 => Kind::Text,
        4 => Kind::List,
        5 => Kind::Map,
        _ => Kind::Other,
    }
}

/// The number, if it is written as a whole one without sign.
pub(crate) fn plain_number(bytes: &[u8]) -> Option<u64> {
    match bytes {
        [small @ 0x00..=0x17] => Some(u64::from(*small)),
        [0x18..=0x1b, rest @ ..] => Some(rest.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))),
        _ => None,
    }
}

/// The text of a string that was found to be whole, if it comes in one piece.
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&str> {
    let text = match bytes {
        [0x60..=0x77, text @ ..] | [0x78, _, text @ ..] | [0x79, _, _, text @ ..] => text,
        _ => return None,
    };
    std::str::from_utf8(text).ok()
}

/// Finds the elements of the list that the frame is, checking all of it.
pub(crate) fn split(frame: &[u8]) -> Result<Elements, DecodeError> {
    let mut scanner = Scanner { bytes: frame, at: 0 };
    let (major, count) = scanner.head()?;
    if major != 4 {
        return Err(DecodeError::new(DecodeErrorKind::BadLayout, "a message is a list"));
    }
    let mut elements = Elements::default();
    let mut left = count;
    loop {
        match left {
            Some(0) => break,
            Some(count) => left = Some(count - 1),
            None if scanner.is_break() => break,
            None => {}
        }
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

    fn take(&mut self, count: u64) -> Result<&'a [u8], DecodeError> {
        let taken = usize::try_from(count)
            .ok()
            .and_then(|count| self.at.checked_add(count))
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.cut_off())?;
        self.at += taken.len();
        Ok(taken)
    }

    /// Passes the break byte if it is next.
    fn is_break(&mut self) -> bool {
        let found = self.bytes.get(self.at) == Some(&0xff);
        self.at += usize::from(found);
        found
    }

    /// Major type and argument; no argument for indefinite lengths.
    fn head(&mut self) -> Result<(u8, Option<u64>), DecodeError> {
        let first = self.take(1)?.first().copied().unwrap_or(0);
        let argument = match first & 0x1f {
            small @ 0..=23 => Some(u64::from(small)),
            width @ 24..=27 => {
                let bytes = self.take(1 << (width - 24))?;
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            31 if matches!(first >> 5, 2..=5) => None,
            _ => return Err(DecodeError::malformed("reserved length", self.at - 1)),
        };
        Ok((first >> 5, argument))
    }

    /// Passes one value. `depth` = how many more levels may be opened.
    fn value(&mut self, depth: usize) -> Result<(), DecodeError> {
        let start = self.at;
        match self.head()? {
            (0 | 1, _) => Ok(()),
            (major @ (2 | 3), Some(count)) => self.string(major, count),
            // A string in chunks, each of definite length and the same type.
            (major @ (2 | 3), None) => {
                while !self.is_break() {
                    match self.head()? {
                        (chunk, Some(count)) if chunk == major => self.string(major, count)?,
                        _ => return Err(DecodeError::malformed("wrong chunk of a string", self.at)),
                    }
                }
                Ok(())
            }
            (4..=6, _) if depth == 0 => Err(DecodeError::too_deep()),
            (4, Some(count)) => (0..count).try_for_each(|_| self.value(depth - 1)),
            (5, Some(count)) => (0..count).try_for_each(|_| {
                self.value(depth - 1)?;
                self.value(depth - 1)
            }),
            (major @ (4 | 5), None) => {
                while !self.is_break() {
                    self.value(depth - 1)?;
                    if major == 5 {
                        self.value(depth - 1)?;
                    }
                }
                Ok(())
            }
            (6, tag) => {
                // A negative number of 128 bits, as no reader of ours could take it.
                let content = self.bytes.get(self.at..).unwrap_or_default();
                if tag == Some(3) && matches!(content, [0x50, 0x80..=0xff, ..]) {
                    return Err(DecodeError::malformed("number out of range", self.at));
                }
                self.value(depth - 1)
            }
            // False, true, null, undefined and floats. Other simple values mean nothing to anybody.
            _ => match self.bytes.get(start) {
                Some(0xf4..=0xf7 | 0xf9..=0xfb) => Ok(()),
                _ => Err(DecodeError::malformed("unassigned simple value", start)),
            },
        }
    }

    fn string(&mut self, major: u8, count: u64) -> Result<(), DecodeError> {
        let start = self.at;
        let bytes = self.take(count)?;
        if major == 3
            && let Err(error) = std::str::from_utf8(bytes)
        {
            return Err(DecodeError::malformed(
                "text that is not UTF-8",
                start + error.valid_up_to(),
            ));
        }
        Ok(())
    }
}

/// Writes major type and argument in the shortest form.
pub(crate) fn write_head(buffer: &mut impl BufMut, major: u8, argument: u64) {
    let major = major << 5;
    let bytes = argument.to_be_bytes();
    let (info, width) = match argument {
        0..=23 => {
            buffer.put_u8(major | bytes[7]);
            return;
        }
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    buffer.put_u8(major | info);
    buffer.put_slice(&bytes[8 - width..]);
}

/// Appends a value.
pub(crate) fn to_buffer<T: Serialize + ?Sized>(value: &T, buffer: &mut Vec<u8>) -> Result<(), String> {
    ciborium::into_writer(value, buffer).map_err(|error| error.to_string())
}

/// Reads a value.
pub(crate) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    ciborium::from_reader(bytes).map_err(|error| error.to_string())
}
