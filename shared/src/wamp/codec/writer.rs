//! Writes the elements of a frame one after the other, in any codec.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;

use super::{CodecId, cbor, json};
use crate::wamp::payload::Payload;

/// Options or details of a message, which are written key by key.
pub(crate) trait Details {
    /// How many keys there are.
    fn count(&self) -> u32;
    /// Writes each key and its value.
    fn write(&self, writer: &mut FrameWriter<'_>);
}

/// Builds one frame.
pub(crate) struct FrameWriter<'a> {
    codec: CodecId,
    buffer: &'a mut BytesMut,
    first: bool,
}

impl<'a> FrameWriter<'a> {
    /// A frame of `count` elements, in an empty buffer.
    pub(crate) fn new(codec: CodecId, count: u8, buffer: &'a mut BytesMut) -> Self {
        buffer.extend_from_slice(&[match codec {
            CodecId::Json => b'[',
            // At most seven elements: both formats say so in the first byte.
            CodecId::Msgpack => 0x90 | count,
            CodecId::Cbor => 0x80 | count,
        }]);
        Self {
            codec,
            buffer,
            first: true,
        }
    }

    /// Keys and values alone, in an empty buffer, to go into a map later by [`Self::encoded`].
    pub(crate) const fn members(codec: CodecId, buffer: &'a mut BytesMut) -> Self {
        Self {
            codec,
            buffer,
            first: true,
        }
    }

    /// Keys and values that were written before.
    pub(crate) fn encoded(&mut self, members: &[u8]) {
        self.separate();
        self.buffer.extend_from_slice(members);
    }

    pub(crate) const fn codec(&self) -> CodecId {
        self.codec
    }

    /// Adds a few octets, such as a separator. (`BufMut` copies even one by a call.)
    #[inline]
    fn put(&mut self, octets: &[u8]) {
        self.buffer.extend_from_slice(octets);
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) && self.codec == CodecId::Json {
            self.put(b",");
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.separate();
        self.write_number(number);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        self.write_text(text);
    }

    /// Options or details.
    pub(crate) fn details(&mut self, details: &impl Details) {
        self.separate();
        match (self.codec, details.count()) {
            (_, 0) => return self.buffer.extend_from_slice(self.codec.empty_map()),
            (CodecId::Json, _) => self.put(b"{"),
            (CodecId::Msgpack, count) => {
                // Writing to a vector cannot fail.
                let _ = rmp::encode::write_map_len(&mut self.buffer.writer(), count);
            }
            (CodecId::Cbor, count) => cbor::write_head(self.buffer, 5, u64::from(count)),
        }
        self.first = true;
        details.write(self);
        self.first = false;
        if self.codec == CodecId::Json {
            self.put(b"}");
        }
    }

    /// A key in details; its value must follow. Keys are constants without anything to escape.
    pub(crate) fn key(&mut self, key: &str) {
        self.separate();
        match self.codec {
            CodecId::Json => {
                self.put(b"\"");
                self.buffer.extend_from_slice(key.as_bytes());
                self.buffer.extend_from_slice(b"\":");
            }
            CodecId::Msgpack | CodecId::Cbor => self.write_text(key),
        }
    }

    /// A map of ours that is open-ended.
    pub(crate) fn value<T: Serialize>(&mut self, value: &T) {
        self.separate();
        self.write_value(value);
    }

    pub(crate) fn write_number(&mut self, number: u64) {
        match self.codec {
            CodecId::Json => match u8::try_from(number) {
                // Such as the codes of messages.
                Ok(number @ 10..100) => self.put(&[b'0' + number / 10, b'0' + number % 10]),
                Ok(_) | Err(_) => {
                    let mut digits = itoa::Buffer::new();
                    self.buffer.extend_from_slice(digits.format(number).as_bytes());
                }
            },
            CodecId::Msgpack => {
                let _ = rmp::encode::write_uint(&mut self.buffer.writer(), number);
            }
            CodecId::Cbor => cbor::write_head(self.buffer, 0, number),
        }
    }

    pub(crate) fn write_text(&mut self, text: &str) {
        match self.codec {
            CodecId::Json if json::plain(text.as_bytes()) == text.len() => {
                self.put(b"\"");
                self.buffer.extend_from_slice(text.as_bytes());
                self.put(b"\"");
            }
            CodecId::Json => {
                let _ = serde_json::to_writer(self.buffer.writer(), text);
            }
            CodecId::Msgpack => {
                let _ = rmp::encode::write_str(&mut self.buffer.writer(), text);
            }
            CodecId::Cbor => {
                cbor::write_head(self.buffer, 3, text.len() as u64);
                self.buffer.extend_from_slice(text.as_bytes());
            }
        }
    }

    pub(crate) fn write_flag(&mut self, flag: bool) {
        match self.codec {
            CodecId::Json => self.buffer.extend_from_slice(if flag { b"true" } else { b"false" }),
            CodecId::Msgpack => self.buffer.put_u8(if flag { 0xc3 } else { 0xc2 }),
            CodecId::Cbor => self.buffer.put_u8(if flag { 0xf5 } else { 0xf4 }),
        }
    }

    /// A value of ours of any shape, which always can be encoded.
    pub(crate) fn write_value<T: Serialize>(&mut self, value: &T) {
        match self.codec.value_to_bytes(value) {
            Ok(bytes) => self.buffer.extend_from_slice(&bytes),
            Err(error) => {
                tracing::error!(%error, "details that cannot be encoded were left out");
                self.buffer.extend_from_slice(self.codec.null());
            }
        }
    }

    /// The arguments, if there are any. [`payload_count`] elements.
    pub(crate) fn payload(&mut self, payload: &Payload) {
        if payload.is_empty() {
            return;
        }
        let translated;
        let payload = if payload.codec() == self.codec {
            payload
        } else {
            translated = payload.transcode(self.codec).unwrap_or_else(|error| {
                tracing::error!(%error, "arguments that cannot be transcoded were left out");
                Payload::from_checked(
                    self.codec,
                    Bytes::from_static(self.codec.empty_sequence()),
                    Bytes::from_static(if payload.kwargs().is_empty() {
                        &[]
                    } else {
                        self.codec.empty_map()
                    }),
                )
            });
            &translated
        };
        self.separate();
        if payload.args().is_empty() {
            self.buffer.extend_from_slice(self.codec.empty_sequence());
        } else {
            self.buffer.extend_from_slice(payload.args());
        }
        if !payload.kwargs().is_empty() {
            self.separate();
            self.buffer.extend_from_slice(payload.kwargs());
        }
    }

    /// Ends the frame.
    pub(crate) fn finish(mut self) {
        match self.codec {
            CodecId::Json => self.put(b"]"),
            CodecId::Msgpack | CodecId::Cbor => {}
        }
    }
}

/// Builds a list of maps whose last members are encoded already.
pub(crate) struct ListWriter {
    codec: CodecId,
    buffer: Vec<u8>,
    first: bool,
}

impl ListWriter {
    /// A list of `count` maps.
    pub(crate) fn new(codec: CodecId, count: usize) -> Self {
        let mut buffer = Vec::new();
        match codec {
            CodecId::Json => buffer.push(b'['),
            CodecId::Msgpack => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                // Writing to a vector cannot fail.
                let _ = rmp::encode::write_array_len(&mut buffer, count);
            }
            CodecId::Cbor => cbor::write_head(&mut buffer, 4, count as u64),
        }
        Self {
            codec,
            buffer,
            first: true,
        }
    }

    /// A map: the members of `head`, a struct of at most ten and at least one, then `members`, at most five.
    pub(crate) fn map_with<'a, T: Serialize>(
        &mut self,
        head: &T,
        members: impl Iterator<Item = (&'static str, &'a Bytes)>,
    ) -> Result<(), String> {
        if !std::mem::take(&mut self.first) && self.codec == CodecId::Json {
            self.buffer.push(b',');
        }
        let start = self.buffer.len();
        self.codec.value_to_buffer(head, &mut self.buffer)?;
        if self.codec == CodecId::Json {
            self.buffer.pop();
        }
        for (name, value) in members {
            match self.codec {
                CodecId::Json => self.buffer.push(b','),
                // So few members are counted in the low bits of the first byte.
                CodecId::Msgpack | CodecId::Cbor => {
                    if let Some(count) = self.buffer.get_mut(start) {
                        *count += 1;
                    }
                }
            }
            self.codec.value_to_buffer(name, &mut self.buffer)?;
            if self.codec == CodecId::Json {
                self.buffer.push(b':');
            }
            self.buffer.extend_from_slice(value);
        }
        if self.codec == CodecId::Json {
            self.buffer.push(b'}');
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Bytes {
        match self.codec {
            CodecId::Json => self.buffer.push(b']'),
            CodecId::Msgpack | CodecId::Cbor => {}
        }
        self.buffer.into()
    }
}

/// How many elements the arguments take in a frame: keyword arguments need a place before them.
pub(crate) fn payload_count(payload: &Payload) -> u8 {
    if !payload.kwargs().is_empty() {
        2
    } else {
        u8::from(!payload.args().is_empty())
    }
}
