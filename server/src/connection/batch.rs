//! Batched sub-protocols: several messages in one frame.
//!
//! Text: each message is followed by the octet 30. Binary: each is preceded by its length in four octets, high ones
//! first. An empty batch is illegal, one message is still framed (WAMP specification, "Batched transport").

use axum::body::Bytes;
use shared::wamp::CodecId;

/// Ends a message in a batch of text.
const SEPARATOR: u8 = 30;
/// Octets of a length in a binary batch.
const LENGTH: usize = 4;

/// Adds a message to a batch.
pub(super) fn add(codec: CodecId, batch: &mut Vec<u8>, message: &[u8]) {
    match codec {
        CodecId::Json => {
            batch.extend_from_slice(message);
            batch.push(SEPARATOR);
        }
        CodecId::Msgpack | CodecId::Cbor => {
            // Messages are bounded far below what four octets can say.
            let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
            batch.extend_from_slice(&length.to_be_bytes());
            batch.extend_from_slice(message);
        }
    }
}

/// Takes the first message out of a batch, which must not be empty.
pub(super) fn take(codec: CodecId, batch: &mut Bytes) -> Result<Bytes, &'static str> {
    match codec {
        CodecId::Json => {
            let end = batch.iter().position(|octet| *octet == SEPARATOR);
            let message = batch.split_to(end.ok_or("A batch ends with octet 30.")?);
            let _ = batch.split_to(1);
            Ok(message)
        }
        CodecId::Msgpack | CodecId::Cbor => {
            let head = batch.first_chunk::<LENGTH>().ok_or("A batch has whole lengths.")?;
            let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
            if length > batch.len() - LENGTH {
                return Err("A message of a batch is longer than the batch.");
            }
            let _ = batch.split_to(LENGTH);
            Ok(batch.split_to(length))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(codec: CodecId, batch: &[u8]) -> Result<Vec<Bytes>, &'static str> {
        let mut batch = Bytes::copy_from_slice(batch);
        let mut messages = Vec::new();
        while !batch.is_empty() {
            messages.push(take(codec, &mut batch)?);
        }
        Ok(messages)
    }

    #[test]
    fn what_is_added_comes_out_again_and_the_layout_is_that_of_the_specification() {
        for codec in CodecId::ALL {
            let mut batch = Vec::new();
            add(codec, &mut batch, b"[1]");
            add(codec, &mut batch, b"[22]");
            assert_eq!(all(codec, &batch), Ok(vec!["[1]".into(), "[22]".into()]));
            let expected: &[u8] = match codec {
                CodecId::Json => b"[1]\x1e[22]\x1e",
                CodecId::Msgpack | CodecId::Cbor => b"\0\0\0\x03[1]\0\0\0\x04[22]",
            };
            assert_eq!(batch, expected);
        }
    }

    #[test]
    fn broken_batches_are_refused() {
        assert!(all(CodecId::Json, b"[1]").is_err());
        assert!(all(CodecId::Json, b"[1]\x1e[2]").is_err());
        for wrong in [&b"\0\0\0"[..], b"\0\0\0\x04[1]", b"\xff\xff\xff\xff[1]"] {
            assert!(all(CodecId::Cbor, wrong).is_err(), "{wrong:?}");
        }
    }
}
