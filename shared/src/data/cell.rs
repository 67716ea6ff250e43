//! One value of one field, and the key of one row, with an encoding that loses nothing in JSON or MessagePack.

use std::{fmt, str::FromStr};

use chrono::NaiveDate;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
    ser::SerializeMap,
};

/// The largest integer that a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// One value of one field.
///
/// On the wire: null, boolean, text and numbers as they are; a date as `{"date": "2026-01-31"}`; an integer beyond
/// 2^53 as `{"integer": "9007199254740993"}`, because a JavaScript peer would round it.
#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]
pub enum Cell {
    /// No value.
    #[default]
    Null,
    /// A truth value.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number; not-a-number and infinities travel as null.
    Real(f64),
    /// A calendar day.
    Date(NaiveDate),
    /// Text.
    Text(String),
}

impl Cell {
    /// Whether there is no value.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Null | Self::Boolean(_) | Self::Real(_) | Self::Date(_) | Self::Text(_) => None,
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(value) => Some(value),
            Self::Null | Self::Boolean(_) | Self::Real(_) | Self::Date(_) | Self::Integer(_) => None,
        }
    }

    /// The day, if it is one.
    #[must_use]
    pub fn as_date(&self) -> Option<NaiveDate> {
        match self {
            Self::Date(value) => Some(*value),
            Self::Null | Self::Boolean(_) | Self::Real(_) | Self::Text(_) | Self::Integer(_) => None,
        }
    }

    /// About how many bytes this takes in a frame; an estimate for limits, not an exact length.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Text(value) => value.len() + 3,
            Self::Null | Self::Boolean(_) => 5,
            Self::Integer(_) | Self::Real(_) => 12,
            Self::Date(_) => 22,
        }
    }
}

/// The value for people: a null is empty, a date is ISO 8601.
impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Boolean(value) => value.fmt(formatter),
            Self::Integer(value) => value.fmt(formatter),
            Self::Real(value) => value.fmt(formatter),
            Self::Date(value) => value.fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
        }
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}
impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}
impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
impl From<NaiveDate> for Cell {
    fn from(value: NaiveDate) -> Self {
        Self::Date(value)
    }
}
impl From<&str> for Cell {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}
impl From<String> for Cell {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}
impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Integer(value) if value.unsigned_abs() > MAX_SAFE_INTEGER => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("integer", &value.to_string())?;
                map.end()
            }
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Real(value) if !value.is_finite() => serializer.serialize_unit(),
            Self::Real(value) => serializer.serialize_f64(*value),
            Self::Date(value) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("date", &value.to_string())?;
                map.end()
            }
            Self::Text(value) => serializer.serialize_str(value),
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CellVisitor)
    }
}

struct CellVisitor;

impl<'de> Visitor<'de> for CellVisitor {
    type Value = Cell;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("null, a boolean, a number, text, {\"date\": text} or {\"integer\": text}")
    }
    fn visit_unit<E: de::Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }
    fn visit_none<E: de::Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cell, D::Error> {
        deserializer.deserialize_any(self)
    }
    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Boolean(value))
    }
    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Integer(value))
    }
    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell, E> {
        i64::try_from(value)
            .map(Cell::Integer)
            .map_err(|_| E::custom("an integer beyond 64 bits"))
    }
    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Real(value))
    }
    fn visit_str<E: de::Error>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }
    fn visit_string<E: de::Error>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::Text(value))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cell, A::Error> {
        let Some((tag, text)) = map.next_entry::<String, String>()? else {
            return Err(de::Error::custom("an empty map is no value"));
        };
        let cell = match tag.as_str() {
            "date" => NaiveDate::from_str(&text).map(Cell::Date).map_err(de::Error::custom)?,
            "integer" => i64::from_str(&text).map(Cell::Integer).map_err(de::Error::custom)?,
            other => return Err(de::Error::unknown_field(other, &["date", "integer"])),
        };
        if map.next_key::<String>()?.is_some() {
            return Err(de::Error::custom("a value has one tag"));
        }
        Ok(cell)
    }
}

/// The primary key of a row. Encoded like the [`Cell`] of the same content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKey {
    /// A numbered row.
    Integer(i64),
    /// A row with a textual key, such as a UUID.
    Text(String),
}

impl RowKey {
    /// The key as the value of the key field.
    #[must_use]
    pub fn to_cell(&self) -> Cell {
        match self {
            Self::Integer(value) => Cell::Integer(*value),
            Self::Text(value) => Cell::Text(value.clone()),
        }
    }

    /// The key that a value of the key field stands for; `None` for kinds of value that are no keys.
    #[must_use]
    pub fn from_cell(cell: &Cell) -> Option<Self> {
        match cell {
            Cell::Integer(value) => Some(Self::Integer(*value)),
            Cell::Text(value) => Some(Self::Text(value.clone())),
            Cell::Null | Cell::Boolean(_) | Cell::Real(_) | Cell::Date(_) => None,
        }
    }
}

impl From<i64> for RowKey {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}
impl From<&str> for RowKey {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl fmt::Display for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(formatter),
            Self::Text(value) => value.fmt(formatter),
        }
    }
}

impl Serialize for RowKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_cell().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RowKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cell = Cell::deserialize(deserializer)?;
        Self::from_cell(&cell).ok_or_else(|| de::Error::custom("a row key is an integer or text"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells() -> impl Strategy<Value = Cell> {
        prop_oneof![
            Just(Cell::Null),
            any::<bool>().prop_map(Cell::Boolean),
            any::<i64>().prop_map(Cell::Integer),
            (-1e9..1e9_f64).prop_map(Cell::Real),
            (0..100_000_i32).prop_map(|day| Cell::Date(NaiveDate::from_num_days_from_ce_opt(700_000 + day).unwrap())),
            ".{0,20}".prop_map(Cell::Text),
        ]
    }

    proptest! {
        #[test]
        fn every_cell_survives_json_and_messagepack(cell in cells()) {
            let json = serde_json::to_string(&cell).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Cell>(&json).unwrap(), &cell);
            let packed = rmp_serde::to_vec_named(&cell).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Cell>(&packed).unwrap(), &cell);
        }
    }

    #[test]
    fn integers_beyond_two_to_the_53_travel_as_text() {
        assert_eq!(
            serde_json::to_string(&Cell::Integer(i64::MAX)).unwrap(),
            r#"{"integer":"9223372036854775807"}"#
        );
        assert_eq!(serde_json::to_string(&RowKey::Integer(7)).unwrap(), "7");
        assert!(serde_json::from_str::<Cell>("18446744073709551615").is_err());
        assert!(serde_json::from_str::<Cell>(r#"{"date":"2026-02-30"}"#).is_err());
        assert!(serde_json::from_str::<Cell>(r#"{"date":"2026-02-20","integer":"1"}"#).is_err());
        assert!(serde_json::from_str::<RowKey>("1.5").is_err());
    }
}
