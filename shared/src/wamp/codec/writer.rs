//! Writes the elements of a frame one after the other, in any codec.

use bytes::Bytes;
use serde::Serialize;

use super::{CodecId, cbor};
use crate::wamp::payload::Payload;

/// Builds one frame.
pub(crate) struct FrameWriter {
    codec: CodecId,
    buffer: Vec<u8>,
    first: bool,
}

impl FrameWriter {
    /// A frame of `count` elements.
    pub(crate) fn new(codec: CodecId, count: u8, size_hint: usize) -> Self {
        let mut buffer = Vec::with_capacity(size_hint);
        match codec {
            CodecId::Json => buffer.push(b'['),
            // At most seven elements: both formats say so in the first byte.
            CodecId::Msgpack => buffer.push(0x90 | count),
            CodecId::Cbor => buffer.push(0x80 | count),
        }
        Self {
            codec,
            buffer,
            first: true,
        }
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.first) && self.codec == CodecId::Json {
            self.buffer.push(b',');
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.separate();
        match self.codec {
            CodecId::Json => self.buffer.extend_from_slice(number.to_string().as_bytes()),
            CodecId::Msgpack => {
                // Writing to a vector cannot fail.
                let _ = rmp::encode::write_uint(&mut self.buffer, number);
            }
            CodecId::Cbor => cbor::write_head(&mut self.buffer, 0, number),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.separate();
        match self.codec {
            CodecId::Json => {
                let _ = serde_json::to_writer(&mut self.buffer, text);
            }
            CodecId::Msgpack => {
                let _ = rmp::encode::write_str(&mut self.buffer, text);
            }
            CodecId::Cbor => {
                cbor::write_head(&mut self.buffer, 3, text.len() as u64);
                self.buffer.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Options or details: structs and maps of ours, which always can be encoded.
    pub(crate) fn details<T: Serialize>(&mut self, details: &T) {
        self.separate();
        let start = self.buffer.len();
        if let Err(error) = self.codec.value_to_buffer(details, &mut self.buffer) {
            tracing::error!(%error, "details that cannot be encoded were left out");
            self.buffer.truncate(start);
            self.buffer.extend_from_slice(self.codec.empty_map());
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
