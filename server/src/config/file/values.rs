//! Settings that are more than a number or a text.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, de};

use crate::config::RawAddress;

#[derive(Debug)]
pub(super) struct Address(pub(super) RawAddress);

/// A time that is not negative and not absurd.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Seconds;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number of seconds from 0.001 to 86400")
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> std::result::Result<Seconds, E> {
                match u32::try_from(value) {
                    Ok(whole) => self.visit_f64(f64::from(whole)),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> std::result::Result<Seconds, E> {
                if (0.001..=86_400.0).contains(&value) {
                    Ok(Seconds(Duration::from_secs_f64(value)))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            de::Error::custom(format!(
                "{text:?} is neither tcp:127.0.0.1:PORT nor tls:ADDRESS:PORT nor unix:PATH"
            ))
        };
        match text.split_once(':') {
            Some(("tcp", address)) => address.parse().map(RawAddress::Tcp).map_err(|_| wrong()),
            Some(("tls", address)) => address.parse().map(RawAddress::Tls).map_err(|_| wrong()),
            Some(("unix", path)) if !path.is_empty() => Ok(RawAddress::Unix(path.into())),
            Some(_) | None => Err(wrong()),
        }
        .map(Self)
    }
}
