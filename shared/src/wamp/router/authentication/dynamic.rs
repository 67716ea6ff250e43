//! The authenticator: a procedure of some component that says who may join and what that has to be proven with.
//!
//! It is called with the realm, the wanted authid (or null) and details: `session`, `authmethod`, `authrole` and
//! `authextra` as the client said them, and `ticket` for tickets. It answers a role, or a map with `role` and, where
//! wanted, `authid` and `extra` (for `WELCOME.Details.authextra`); beside them what the method needs: `secret`, `salt`,
//! `iterations`, `keylen` (wampcra), `pubkey` (cryptosign), `kdf`, `salt`, `iterations`, `memory`, `stored-key`,
//! `server-key` (scram). Whatever else happens, the login is denied.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;

use crate::wamp::{
    codec::CodecId,
    id::SessionId,
    message::{Extra, HelloDetails},
    payload::Payload,
    uri::Uri,
    value::Dynamic,
};

use super::{Kdf, Salt, ScramCredential, SharedSecret, secrets};

/// A procedure that says who may join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// What is called.
    pub procedure: Uri,
    /// The role whose sessions may offer it, beside our own trees.
    pub role: String,
    /// For which methods, beside those who have a login here.
    pub methods: BTreeSet<String>,
    /// How long it may take.
    pub timeout: Duration,
}

/// What the authenticator is asked about.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::wamp::router) struct Question {
    pub(super) method: String,
    pub(super) ticket: Option<String>,
}

#[derive(Serialize)]
struct Details<'a> {
    session: SessionId,
    authmethod: &'a str,
    authrole: Option<&'a str>,
    authextra: Option<&'a Extra>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<&'a str>,
}

impl Question {
    /// The arguments of the call.
    pub(in crate::wamp::router) fn arguments(
        &self,
        codec: CodecId,
        realm: &Uri,
        session: SessionId,
        hello: &HelloDetails,
    ) -> Payload {
        let details = Details {
            session,
            authmethod: &self.method,
            authrole: hello.authrole.as_deref(),
            authextra: hello.authextra.as_ref(),
            ticket: self.ticket.as_deref(),
        };
        Payload::encode(codec, &(realm, &hello.authid, details)).unwrap_or_else(|_| Payload::empty(codec))
    }
}

/// What the authenticator has answered.
pub(super) struct Answer {
    pub(super) role: String,
    pub(super) authid: Option<String>,
    pub(super) extra: Option<Extra>,
    rest: Dynamic,
}

impl Answer {
    /// None for what is no answer, or one about another realm.
    pub(super) fn read(payload: &Payload, realm: &Uri) -> Option<Self> {
        let rest = payload.decode_args::<Vec<Dynamic>>().ok()?.into_iter().next()?;
        if let Dynamic::Text(role) = rest {
            return Some(Self {
                role,
                authid: None,
                extra: None,
                rest: Dynamic::Null,
            });
        }
        let text = |name: &str| match rest.get(name) {
            None | Some(Dynamic::Null) => Some(None),
            Some(Dynamic::Text(text)) => Some(Some(text.clone())),
            Some(_) => None,
        };
        let extra = match rest.get("extra") {
            None | Some(Dynamic::Null) => None,
            Some(Dynamic::Map(pairs)) => Some(
                pairs
                    .iter()
                    .filter_map(|(name, value)| Some((name.as_str()?.to_owned(), value.clone())))
                    .collect(),
            ),
            Some(_) => return None,
        };
        if text("realm")?.is_some_and(|other| other != realm.as_str()) {
            return None;
        }
        Some(Self {
            role: text("role")??,
            authid: text("authid")?.filter(|authid| !authid.is_empty()),
            extra,
            rest,
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.rest.get(name).and_then(Dynamic::as_str)
    }

    /// A number that may be left out.
    fn number(&self, name: &str, default: u32) -> Option<u32> {
        match self.rest.get(name) {
            None | Some(Dynamic::Null) => Some(default),
            Some(value) => u32::try_from(value.as_integer()?).ok(),
        }
    }

    /// For `wampcra`: with a salt the secret is the derived key.
    pub(super) fn shared_secret(&self) -> Option<SharedSecret> {
        let secret = self.text("secret").filter(|secret| !secret.is_empty())?;
        let Some(salt) = self.text("salt") else {
            return Some(SharedSecret::plain(secret));
        };
        let usual = Salt::new(salt);
        let salt = Salt {
            iterations: self.number("iterations", usual.iterations)?,
            key_length: usize::try_from(self.number("keylen", 32)?).ok()?,
            ..usual
        };
        Some(SharedSecret::derived(secret, salt))
    }

    /// For `cryptosign`.
    pub(super) fn public_key(&self) -> Option<[u8; 32]> {
        self.text("pubkey").and_then(secrets::from_hex)
    }

    /// For `scram`.
    pub(super) fn credential(&self) -> Option<ScramCredential> {
        let kdf = match self.text("kdf")? {
            "argon2id-13" => Kdf::Argon2id13 {
                memory: self.number("memory", 512)?,
            },
            "pbkdf2" => Kdf::Pbkdf2,
            _ => return None,
        };
        Some(ScramCredential {
            kdf,
            salt: self.text("salt").and_then(secrets::bytes_from_hex)?,
            iterations: self.number("iterations", 4096)?,
            stored_key: self.text("stored-key").and_then(secrets::from_hex)?,
            server_key: self.text("server-key").and_then(secrets::from_hex)?,
        })
    }
}
