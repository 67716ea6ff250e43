//! How sessions prove who they are: methods, principals and the proofs, as a state machine without clock or I/O.
//!
//! HELLO names methods in order of preference; the first one that is configured here is taken. A user that does not
//! exist is challenged like one that does and fails like one whose proof is wrong. Proofs are compared in constant
//! time; nothing secret is logged or put in an error.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::wamp::{
    id::SessionId,
    message::{Authenticate, Challenge, Extra, HelloDetails},
    uri::error,
    value::Dynamic,
};

use super::Principal;

/// A ticket's hash: the ticket itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketHash([u8; 32]);

impl TicketHash {
    /// The hash of a ticket. Tickets are long random texts, so that one round of SHA-256 is enough.
    #[must_use]
    pub fn of(ticket: &str) -> Self {
        Self(Sha256::digest(ticket.as_bytes()).into())
    }
}

/// How the key of a salted secret is derived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salt {
    /// Any text.
    pub salt: String,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Bytes of the derived key.
    pub key_length: usize,
}

impl Salt {
    /// The usual 1,000 rounds and 32 bytes.
    #[must_use]
    pub fn new(salt: impl Into<String>) -> Self {
        Self {
            salt: salt.into(),
            iterations: 1_000,
            key_length: 32,
        }
    }
}

/// A shared secret for challenge-response (`wampcra`).
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret {
    key: Vec<u8>,
    salt: Option<Salt>,
}

impl SharedSecret {
    /// The secret itself is the key.
    #[must_use]
    pub fn plain(secret: &str) -> Self {
        Self {
            key: secret.as_bytes().to_vec(),
            salt: None,
        }
    }

    /// The key is derived from the secret. Slow on purpose: done when the configuration is loaded.
    #[must_use]
    pub fn salted(secret: &str, salt: Salt) -> Self {
        Self::derived(&derive_key(secret, &salt), salt)
    }

    /// A key that was derived before, as [`derive_key`] gives it.
    #[must_use]
    pub fn derived(key: &str, salt: Salt) -> Self {
        Self {
            key: key.as_bytes().to_vec(),
            salt: Some(salt),
        }
    }
}

/// The key of a salted secret: the base64 text of PBKDF2-HMAC-SHA256. The text itself is the key, as all
/// implementations have it although the specification does not say so.
#[must_use]
pub fn derive_key(secret: &str, salt: &Salt) -> String {
    let mut key = Vec::with_capacity(salt.key_length);
    for block in 1_u32.. {
        if key.len() >= salt.key_length {
            break;
        }
        let mut round = hmac(secret.as_bytes(), &[salt.salt.as_bytes(), &block.to_be_bytes()]);
        let mut sum = round;
        for _ in 1..salt.iterations {
            round = hmac(secret.as_bytes(), &[&round]);
            for (byte, other) in sum.iter_mut().zip(round) {
                *byte ^= other;
            }
        }
        key.extend_from_slice(&sum);
    }
    key.truncate(salt.key_length);
    BASE64.encode(key)
}

/// The answer to a challenge of `wampcra`.
#[must_use]
pub fn sign_challenge(key: &[u8], challenge: &str) -> String {
    BASE64.encode(hmac(key, &[challenge.as_bytes()]))
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is taken, so that this cannot fail; the hash of nothing would match no proof.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// A user and the role that goes with one way of proof.
#[derive(Clone)]
struct Known<P> {
    role: String,
    proof: P,
}

/// Who may join a realm, and how that is proven.
#[derive(Clone)]
pub struct Authentication {
    /// Challenges are made from it and from a counter, so that they cannot be foreseen and need no generator here.
    secret: [u8; 32],
    challenges: u64,
    anonymous: Option<String>,
    transport: bool,
    tickets: BTreeMap<String, Known<TicketHash>>,
    secrets: BTreeMap<String, Known<SharedSecret>>,
    keys: BTreeMap<String, Known<Vec<[u8; 32]>>>,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authentication").finish_non_exhaustive()
    }
}

/// What to do about a HELLO.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Welcome(Principal),
    Challenge(Challenge, Expected),
    Refuse(&'static str, &'static str),
}

/// What the answer to a challenge has to prove, and who has then proven it.
#[derive(Clone, PartialEq)]
pub(super) struct Expected {
    /// None for somebody who does not exist.
    principal: Option<Principal>,
    proof: Proof,
}

impl std::fmt::Debug for Expected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Expected").finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq)]
enum Proof {
    Ticket(TicketHash),
    Text(String),
    Signature { key: [u8; 32], challenge: [u8; 32] },
}

impl Authentication {
    /// Nobody may join yet. `secret` is random and the process's own.
    #[must_use]
    pub const fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            challenges: 0,
            anonymous: None,
            transport: false,
            tickets: BTreeMap::new(),
            secrets: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Method `anonymous`: everybody may join, in this role.
    #[must_use]
    pub fn anonymous(mut self, role: impl Into<String>) -> Self {
        self.anonymous = Some(role.into());
        self
    }

    /// Method `cookie`: whom the transport has authenticated may join as that.
    #[must_use]
    pub const fn transport(mut self) -> Self {
        self.transport = true;
        self
    }

    /// Method `ticket`.
    #[must_use]
    pub fn ticket(mut self, authid: impl Into<String>, role: impl Into<String>, proof: TicketHash) -> Self {
        let role = role.into();
        self.tickets.insert(authid.into(), Known { role, proof });
        self
    }

    /// Method `wampcra`.
    #[must_use]
    pub fn shared_secret(mut self, authid: impl Into<String>, role: impl Into<String>, proof: SharedSecret) -> Self {
        let role = role.into();
        self.secrets.insert(authid.into(), Known { role, proof });
        self
    }

    /// Method `cryptosign`, with the Ed25519 public keys that the user may sign with.
    #[must_use]
    pub fn public_keys(mut self, authid: impl Into<String>, role: impl Into<String>, keys: Vec<[u8; 32]>) -> Self {
        let known = Known {
            role: role.into(),
            proof: keys,
        };
        self.keys.insert(authid.into(), known);
        self
    }

    /// What to do about a HELLO. `transport` is whom the transport has authenticated; with an empty authid, nobody.
    pub(super) fn hello(
        &mut self,
        details: &HelloDetails,
        transport: &Principal,
        session: SessionId,
        date: &str,
    ) -> Verdict {
        let by_default = ["cookie".to_owned(), "anonymous".to_owned()];
        let offered = details.authmethods.as_deref().unwrap_or(&by_default);
        for method in offered {
            match method.as_str() {
                "cookie" if self.transport && is_known(transport) => {
                    return Verdict::Welcome(transport.clone());
                }
                "anonymous" => {
                    if let Some(role) = &self.anonymous {
                        let authid = match transport.authid.as_str() {
                            "" => format!("anonymous-{session}"),
                            known => known.to_owned(),
                        };
                        return Verdict::Welcome(principal(authid, role, "anonymous"));
                    }
                }
                "ticket" if !self.tickets.is_empty() => return self.ask_ticket(details),
                "wampcra" if !self.secrets.is_empty() => return self.ask_secret(details, session, date),
                "cryptosign" if !self.keys.is_empty() => return self.ask_signature(details),
                // Unknown or not configured: the next one may do.
                _ => {}
            }
        }
        Verdict::Refuse(
            error::NO_AUTH_METHOD,
            "None of the offered ways to authenticate is available.",
        )
    }

    fn ask_ticket(&mut self, details: &HelloDetails) -> Verdict {
        let known = details
            .authid
            .as_ref()
            .and_then(|authid| self.tickets.get_key_value(authid));
        let principal = known.map(|(authid, known)| principal(authid.clone(), &known.role, "ticket"));
        let proof = match known {
            Some((_, known)) => known.proof.clone(),
            None => TicketHash(self.secret),
        };
        let challenge = Challenge {
            method: "ticket".to_owned(),
            extra: Extra::new(),
        };
        let proof = Proof::Ticket(proof);
        Verdict::Challenge(challenge, Expected { principal, proof })
    }

    fn ask_secret(&mut self, details: &HelloDetails, session: SessionId, date: &str) -> Verdict {
        let nonce = self.nonce();
        let authid = details.authid.clone().unwrap_or_default();
        let known = self.secrets.get(&authid);
        // Not the user's role, which would tell that there is such a user.
        let role = details.authrole.as_deref().unwrap_or("user");
        let challenge = serde_json::json!({
            "authid": authid, "authrole": role, "authmethod": "wampcra", "authprovider": "static",
            "session": session, "nonce": hex(&nonce), "timestamp": date,
        });
        let challenge = challenge.to_string();
        let (key, salt) = match known {
            Some(known) => (known.proof.key.clone(), known.proof.salt.clone()),
            None => (self.secret.to_vec(), self.invented_salt(&authid)),
        };
        let mut extra = Extra::new();
        if let Some(salt) = salt {
            let length = i64::try_from(salt.key_length).unwrap_or(32);
            extra.insert("salt".to_owned(), salt.salt.into());
            extra.insert("keylen".to_owned(), Dynamic::Integer(length));
            extra.insert("iterations".to_owned(), Dynamic::Integer(salt.iterations.into()));
        }
        let proof = Proof::Text(sign_challenge(&key, &challenge));
        extra.insert("challenge".to_owned(), challenge.into());
        let challenge = Challenge {
            method: "wampcra".to_owned(),
            extra,
        };
        let principal = known.map(|known| principal(authid, &known.role, "wampcra"));
        Verdict::Challenge(challenge, Expected { principal, proof })
    }

    /// A salt for somebody who does not exist, the same at each try. Such a name looks like one of those that exist,
    /// chosen by the name, so that with and without salt are as frequent.
    fn invented_salt(&self, authid: &str) -> Option<Salt> {
        let invented = hmac(&self.secret, &[b"salt", authid.as_bytes()]);
        let chosen = usize::from(invented[0]) % self.secrets.len().max(1);
        let example = self.secrets.values().nth(chosen)?.proof.salt.as_ref()?;
        let salt: String = hex(&invented).chars().cycle().take(example.salt.len()).collect();
        Some(Salt {
            salt,
            ..example.clone()
        })
    }

    fn ask_signature(&mut self, details: &HelloDetails) -> Verdict {
        let challenge = self.nonce();
        let offered = details.authextra.as_ref().and_then(|extra| extra.get("pubkey"));
        let key = offered.and_then(Dynamic::as_str).and_then(from_hex::<32>);
        let known = key.and_then(|key| {
            self.keys.iter().find(|(authid, known)| {
                known.proof.contains(&key) && details.authid.as_ref().is_none_or(|wanted| wanted == *authid)
            })
        });
        let principal = known.map(|(authid, known)| principal(authid.clone(), &known.role, "cryptosign"));
        let extra = [
            ("challenge".to_owned(), Dynamic::from(hex(&challenge))),
            ("channel_binding".to_owned(), Dynamic::Null),
        ];
        let proof = Proof::Signature {
            key: key.unwrap_or_default(),
            challenge,
        };
        let challenge = Challenge {
            method: "cryptosign".to_owned(),
            extra: extra.into(),
        };
        Verdict::Challenge(challenge, Expected { principal, proof })
    }

    fn nonce(&mut self) -> [u8; 32] {
        self.challenges += 1;
        hmac(&self.secret, &[b"challenge", &self.challenges.to_be_bytes()])
    }
}

impl Expected {
    /// Who has authenticated, if the answer proves it.
    pub(super) fn prove(self, answer: &Authenticate) -> Option<Principal> {
        let proven = match &self.proof {
            Proof::Ticket(hash) => TicketHash::of(&answer.signature).0.ct_eq(&hash.0).into(),
            Proof::Text(text) => answer.signature.as_bytes().ct_eq(text.as_bytes()).into(),
            Proof::Signature { key, challenge } => is_signed(key, challenge, &answer.signature),
        };
        // After the check, so that somebody who does not exist takes the same time.
        self.principal.filter(|_| proven)
    }
}

/// Whether the transport has authenticated somebody: a name that it gave to a stranger does not count.
fn is_known(transport: &Principal) -> bool {
    !transport.authid.is_empty() && transport.authmethod != "anonymous"
}

/// Whether `answer` is the hexadecimal text of a signature of the challenge, followed by the challenge.
fn is_signed(key: &[u8; 32], challenge: &[u8; 32], answer: &str) -> bool {
    let Some(answer) = from_hex::<96>(answer) else {
        return false;
    };
    let (signature, signed) = answer.split_at(64);
    let Ok(signature) = Signature::from_slice(signature) else {
        return false;
    };
    let verified = VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(challenge, &signature).is_ok());
    verified && bool::from(signed.ct_eq(challenge))
}

fn principal(authid: String, role: &str, method: &str) -> Principal {
    Principal {
        authprovider: "static".to_owned(),
        ..Principal::new(authid, role, method)
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Bytes from twice as many hexadecimal digits.
#[must_use]
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Checked, because numbers may also begin with a sign.
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_signatures_are_those_of_other_implementations() {
        assert_eq!(
            derive_key("L3L1YUE8Txlw", &Salt::new("salt123")),
            "qzcdsr9uu/L5hnss3kjNTRe490ETgA70ZBaB5rvnJ5Y="
        );
        assert_eq!(
            sign_challenge(b"L3L1YUE8Txlw", "[1, 2, 3]"),
            "1njQtmmeYO41N5EWEzD2kAjjEKRZ5kPZt/TzpYXOzR0="
        );
        assert_eq!(
            BASE64
                .decode(derive_key(
                    "x",
                    &Salt {
                        key_length: 40,
                        ..Salt::new("y")
                    }
                ))
                .expect("base64")
                .len(),
            40
        );
    }

    #[test]
    fn a_signature_of_another_implementation_is_accepted_and_no_other() {
        let key = from_hex::<32>("1adfc8bfe1d35616e64dffbd900096f23b066f914c8c2ffbb66f6075b96e116d").expect("hex");
        let challenge = [0xff; 32];
        let signature = "b32675b221f08593213737bef8240e7c15228b07028e19595294678c90d11c0c\
                         ae80a357331bfc5cc9fb71081464e6e75013517c2cf067ad566a6b7b728e5d03";
        let answer = format!("{signature}{}", hex(&challenge));
        assert!(is_signed(&key, &challenge, &answer));
        assert!(!is_signed(&key, &[0xfe; 32], &answer), "another challenge");
        assert!(!is_signed(&[0; 32], &challenge, &answer), "another key");
        assert!(
            !is_signed(&key, &challenge, &answer.replacen("b3", "b4", 1)),
            "another signature"
        );
        assert!(
            !is_signed(&key, &challenge, signature),
            "without the challenge behind it"
        );
        assert!(
            !is_signed(&key, &challenge, &format!("{}é", &answer[2..])),
            "not even hexadecimal"
        );
    }
}
