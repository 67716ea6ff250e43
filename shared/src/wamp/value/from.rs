//! Any deserialisable value out of a [`Dynamic`]: what the codecs have read, after it was bytes.
//!
//! Each type asks for one shape, and only that one is compiled for it; the error for another shape is the same code for
//! all. That is what makes this small where the codecs' own readers are fast.

use std::vec::IntoIter;

use serde::{
    Deserializer,
    de::{
        DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, VariantAccess,
        Visitor, value::Error,
    },
};

use super::Dynamic;

type Result<T> = std::result::Result<T, Error>;

impl Dynamic {
    /// What stands here instead of what was wanted.
    #[cold]
    #[inline(never)]
    fn instead_of(&self, wanted: &'static str) -> Error {
        let found = match self {
            Self::Null => Unexpected::Unit,
            Self::Boolean(value) => Unexpected::Bool(*value),
            Self::Integer(value) => Unexpected::Signed(*value),
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Real(value) => Unexpected::Float(*value),
            Self::Text(text) => Unexpected::Str(text),
            Self::Binary(bytes) => Unexpected::Bytes(bytes),
            Self::List(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
        };
        Error::invalid_type(found, &wanted)
    }
}

/// Numbers that fit into one of our own are asked for in one way.
macro_rules! numbers {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self {
                Self::Integer(value) => match u64::try_from(value) {
                    Ok(value) => visitor.visit_u64(value),
                    Err(_) => visitor.visit_i64(value),
                },
                Self::Unsigned(value) => visitor.visit_u64(value),
                Self::Real(value) => visitor.visit_f64(value),
                other => Err(other.instead_of("a number")),
            }
        }
    )*};
}

macro_rules! texts {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            match self {
                Self::Text(text) => visitor.visit_string(text),
                other => Err(other.instead_of("text")),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Dynamic {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Boolean(value) => visitor.visit_bool(value),
            Self::Integer(value) => match u64::try_from(value) {
                Ok(value) => visitor.visit_u64(value),
                Err(_) => visitor.visit_i64(value),
            },
            Self::Unsigned(value) => visitor.visit_u64(value),
            Self::Real(value) => visitor.visit_f64(value),
            Self::Text(text) => visitor.visit_string(text),
            Self::Binary(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) => visitor.visit_seq(Items(items.into_iter())),
            Self::Map(pairs) => visitor.visit_map(Pairs::new(pairs)),
        }
    }

    numbers!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64);
    texts!(deserialize_char deserialize_str deserialize_string deserialize_identifier);

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Boolean(value) => visitor.visit_bool(value),
            other => Err(other.instead_of("a boolean")),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Binary(bytes) => visitor.visit_byte_buf(bytes),
            Self::List(items) => visitor.visit_seq(Items(items.into_iter())),
            other => Err(other.instead_of("bytes")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Null => visitor.visit_unit(),
            // How MessagePack says it.
            Self::List(items) if items.is_empty() => visitor.visit_unit(),
            other => Err(other.instead_of("nothing")),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::List(items) => visitor.visit_seq(Items(items.into_iter())),
            other => Err(other.instead_of("a list")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(self, _: &'static str, _: usize, visitor: V) -> Result<V::Value> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self {
            Self::Map(pairs) => visitor.visit_map(Pairs::new(pairs)),
            other => Err(other.instead_of("a map")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self {
            Self::Map(pairs) => visitor.visit_map(Pairs::new(pairs)),
            Self::List(items) => visitor.visit_seq(Items(items.into_iter())),
            other => Err(other.instead_of("a map")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        match self {
            Self::Text(name) => visitor.visit_enum(Choice { name, content: None }),
            Self::Map(mut pairs) if pairs.len() == 1 => match pairs.pop() {
                Some((Self::Text(name), content)) => visitor.visit_enum(Choice {
                    name,
                    content: Some(content),
                }),
                Some((other, _)) => Err(other.instead_of("the name of a variant")),
                None => Err(Self::Null.instead_of("a variant")),
            },
            other => Err(other.instead_of("a variant")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_unit()
    }
}

struct Items(IntoIter<Dynamic>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Pairs {
    left: IntoIter<(Dynamic, Dynamic)>,
    value: Dynamic,
}

impl Pairs {
    fn new(pairs: Vec<(Dynamic, Dynamic)>) -> Self {
        Self {
            left: pairs.into_iter(),
            value: Dynamic::Null,
        }
    }
}

impl<'de> MapAccess<'de> for Pairs {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        let Some((key, value)) = self.left.next() else {
            return Ok(None);
        };
        self.value = value;
        seed.deserialize(Key(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value> {
        seed.deserialize(std::mem::take(&mut self.value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// A key of a map: text from JSON may stand for a number.
struct Key(Dynamic);

macro_rules! number_keys {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
            self.number().$name(visitor)
        }
    )*};
}

impl Key {
    fn number(self) -> Dynamic {
        match self.0 {
            Dynamic::Text(text) => match (text.parse(), text.parse()) {
                (Ok(number), _) => Dynamic::Integer(number),
                (Err(_), Ok(number)) => Dynamic::Unsigned(number),
                (Err(_), Err(_)) => Dynamic::Text(text),
            },
            other => other,
        }
    }
}

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    number_keys!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
        deserialize_u32 deserialize_u64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_identifier(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        self.0.deserialize_option(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map struct ignored_any
    }
}

/// A variant of an enum: its name alone, or with what it holds.
struct Choice {
    name: String,
    content: Option<Dynamic>,
}

impl<'de> EnumAccess<'de> for Choice {
    type Error = Error;
    type Variant = Content;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Content)> {
        let variant = seed.deserialize(self.name.into_deserializer())?;
        Ok((variant, Content(self.content)))
    }
}

struct Content(Option<Dynamic>);

impl Content {
    fn required(self) -> Result<Dynamic> {
        self.0.ok_or_else(|| Error::custom("the variant lacks its content"))
    }
}

impl<'de> VariantAccess<'de> for Content {
    type Error = Error;

    fn unit_variant(self) -> Result<()> {
        match self.0 {
            None | Some(Dynamic::Null) => Ok(()),
            Some(other) => Err(other.instead_of("a variant without content")),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value> {
        seed.deserialize(self.required()?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value> {
        self.required()?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value> {
        self.required()?.deserialize_struct("", fields, visitor)
    }
}
