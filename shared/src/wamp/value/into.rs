//! Any serialisable value as a [`Dynamic`]: what the codecs would write, before it is bytes.

use serde::{
    Serialize, Serializer,
    de::value::Error,
    ser::{
        Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

use super::Dynamic;

/// Structs become maps, and types take their human readable forms, as in all our codecs.
pub(super) struct Builder;

/// A list that grows; as the content of an enum's variant, if it has the name of one.
pub(super) struct ListBuilder {
    items: Vec<Dynamic>,
    variant: Option<&'static str>,
}

/// Pairs that grow; as the content of an enum's variant, if they have the name of one.
pub(super) struct MapBuilder {
    pairs: Vec<(Dynamic, Dynamic)>,
    key: Dynamic,
    variant: Option<&'static str>,
}

fn list(length: usize, variant: Option<&'static str>) -> ListBuilder {
    ListBuilder {
        items: Vec::with_capacity(length),
        variant,
    }
}

fn map(length: usize, variant: Option<&'static str>) -> MapBuilder {
    MapBuilder {
        pairs: Vec::with_capacity(length),
        key: Dynamic::Null,
        variant,
    }
}

fn tagged(variant: Option<&'static str>, content: Dynamic) -> Dynamic {
    match variant {
        Some(name) => Dynamic::Map(vec![(name.into(), content)]),
        None => content,
    }
}

impl ListBuilder {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.items.push(value.serialize(Builder)?);
        Ok(())
    }

    fn built(self) -> Dynamic {
        tagged(self.variant, Dynamic::List(self.items))
    }
}

impl MapBuilder {
    fn push<T: Serialize + ?Sized>(&mut self, key: Dynamic, value: &T) -> Result<(), Error> {
        self.pairs.push((key, value.serialize(Builder)?));
        Ok(())
    }

    fn built(self) -> Dynamic {
        tagged(self.variant, Dynamic::Map(self.pairs))
    }
}

impl Serializer for Builder {
    type Ok = Dynamic;
    type Error = Error;
    type SerializeSeq = ListBuilder;
    type SerializeTuple = ListBuilder;
    type SerializeTupleStruct = ListBuilder;
    type SerializeTupleVariant = ListBuilder;
    type SerializeMap = MapBuilder;
    type SerializeStruct = MapBuilder;
    type SerializeStructVariant = MapBuilder;

    fn serialize_bool(self, value: bool) -> Result<Dynamic, Error> {
        Ok(Dynamic::Boolean(value))
    }
    fn serialize_i8(self, value: i8) -> Result<Dynamic, Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i16(self, value: i16) -> Result<Dynamic, Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i32(self, value: i32) -> Result<Dynamic, Error> {
        self.serialize_i64(value.into())
    }
    fn serialize_i64(self, value: i64) -> Result<Dynamic, Error> {
        Ok(Dynamic::Integer(value))
    }
    fn serialize_u8(self, value: u8) -> Result<Dynamic, Error> {
        self.serialize_u64(value.into())
    }
    fn serialize_u16(self, value: u16) -> Result<Dynamic, Error> {
        self.serialize_u64(value.into())
    }
    fn serialize_u32(self, value: u32) -> Result<Dynamic, Error> {
        self.serialize_u64(value.into())
    }
    fn serialize_u64(self, value: u64) -> Result<Dynamic, Error> {
        Ok(i64::try_from(value).map_or(Dynamic::Unsigned(value), Dynamic::Integer))
    }
    fn serialize_f32(self, value: f32) -> Result<Dynamic, Error> {
        self.serialize_f64(value.into())
    }
    fn serialize_f64(self, value: f64) -> Result<Dynamic, Error> {
        Ok(Dynamic::Real(value))
    }
    fn serialize_char(self, value: char) -> Result<Dynamic, Error> {
        Ok(Dynamic::Text(value.to_string()))
    }
    fn serialize_str(self, value: &str) -> Result<Dynamic, Error> {
        Ok(value.into())
    }
    fn serialize_bytes(self, value: &[u8]) -> Result<Dynamic, Error> {
        Ok(Dynamic::Binary(value.to_vec()))
    }
    fn serialize_none(self) -> Result<Dynamic, Error> {
        Ok(Dynamic::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Dynamic, Error> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Dynamic, Error> {
        Ok(Dynamic::Null)
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<Dynamic, Error> {
        Ok(Dynamic::Null)
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Dynamic, Error> {
        Ok(variant.into())
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Dynamic, Error> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Dynamic, Error> {
        Ok(tagged(Some(variant), value.serialize(self)?))
    }
    fn serialize_seq(self, length: Option<usize>) -> Result<ListBuilder, Error> {
        Ok(list(length.unwrap_or(0), None))
    }
    fn serialize_tuple(self, length: usize) -> Result<ListBuilder, Error> {
        Ok(list(length, None))
    }
    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<ListBuilder, Error> {
        Ok(list(length, None))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<ListBuilder, Error> {
        Ok(list(length, Some(variant)))
    }
    fn serialize_map(self, length: Option<usize>) -> Result<MapBuilder, Error> {
        Ok(map(length.unwrap_or(0), None))
    }
    fn serialize_struct(self, _: &'static str, length: usize) -> Result<MapBuilder, Error> {
        Ok(map(length, None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<MapBuilder, Error> {
        Ok(map(length, Some(variant)))
    }
    fn serialize_i128(self, _: i128) -> Result<Dynamic, Error> {
        Err(Error::custom("numbers have 64 bits at most"))
    }
    fn serialize_u128(self, _: u128) -> Result<Dynamic, Error> {
        Err(Error::custom("numbers have 64 bits at most"))
    }
}

/// The builders differ in name only: one method adds, one ends.
macro_rules! builds {
    ($builder:ty: $($kind:ident $add:ident),*) => {$(
        impl $kind for $builder {
            type Ok = Dynamic;
            type Error = Error;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.push(value)
            }
            fn end(self) -> Result<Dynamic, Error> {
                Ok(self.built())
            }
        }
    )*};
    (fields $builder:ty: $($kind:ident),*) => {$(
        impl $kind for $builder {
            type Ok = Dynamic;
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.push(name.into(), value)
            }
            fn end(self) -> Result<Dynamic, Error> {
                Ok(self.built())
            }
        }
    )*};
}

builds!(ListBuilder: SerializeSeq serialize_element, SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field, SerializeTupleVariant serialize_field);
builds!(fields MapBuilder: SerializeStruct, SerializeStructVariant);

impl SerializeMap for MapBuilder {
    type Ok = Dynamic;
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.key = key.serialize(Builder)?;
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        let key = std::mem::take(&mut self.key);
        self.push(key, value)
    }
    fn end(self) -> Result<Dynamic, Error> {
        Ok(self.built())
    }
}
