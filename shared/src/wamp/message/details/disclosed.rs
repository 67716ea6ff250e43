//! Who is behind a message, as the router tells others: encoded once for all messages of a session.

use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use serde::{de::MapAccess, ser::SerializeMap};

use super::passthru::{Rest, named};
use crate::wamp::{
    codec::{CodecId, FrameWriter},
    id::SessionId,
    uri::Name,
};

const SESSION: &str = "caller";
const AUTHID: &str = "caller_authid";
const AUTHROLE: &str = "caller_authrole";

/// Session, user and role of a caller. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Disclosed(Option<Arc<Known>>);

#[derive(Debug, Default)]
struct Known {
    session: Option<SessionId>,
    authid: Option<Name>,
    authrole: Option<Name>,
    /// The keys and values as they stand in a map, by codec.
    encoded: [OnceLock<Box<[u8]>>; CodecId::ALL.len()],
}

impl Disclosed {
    /// This caller; nothing at all is nobody.
    #[must_use]
    pub fn new(session: Option<SessionId>, authid: Option<Name>, authrole: Option<Name>) -> Self {
        if session.is_none() && authid.is_none() && authrole.is_none() {
            return Self(None);
        }
        Self(Some(Arc::new(Known {
            session,
            authid,
            authrole,
            ..Known::default()
        })))
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.0.as_ref()?.session
    }

    /// The user.
    #[must_use]
    pub fn authid(&self) -> Option<&str> {
        self.0.as_ref()?.authid.as_deref()
    }

    /// The role.
    #[must_use]
    pub fn authrole(&self) -> Option<&str> {
        self.0.as_ref()?.authrole.as_deref()
    }
}

impl PartialEq for Disclosed {
    fn eq(&self, other: &Self) -> bool {
        let keys = |one: &Self| {
            (
                one.session(),
                one.authid().map(str::to_owned),
                one.authrole().map(str::to_owned),
            )
        };
        keys(self) == keys(other)
    }
}

impl Known {
    fn encode(&self, codec: CodecId) -> Box<[u8]> {
        let mut buffer = BytesMut::new();
        let mut writer = FrameWriter::members(codec, &mut buffer);
        if let Some(session) = self.session {
            writer.key(SESSION);
            writer.write_number(session.get());
        }
        for (key, name) in [(AUTHID, &self.authid), (AUTHROLE, &self.authrole)] {
            if let Some(name) = name {
                writer.key(key);
                writer.write_text(name);
            }
        }
        buffer.as_ref().into()
    }
}

impl Rest for Disclosed {
    fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |known| {
            u32::from(known.session.is_some()) + u32::from(known.authid.is_some()) + u32::from(known.authrole.is_some())
        })
    }

    fn write(&self, writer: &mut FrameWriter<'_>) {
        let Some(known) = &self.0 else { return };
        match known.encoded.get(writer.codec() as usize) {
            Some(encoded) => writer.encoded(encoded.get_or_init(|| known.encode(writer.codec()))),
            None => writer.encoded(&known.encode(writer.codec())),
        }
    }

    fn serialize<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let Some(known) = &self.0 else { return Ok(()) };
        if let Some(session) = &known.session {
            map.serialize_entry(SESSION, session)?;
        }
        for (key, name) in [(AUTHID, &known.authid), (AUTHROLE, &known.authrole)] {
            if let Some(name) = name {
                map.serialize_entry(key, name)?;
            }
        }
        Ok(())
    }

    fn read<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<bool, A::Error> {
        if !matches!(key, SESSION | AUTHID | AUTHROLE) {
            return Ok(false);
        }
        let known = Arc::get_mut(self.0.get_or_insert_default());
        let mut absent = Known::default();
        // While it is read, nobody else has it.
        let known = known.unwrap_or(&mut absent);
        let wrong = |error: A::Error| named(key, &error);
        match key {
            SESSION => known.session = map.next_value().map_err(wrong)?,
            AUTHID => known.authid = map.next_value().map_err(wrong)?,
            _ => known.authrole = map.next_value().map_err(wrong)?,
        }
        Ok(true)
    }
}
