//! What the router keeps of secrets, and the computations that prove one knows them.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature, VerifyingKey};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A ticket's hash: the ticket itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct TicketHash(pub(super) [u8; 32]);

impl TicketHash {
    /// The hash of a ticket. Tickets are long random texts, so that one round of SHA-256 is enough.
    #[must_use]
    pub fn of(ticket: &str) -> Self {
        Self(Sha256::digest(ticket.as_bytes()).into())
    }

    pub(super) fn matches(&self, ticket: &str) -> bool {
        Self::of(ticket).0.ct_eq(&self.0).into()
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
    pub(super) key: Vec<u8>,
    pub(super) salt: Option<Salt>,
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
    BASE64.encode(pbkdf2(secret, salt.salt.as_bytes(), salt.iterations, salt.key_length))
}

/// PBKDF2-HMAC-SHA256 (RFC 8018).
#[must_use]
pub fn pbkdf2(secret: &str, salt: &[u8], iterations: u32, length: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(length);
    for block in 1_u32.. {
        if key.len() >= length {
            break;
        }
        let mut round = hmac(secret.as_bytes(), &[salt, &block.to_be_bytes()]);
        let mut sum = round;
        for _ in 1..iterations {
            round = hmac(secret.as_bytes(), &[&round]);
            for (byte, other) in sum.iter_mut().zip(round) {
                *byte ^= other;
            }
        }
        key.extend_from_slice(&sum);
    }
    key.truncate(length);
    key
}

/// The answer to a challenge of `wampcra`.
#[must_use]
pub fn sign_challenge(key: &[u8], challenge: &str) -> String {
    BASE64.encode(hmac(key, &[challenge.as_bytes()]))
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // A key of any length is taken, so that this cannot fail; the hash of nothing would match no proof.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Whether `answer` is the hexadecimal text of a signature of the challenge, followed by the challenge.
pub(super) fn is_signed(key: &[u8; 32], challenge: &[u8; 32], answer: &str) -> bool {
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

pub(super) fn hex(bytes: &[u8]) -> String {
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
    bytes_from_hex(text)?.try_into().ok()
}

/// Bytes from hexadecimal digits.
#[must_use]
pub fn bytes_from_hex(text: &str) -> Option<Vec<u8>> {
    // Checked, because numbers may also begin with a sign.
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())
        .collect()
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
            pbkdf2("secret123", &[1, 2, 3], 2, 32),
            from_hex::<32>("08535ea7db34c748a3ed52d6c6183bce9713fcbb16fecc09ec418a1c0d30f984").expect("hex")
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
