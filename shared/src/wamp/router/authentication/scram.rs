//! Method `scram`: salted challenge and response in which neither side learns what the other could log in with.
//!
//! This is the protocol that Autobahn and Crossbar speak, which is not the one of the specification: the method is
//! called `scram` and the function `argon2id-13`, the server's nonce is made of bytes, with argon2 the salted password
//! is its base64 text, nothing stands for the channel, and the server proves itself in
//! `WELCOME.Details.authextra.scram_server_signature`.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::wamp::{message::Extra, value::Dynamic};

use super::secrets::hmac;

/// The fewest bytes that a client's nonce has.
const SHORTEST_NONCE: usize = 8;
/// The most bytes that a client's nonce has.
const LONGEST_NONCE: usize = 64;

/// How a password is salted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kdf {
    /// Argon2id version 1.3, one lane, 32 bytes.
    Argon2id13 {
        /// KiB.
        memory: u32,
    },
    /// PBKDF2-HMAC-SHA256, 32 bytes.
    Pbkdf2,
}

impl Kdf {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Argon2id13 { .. } => "argon2id-13",
            Self::Pbkdf2 => "pbkdf2",
        }
    }
}

/// What the server keeps of a password: enough to check it, not to log in with it elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    /// How the password is salted.
    pub kdf: Kdf,
    /// With what.
    pub salt: Vec<u8>,
    /// Rounds.
    pub iterations: u32,
    /// What a client's proof is checked with.
    pub stored_key: [u8; 32],
    /// What the server proves itself with.
    pub server_key: [u8; 32],
}

impl ScramCredential {
    /// From a salted password: with argon2 the base64 text of the hash without padding, with PBKDF2 the bytes.
    #[must_use]
    pub fn new(kdf: Kdf, salt: Vec<u8>, iterations: u32, salted_password: &[u8]) -> Self {
        let client_key = hmac(salted_password, &[b"Client Key"]);
        Self {
            kdf,
            salt,
            iterations,
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(salted_password, &[b"Server Key"]),
        }
    }

    /// Challenges a client: what it is sent, and what it has to answer. `random` is 16 fresh bytes or more. None if the
    /// client sent no usable nonce.
    pub(super) fn challenge(&self, authid: &str, offered: Option<&Extra>, random: &[u8]) -> Option<(Extra, Exchange)> {
        let client_nonce = offered?.get("nonce")?.as_str()?;
        let mut nonce = BASE64.decode(client_nonce).ok()?;
        if !(SHORTEST_NONCE..=LONGEST_NONCE).contains(&nonce.len()) {
            return None;
        }
        nonce.extend_from_slice(random);
        let (nonce, salt, iterations) = (BASE64.encode(nonce), BASE64.encode(&self.salt), self.iterations);
        let message = auth_message(authid, client_nonce, &nonce, &salt, iterations.into());
        let mut extra = Extra::from([
            ("nonce".to_owned(), nonce.into()),
            ("kdf".to_owned(), self.kdf.name().into()),
            ("salt".to_owned(), salt.into()),
            ("iterations".to_owned(), Dynamic::Integer(iterations.into())),
        ]);
        if let Kdf::Argon2id13 { memory } = self.kdf {
            extra.insert("memory".to_owned(), Dynamic::Integer(memory.into()));
        }
        let exchange = Exchange {
            stored_key: self.stored_key,
            server_key: self.server_key,
            message,
        };
        Some((extra, exchange))
    }
}

/// A challenge that waits for its answer.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    stored_key: [u8; 32],
    server_key: [u8; 32],
    message: String,
}

impl Exchange {
    /// Whether the answer proves that its sender knows the password.
    pub(super) fn is_proven(&self, answer: &str) -> bool {
        let Some(mut key) = BASE64
            .decode(answer)
            .ok()
            .and_then(|proof| <[u8; 32]>::try_from(proof).ok())
        else {
            return false;
        };
        let signature = hmac(&self.stored_key, &[self.message.as_bytes()]);
        exclusive_or(&mut key, signature);
        Sha256::digest(key).ct_eq(&self.stored_key).into()
    }

    /// What the server says to prove itself.
    pub(super) fn server_proof(&self) -> Extra {
        let signature = BASE64.encode(hmac(&self.server_key, &[self.message.as_bytes()]));
        Extra::from([("scram_server_signature".to_owned(), signature.into())])
    }
}

/// What a client answers to a challenge, given its own nonce and the salted password as [`ScramCredential::new`] takes
/// it. None if something is missing in the challenge.
#[must_use]
pub fn answer_scram(authid: &str, client_nonce: &str, challenge: &Extra, salted_password: &[u8]) -> Option<String> {
    let (nonce, salt) = (challenge.get("nonce")?.as_str()?, challenge.get("salt")?.as_str()?);
    let iterations = challenge.get("iterations")?.as_integer()?;
    let message = auth_message(authid, client_nonce, nonce, salt, iterations);
    let mut proof = hmac(salted_password, &[b"Client Key"]);
    let stored: [u8; 32] = Sha256::digest(proof).into();
    exclusive_or(&mut proof, hmac(&stored, &[message.as_bytes()]));
    Some(BASE64.encode(proof))
}

/// What both sides sign.
fn auth_message(authid: &str, client_nonce: &str, nonce: &str, salt: &str, iterations: i64) -> String {
    format!("n={authid},r={client_nonce},r={nonce},s={salt},i={iterations},c=,r={nonce}")
}

fn exclusive_or(key: &mut [u8; 32], with: [u8; 32]) {
    for (byte, other) in key.iter_mut().zip(with) {
        *byte ^= other;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wamp::router::authentication::secrets::{from_hex, hex, pbkdf2};

    fn nonce(text: &str) -> Extra {
        Extra::from([("nonce".to_owned(), text.into())])
    }

    #[test]
    fn the_keys_are_those_of_another_implementation() {
        // Autobahn|Python's vector: "secret123", 4,096 rounds, 512 KiB. Its base64 text is what argon2 prints.
        let salted = b"b7BgP2B/b1njDcJH6zXGyESitZnBzfL+ZRkkM/A2Mb0";
        let salt = from_hex::<16>("ae1f0d2f422757809077785e660b62c6")
            .expect("hex")
            .to_vec();
        let credential = ScramCredential::new(Kdf::Argon2id13 { memory: 512 }, salt, 4096, salted);
        assert_eq!(
            hex(&credential.stored_key),
            "5f19358ff6f38e267b6ef1ea1d862514ec4e8745a84682259fd3894be09febb5"
        );
        assert_eq!(
            hex(&credential.server_key),
            "0d8e7e9222a7c0e54c9e979aa342115699ff5696c45dc379b5ee241338a5861d"
        );
    }

    #[test]
    fn only_who_knows_the_password_answers_right_and_each_challenge_is_another() {
        let salted = pbkdf2("secret", b"salt", 10, 32);
        let credential = ScramCredential::new(Kdf::Pbkdf2, b"salt".to_vec(), 10, &salted);
        let mine = BASE64.encode([5; 16]);
        let (extra, exchange) = credential
            .challenge("anna", Some(&nonce(&mine)), &[7; 16])
            .expect("a nonce");
        assert_eq!(extra.get("memory"), None);
        let right = answer_scram("anna", &mine, &extra, &salted).expect("a whole challenge");
        assert!(exchange.is_proven(&right));
        let other = pbkdf2("guess", b"salt", 10, 32);
        for (authid, knows) in [("anna", &other), ("bert", &salted)] {
            let wrong = answer_scram(authid, &mine, &extra, knows).expect("a whole challenge");
            assert!(!exchange.is_proven(&wrong), "{authid}");
        }
        assert!(!exchange.is_proven("") && !exchange.is_proven("é") && !exchange.is_proven(&right[4..]));
        let (_, next) = credential
            .challenge("anna", Some(&nonce(&mine)), &[8; 16])
            .expect("a nonce");
        assert!(!next.is_proven(&right), "an answer fits one challenge only");
    }

    #[test]
    fn a_client_without_a_proper_nonce_is_not_challenged() {
        let credential = ScramCredential::new(Kdf::Pbkdf2, b"salt".to_vec(), 10, b"x");
        let challenge = |offered: Option<&Extra>| credential.challenge("anna", offered, &[7; 16]).is_some();
        assert!(!challenge(None) && !challenge(Some(&Extra::new())));
        for (wrong, why) in [("", "empty"), ("AAAA", "short"), ("not base64!", "no base64")] {
            assert!(!challenge(Some(&nonce(wrong))), "{why}");
        }
        assert!(!challenge(Some(&nonce(&BASE64.encode([1; 65])))), "long");
    }
}
