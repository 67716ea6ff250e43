//! The arguments of a message as the bytes they came in: carried, spliced and transcoded, decoded only by their reader.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::{Error, ErrorKind, Result},
    wamp::{codec::CodecId, value::Dynamic},
};

/// How often a payload was decoded or transcoded in this process. Only a diagnostic: it lets a test (and a metric)
/// show that routing between peers of one codec decodes nothing, wherever in the process that would happen.
static DECODES: AtomicU64 = AtomicU64::new(0);

/// How many payloads were decoded or transcoded in this process so far.
#[must_use]
pub fn payload_decodes() -> u64 {
    DECODES.load(Ordering::Relaxed)
}

/// Positional and keyword arguments, encoded by one codec. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Payload {
    codec: CodecId,
    /// An encoded sequence; or, for opaque payloads of the WAMP extensions, one text or binary item. Empty = absent.
    args: Bytes,
    /// An encoded map. Rare, and kept apart because payloads are moved about a lot.
    kwargs: Option<Box<Bytes>>,
}

static NO_KWARGS: Bytes = Bytes::new();

/// Equal bytes in the same codec; payloads without arguments are equal in every codec.
impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.args == other.args
            && self.kwargs() == other.kwargs()
            && (self.codec == other.codec || (self.is_empty() && other.is_empty()))
    }
}

impl Payload {
    /// No arguments at all.
    #[must_use]
    pub const fn empty(codec: CodecId) -> Self {
        Self {
            codec,
            args: Bytes::new(),
            kwargs: None,
        }
    }

    /// Positional arguments from anything that serialises as a sequence: a tuple, a vector, a slice; `()` is none.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the value cannot be encoded or is not a sequence.
    pub fn encode<A: Serialize + ?Sized>(codec: CodecId, args: &A) -> Result<Self> {
        let bytes = codec.value_to_bytes(args).map_err(unencodable)?;
        if codec.is_null(&bytes) {
            return Ok(Self::empty(codec));
        }
        if !codec.is_sequence(&bytes) {
            return Err(Error::new(ErrorKind::InvalidArgument, "Arguments must be a sequence."));
        }
        // WAMP wants empty arguments left out.
        let args = if codec.is_empty_sequence(&bytes) {
            Bytes::new()
        } else {
            bytes
        };
        Ok(Self {
            codec,
            args,
            kwargs: None,
        })
    }

    /// The same payload with keyword arguments from anything that serialises as a map.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the value cannot be encoded or is not a map.
    pub fn with_kwargs<K: Serialize + ?Sized>(mut self, kwargs: &K) -> Result<Self> {
        let bytes = self.codec.value_to_bytes(kwargs).map_err(unencodable)?;
        if !self.codec.is_map(&bytes) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "Keyword arguments must be a map.",
            ));
        }
        self.kwargs = (!self.codec.is_empty_map(&bytes)).then(|| Box::new(bytes));
        Ok(self)
    }

    /// A payload of bytes that a codec has already checked.
    pub(crate) fn from_checked(codec: CodecId, args: Bytes, kwargs: Bytes) -> Self {
        let kwargs = (!kwargs.is_empty()).then(|| Box::new(kwargs));
        Self { codec, args, kwargs }
    }

    /// The same arguments in memory of their own, apart from the frame that they came in.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self::from_checked(
            self.codec,
            Bytes::copy_from_slice(self.args()),
            Bytes::copy_from_slice(self.kwargs()),
        )
    }

    /// The codec that the bytes are in.
    #[must_use]
    pub const fn codec(&self) -> CodecId {
        self.codec
    }

    /// The encoded positional arguments; empty if there are none.
    #[must_use]
    pub const fn args(&self) -> &Bytes {
        &self.args
    }

    /// The encoded keyword arguments; empty if there are none.
    #[must_use]
    pub fn kwargs(&self) -> &Bytes {
        self.kwargs.as_deref().unwrap_or(&NO_KWARGS)
    }

    /// Whether there are no arguments of either kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.args.is_empty() && self.kwargs.is_none()
    }

    /// How many bytes the arguments take.
    #[must_use]
    pub fn size(&self) -> usize {
        self.args.len() + self.kwargs().len()
    }

    /// The positional arguments as a tuple or a vector. Absent arguments read as an empty sequence, or as `()`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if they do not have that shape.
    pub fn decode_args<T: DeserializeOwned>(&self) -> Result<T> {
        DECODES.fetch_add(1, Ordering::Relaxed);
        let decoded = if self.args.is_empty() {
            let sequence = self.codec.value_from_slice(self.codec.empty_sequence());
            sequence.or_else(|text| self.codec.value_from_slice(self.codec.null()).map_err(|_| text))
        } else {
            self.codec.value_from_slice(&self.args)
        };
        decoded.map_err(|text| undecodable(&text))
    }

    /// The keyword arguments as a struct or a map. Absent arguments read as an empty map.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if they do not have that shape.
    pub fn decode_kwargs<T: DeserializeOwned>(&self) -> Result<T> {
        DECODES.fetch_add(1, Ordering::Relaxed);
        let bytes = self.kwargs.as_deref().map_or(self.codec.empty_map(), |kwargs| kwargs);
        self.codec.value_from_slice(bytes).map_err(|text| undecodable(&text))
    }

    /// As [`Self::transcode`], in place.
    pub(crate) fn change_codec(&mut self, to: CodecId) -> Result<()> {
        if to != self.codec {
            *self = self.transcode(to)?;
        }
        Ok(())
    }

    /// Takes the arguments out of a message that does not need them any more.
    pub(crate) const fn take(&mut self) -> Self {
        std::mem::replace(self, Self::empty(self.codec))
    }

    /// The same arguments in another codec; the same bytes if it is the same codec.
    ///
    /// Between JSON and the binary codecs, bytes travel as text of NUL + base64. What JSON cannot say is bent to it
    /// (keys become text, numbers that are not finite become null), so every payload that a codec has accepted can
    /// be translated.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for bytes that no codec would have accepted.
    pub fn transcode(&self, to: CodecId) -> Result<Self> {
        if to == self.codec || self.is_empty() {
            return Ok(Self {
                codec: to,
                ..self.clone()
            });
        }
        DECODES.fetch_add(1, Ordering::Relaxed);
        let translate = |bytes: &Bytes| -> Result<Bytes> {
            if bytes.is_empty() {
                return Ok(Bytes::new());
            }
            let value: Dynamic = self.codec.value_from_slice(bytes).map_err(|text| undecodable(&text))?;
            let value = match (self.codec, to) {
                (_, CodecId::Json) => value.for_json(),
                (CodecId::Json, CodecId::Msgpack | CodecId::Cbor) => value.from_json(),
                (CodecId::Msgpack | CodecId::Cbor, CodecId::Msgpack | CodecId::Cbor) => value,
            };
            to.value_to_bytes(&value).map_err(unencodable)
        };
        Ok(Self::from_checked(
            to,
            translate(self.args())?,
            translate(self.kwargs())?,
        ))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn unencodable(text: String) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("The arguments cannot be encoded: {text}"),
    )
}

fn undecodable(text: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("The arguments do not have the expected shape: {text}"),
    )
}
