//! Keys that pass from the sender's options to the receiver's details, and how keys beside a struct's fields are read and written.

use serde::{
    de::{self, MapAccess},
    ser::SerializeMap,
};

use crate::wamp::codec::FrameWriter;

/// Keys of the payload pass-through extensions, and one of our own, forwarded from the sender's options to the receiver's details.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passthru(Option<Box<PassthruKeys>>);

/// The keys in a [`Passthru`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassthruKeys {
    /// `ppt_scheme`
    pub ppt_scheme: Option<String>,
    /// `ppt_serializer`
    pub ppt_serializer: Option<String>,
    /// `ppt_cipher`
    pub ppt_cipher: Option<String>,
    /// `ppt_keyid`
    pub ppt_keyid: Option<String>,
    /// `enc_algo`, of Autobahn's older payload transparency
    pub enc_algo: Option<String>,
    /// `enc_key`
    pub enc_key: Option<String>,
    /// `enc_serializer`
    pub enc_serializer: Option<String>,
    /// `transaction_hash`
    pub transaction_hash: Option<String>,
    /// `_mark`, ours: the name of an event, by which a listener knows it again
    pub mark: Option<String>,
}

impl Passthru {
    /// The keys, if any is there.
    #[must_use]
    pub fn keys(&self) -> Option<&PassthruKeys> {
        self.0.as_deref()
    }

    /// With these keys.
    #[must_use]
    pub fn new(keys: PassthruKeys) -> Self {
        if keys == PassthruKeys::default() {
            Self(None)
        } else {
            Self(Some(Box::new(keys)))
        }
    }

    fn entries(&self) -> impl Iterator<Item = (&'static str, &String)> {
        self.0.iter().flat_map(|keys| {
            [
                ("ppt_scheme", &keys.ppt_scheme),
                ("ppt_serializer", &keys.ppt_serializer),
                ("ppt_cipher", &keys.ppt_cipher),
                ("ppt_keyid", &keys.ppt_keyid),
                ("enc_algo", &keys.enc_algo),
                ("enc_key", &keys.enc_key),
                ("enc_serializer", &keys.enc_serializer),
                ("transaction_hash", &keys.transaction_hash),
                ("_mark", &keys.mark),
            ]
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
        })
    }
}

/// Keys that are not fields of a details struct.
pub(super) trait Rest: Default {
    fn count(&self) -> u32;
    fn write(&self, writer: &mut FrameWriter<'_>);
    fn serialize<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
    /// Takes the value of `key` if it is one of these; whether it is.
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error>;
}

impl Rest for Passthru {
    fn count(&self) -> u32 {
        // Nine at most.
        self.entries().map(|_| 1).sum()
    }
    fn write(&self, writer: &mut FrameWriter<'_>) {
        for (name, value) in self.entries() {
            writer.key(name);
            writer.write_text(value);
        }
    }
    fn serialize<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        self.entries()
            .try_for_each(|(name, value)| map.serialize_entry(name, value))
    }
    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        let known = matches!(
            key,
            "ppt_scheme"
                | "ppt_serializer"
                | "ppt_cipher"
                | "ppt_keyid"
                | "enc_algo"
                | "enc_key"
                | "enc_serializer"
                | "transaction_hash"
                | "_mark"
        );
        if !known {
            return Ok(false);
        }
        let value: Option<String> = map.next_value().map_err(|error| named(key, &error))?;
        let Some(value) = value else { return Ok(true) };
        let keys = self.0.get_or_insert_default();
        let slot = match key {
            "ppt_scheme" => &mut keys.ppt_scheme,
            "ppt_serializer" => &mut keys.ppt_serializer,
            "ppt_cipher" => &mut keys.ppt_cipher,
            "ppt_keyid" => &mut keys.ppt_keyid,
            "enc_key" => &mut keys.enc_key,
            "enc_serializer" => &mut keys.enc_serializer,
            "transaction_hash" => &mut keys.transaction_hash,
            "_mark" => &mut keys.mark,
            _ if matches!(&*value, "cryptobox" | "mqtt" | "xbr") || value.starts_with("x_") => &mut keys.enc_algo,
            _ => return Err(de::Error::custom(format_args!("enc_algo: unknown algorithm '{value}'"))),
        };
        *slot = Some(value);
        Ok(true)
    }
}

/// An error that says which key was wrong.
pub(super) fn named<E: de::Error>(key: &str, error: &E) -> E {
    E::custom(format_args!("{key}: {error}"))
}
