//! A value of any shape, for dynamic calls, for open-ended details and for translating payloads between codecs.

mod from;
mod into;

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, SeqAccess},
    ser::{SerializeMap, SerializeSeq},
};

/// Anything that a payload can hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Dynamic {
    /// Nothing.
    #[default]
    Null,
    /// Yes or no.
    Boolean(bool),
    /// A whole number that fits `i64`.
    Integer(i64),
    /// A whole number beyond `i64`.
    Unsigned(u64),
    /// Any other number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes. In JSON they travel as text: NUL, then base64.
    Binary(Vec<u8>),
    /// A sequence.
    List(Vec<Dynamic>),
    /// Pairs in the order of the wire.
    Map(Vec<(Dynamic, Dynamic)>),
}

impl Dynamic {
    /// A value as the codecs would write it.
    ///
    /// # Errors
    /// A sentence, if the value does not serialise.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        value.serialize(into::Builder).map_err(|error| error.to_string())
    }

    /// What the codecs would read here.
    ///
    /// # Errors
    /// A sentence, if this has another shape.
    pub fn read<T: de::DeserializeOwned>(self) -> Result<T, String> {
        T::deserialize(self).map_err(|error| error.to_string())
    }

    /// The member of a map with this text key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => pairs
                .iter()
                .find(|(name, _)| name.as_str() == Some(key))
                .map(|(_, value)| value),
            Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Real(_)
            | Self::Text(_)
            | Self::Binary(_)
            | Self::List(_) => None,
        }
    }

    /// The text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The whole number, if it is one that fits.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        if let Self::Integer(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    /// The same value as JSON can say it: bytes become NUL + base64 text, keys become text, numbers that are not
    /// finite become null. The text of a key that is a list or a map is its JSON, maps in it as lists of pairs.
    #[must_use]
    pub fn for_json(self) -> Self {
        match self {
            Self::Binary(bytes) => Self::Text(binary_text(&bytes)),
            Self::Real(number) if !number.is_finite() => Self::Null,
            Self::List(items) => Self::List(items.into_iter().map(Self::for_json).collect()),
            Self::Map(pairs) => Self::Map(
                pairs
                    .into_iter()
                    .map(|(key, value)| (Self::Text(key.key_text()), value.for_json()))
                    .collect(),
            ),
            same @ (Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Real(_)
            | Self::Text(_)) => same,
        }
    }

    /// The inverse of [`Dynamic::for_json`] where that is possible: text of NUL + base64 becomes bytes.
    #[must_use]
    pub fn from_json(self) -> Self {
        match self {
            Self::Text(text) => match binary_of_text(&text) {
                Some(bytes) => Self::Binary(bytes),
                None => Self::Text(text),
            },
            Self::List(items) => Self::List(items.into_iter().map(Self::from_json).collect()),
            Self::Map(pairs) => Self::Map(pairs.into_iter().map(|(key, value)| (key, value.from_json())).collect()),
            same @ (Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Real(_)
            | Self::Binary(_)) => same,
        }
    }

    /// A map key as JSON has to say it.
    fn key_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Null => "null".to_owned(),
            Self::Boolean(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Unsigned(value) => value.to_string(),
            // With an exponent: written out, the largest and smallest take hundreds of digits.
            Self::Real(value) => format!("{value:?}"),
            Self::Binary(bytes) => binary_text(&bytes),
            Self::List(_) | Self::Map(_) => serde_json::to_string(&self.in_key().for_json()).unwrap_or_default(),
        }
    }

    /// Maps within a key become lists of pairs. As maps their own keys would have to be text within text, and each
    /// level would double the escapes of all levels below: 30 levels would make gigabytes of 100 bytes.
    fn in_key(self) -> Self {
        match self {
            Self::List(items) => Self::List(items.into_iter().map(Self::in_key).collect()),
            Self::Map(pairs) => {
                let pair = |(key, value): (Self, Self)| Self::List(vec![key.in_key(), value.in_key()]);
                Self::List(pairs.into_iter().map(pair).collect())
            }
            same @ (Self::Null
            | Self::Boolean(_)
            | Self::Integer(_)
            | Self::Unsigned(_)
            | Self::Real(_)
            | Self::Text(_)
            | Self::Binary(_)) => same,
        }
    }
}

/// Bytes as WAMP puts them in JSON: a NUL character, then base64.
fn binary_text(bytes: &[u8]) -> String {
    use base64::Engine;
    let mut text = String::from("\0");
    base64::engine::general_purpose::STANDARD.encode_string(bytes, &mut text);
    text
}

fn binary_of_text(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    text.strip_prefix('\0')
        .and_then(|rest| base64::engine::general_purpose::STANDARD.decode(rest).ok())
}

impl From<&str> for Dynamic {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Dynamic {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Dynamic {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Dynamic {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<f64> for Dynamic {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl Serialize for Dynamic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Binary(value) => serializer.serialize_bytes(value),
            Self::List(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    sequence.serialize_element(item)?;
                }
                sequence.end()
            }
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, value) in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Dynamic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

/// The most elements that are reserved on the word of a length field alone.
const TRUSTED_LENGTH: usize = 64;

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Dynamic;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Null)
    }
    fn visit_none<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        Dynamic::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Dynamic, E> {
        Ok(Dynamic::Boolean(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Dynamic, E> {
        Ok(Dynamic::Integer(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or(Dynamic::Unsigned(value), Dynamic::Integer))
    }
    /// Numbers beyond 64 bits, which CBOR has, are read as near as an `f64` gets.
    #[expect(clippy::cast_precision_loss, reason = "what fits into 64 bits is kept as it is")]
    fn visit_i128<E>(self, value: i128) -> Result<Dynamic, E> {
        Ok(i64::try_from(value).map_or(Dynamic::Real(value as f64), Dynamic::Integer))
    }
    #[expect(clippy::cast_precision_loss, reason = "what fits into 64 bits is kept as it is")]
    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Dynamic, E> {
        u64::try_from(value).map_or(Ok(Dynamic::Real(value as f64)), |value| self.visit_u64(value))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Dynamic, E> {
        Ok(Dynamic::Real(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Dynamic, E> {
        Ok(Dynamic::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Dynamic, E> {
        Ok(Dynamic::Text(value))
    }
    fn visit_bytes<E>(self, value: &[u8]) -> Result<Dynamic, E> {
        Ok(Dynamic::Binary(value.to_vec()))
    }
    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Dynamic, E> {
        Ok(Dynamic::Binary(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Dynamic, A::Error> {
        let mut items = Vec::with_capacity(access.size_hint().unwrap_or(0).min(TRUSTED_LENGTH));
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Dynamic::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Dynamic, A::Error> {
        let mut pairs = Vec::with_capacity(access.size_hint().unwrap_or(0).min(TRUSTED_LENGTH));
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Dynamic::Map(pairs))
    }
    /// Extension types of msgpack and tags of CBOR: what is inside counts.
    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        Dynamic::deserialize(deserializer)
    }
    fn visit_enum<A: de::EnumAccess<'de>>(self, access: A) -> Result<Dynamic, A::Error> {
        use de::VariantAccess;
        // Reached for CBOR tags only: (tag, content).
        let (_, variant) = access.variant::<Dynamic>()?;
        let Tagged(content) = variant.tuple_variant(1, TaggedVisitor)?;
        Ok(content)
    }
}

struct Tagged(Dynamic);
struct TaggedVisitor;

impl<'de> de::Visitor<'de> for TaggedVisitor {
    type Value = Tagged;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tagged value")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Tagged, A::Error> {
        let mut last = Dynamic::Null;
        while let Some(item) = access.next_element()? {
            last = item;
        }
        Ok(Tagged(last))
    }
}
