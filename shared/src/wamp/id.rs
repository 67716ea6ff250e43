//! The id types of WAMP: integers from 1 to 2^53, one type per scope so that they cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The largest id that WAMP allows: 2^53, inclusive.
pub const MAX_ID: u64 = 1 << 53;

/// The integer of an id, checked: 0, negative numbers, fractions and numbers beyond 2^53 are refused.
struct Checked(u64);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Checked;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an integer from 1 to 2^53")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Checked, E> {
                match number {
                    1..=MAX_ID => Ok(Checked(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Checked, E> {
                u64::try_from(number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
                    .and_then(|number| self.visit_u64(number))
            }
        }
        deserializer.deserialize_u64(Visitor)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// The id with this number, if it is from 1 to 2^53.
            #[must_use]
            pub const fn new(number: u64) -> Option<Self> {
                if number >= 1 && number <= MAX_ID { Some(Self(number)) } else { None }
            }

            /// The number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The number, forced into the allowed range. For generators that stay in range by construction.
            pub(crate) const fn wrapped(number: u64) -> Self {
                Self(((number.wrapping_sub(1)) & (MAX_ID - 1)) + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{}({})", stringify!($name), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Checked::deserialize(deserializer).map(|checked| Self(checked.0))
            }
        }
    };
}

id! {
    /// A WAMP session; global scope, drawn at random by the router.
    SessionId
}
id! {
    /// A request of one session: 1, 2, 3… per direction.
    RequestId
}
id! {
    /// A procedure registered at the dealer; router scope.
    RegistrationId
}
id! {
    /// A topic or pattern subscribed to at the broker; router scope.
    SubscriptionId
}
id! {
    /// One publication; global scope, drawn at random by the router.
    PublicationId
}

/// A small seeded generator (splitmix64) for ids that need not be secret, so that a seed replays a run.
#[derive(Clone, Debug)]
pub struct IdGenerator(u64);

impl IdGenerator {
    /// The generator that starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to 2^64 - 1.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 1 to 2^53 - 1: JavaScript's largest exact integer is one below WAMP's limit.
    pub const fn next_id(&mut self) -> u64 {
        let number = self.next() >> 11;
        if number == 0 { 1 } else { number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_from_1_to_2_to_the_53_are_ids() {
        for good in ["1", "9007199254740992"] {
            assert!(serde_json::from_str::<SessionId>(good).is_ok(), "{good}");
        }
        for bad in [
            "0",
            "-1",
            "1.0",
            "1.5",
            "9007199254740993",
            "18446744073709551616",
            "\"1\"",
            "null",
            "true",
        ] {
            assert!(serde_json::from_str::<SessionId>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn request_numbers_wrap_after_2_to_the_53() {
        assert_eq!(RequestId::wrapped(MAX_ID).get(), MAX_ID);
        assert_eq!(RequestId::wrapped(MAX_ID + 1).get(), 1);
        assert_eq!(RequestId::wrapped(1).get(), 1);
    }

    #[test]
    fn a_seed_replays_its_ids() {
        let draw = |seed| {
            let mut generator = IdGenerator::new(seed);
            (0..100).map(|_| generator.next_id()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(draw(7).iter().all(|number| (1..MAX_ID).contains(number)));
    }
}
