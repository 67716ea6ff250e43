//! `[authentication]` and `[[login]]`: who may join, and how that is proven.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, de};
use shared::wamp::{
    Uri,
    router::{
        Authentication, Authenticator, Kdf, Salt, ScramCredential, SharedSecret, TicketHash,
        authentication::{bytes_from_hex, from_hex, pbkdf2},
    },
};

use super::values::Seconds;
use crate::error::{Error, ErrorKind, Result};

/// Methods that a procedure can judge.
const METHODS: [&str; 5] = ["anonymous", "ticket", "wampcra", "cryptosign", "scram"];
/// How long procedures may take to judge, unless the file says otherwise.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of the largest file that a secret is read from.
const LARGEST_SECRET: u64 = 64 * 1024;
/// More rounds than this are a mistake.
const MOST_ITERATIONS: u32 = 10_000_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AuthenticationPart {
    /// The role of who does not log in.
    anonymous: Option<String>,
    authenticator: Option<AuthenticatorPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthenticatorPart {
    procedure: String,
    role: String,
    methods: BTreeSet<String>,
    timeout_seconds: Option<Seconds>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginPart {
    authid: String,
    role: String,
    ticket: Option<Secret>,
    wampcra: Option<WampCraPart>,
    #[serde(default)]
    cryptosign: Vec<PublicKey>,
    scram: Option<ScramPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WampCraPart {
    /// What the client knows.
    secret: Option<Secret>,
    /// What is derived from it: base64, as it is sent by nobody.
    key: Option<Secret>,
    salt: Option<String>,
    #[serde(default = "usual_iterations")]
    iterations: u32,
    #[serde(default = "usual_length")]
    keylen: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ScramPart {
    password: Option<Secret>,
    #[serde(default)]
    kdf: KdfPart,
    salt: Option<String>,
    iterations: Option<u32>,
    #[serde(default = "usual_memory")]
    memory: u32,
    stored_key: Option<Secret>,
    server_key: Option<Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum KdfPart {
    #[default]
    #[serde(rename = "argon2id-13")]
    Argon2id13,
    #[serde(rename = "pbkdf2")]
    Pbkdf2,
}

const fn usual_iterations() -> u32 {
    1_000
}

const fn usual_length() -> usize {
    32
}

const fn usual_memory() -> u32 {
    512
}

/// Something secret: in the file, in a variable of the environment, or in a file of its own. It is fetched while the
/// configuration is read, so that what is missing is reported with its place.
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// An Ed25519 public key.
#[derive(Debug)]
struct PublicKey([u8; 32]);

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Secret;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text, { environment = \"NAME\" } or { file = \"PATH\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Secret, E> {
                present(text, "here")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> std::result::Result<Secret, A::Error> {
                #[derive(Deserialize)]
                #[serde(rename_all = "lowercase", deny_unknown_fields)]
                enum Source {
                    Environment(String),
                    File(PathBuf),
                }
                match Source::deserialize(de::value::MapAccessDeserializer::new(map))? {
                    Source::Environment(name) => {
                        let text = std::env::var(&name).unwrap_or_default();
                        present(&text, &format!("in the environment variable {name}"))
                    }
                    Source::File(path) => {
                        let place = path.display().to_string();
                        let text = read_small(&path)
                            .map_err(|error| de::Error::custom(format!("the file {place} cannot be read: {error}")))?;
                        present(text.trim_end_matches(['\r', '\n']), &format!("in the file {place}"))
                    }
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The text of a file of reasonable size; what is no file, such as a pipe, is not waited for.
fn read_small(path: &Path) -> io::Result<String> {
    let file = std::fs::metadata(path)?;
    if !file.is_file() || file.len() > LARGEST_SECRET {
        return Err(io::Error::other("it is no file, or larger than a secret is"));
    }
    std::fs::read_to_string(path)
}

fn present<E: de::Error>(text: &str, place: &str) -> std::result::Result<Secret, E> {
    if text.is_empty() {
        return Err(E::custom(format!("there is no secret {place}")));
    }
    Ok(Secret(text.to_owned()))
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let key = from_hex(&text).ok_or_else(|| de::Error::custom("a public key is 64 hexadecimal digits"))?;
        Ok(Self(key))
    }
}

/// What the rest of a realm has to have.
pub(super) struct Needs<'a> {
    /// How errors begin.
    pub(super) place: &'a str,
    /// The roles that are described.
    pub(super) roles: &'a BTreeSet<&'a str>,
}

impl Needs<'_> {
    pub(super) fn role(&self, what: &str, role: &str) -> Result<()> {
        if self.roles.contains(role) {
            return Ok(());
        }
        Err(self.wrong(format!("{what} gives the role {role:?}, which no [[role]] describes")))
    }

    pub(super) fn wrong(&self, text: impl fmt::Display) -> Error {
        Error::configuration(format!("{}: {text}", self.place))
    }

    pub(super) fn procedure(&self, what: &str, name: &str) -> Result<Uri> {
        match Uri::loose(name) {
            Ok(uri) if !uri.is_within("wamp") => Ok(uri),
            Ok(_) | Err(_) => Err(self.wrong(format!("{what} names the procedure {name:?}, which is no usable URI"))),
        }
    }
}

impl AuthenticationPart {
    /// Whether anything is said.
    pub(super) fn is_empty(&self) -> bool {
        self.anonymous.is_none() && self.authenticator.is_none()
    }

    /// Puts the logins of a realm together; none = nobody has to log in.
    pub(super) fn build(self, logins: Vec<LoginPart>, needs: &Needs<'_>) -> Result<Option<Authentication>> {
        if self.is_empty() && logins.is_empty() {
            return Ok(None);
        }
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)
            .map_err(|error| Error::new(ErrorKind::Internal, "The system gives no randomness").because(error))?;
        let mut known = Authentication::new(secret).transport();
        if let Some(role) = self.anonymous {
            needs.role("anonymous", &role)?;
            known = known.anonymous(role);
        }
        if let Some(part) = self.authenticator {
            known = known.authenticator(part.build(needs)?);
        }
        let mut seen = BTreeSet::new();
        for login in logins {
            if !seen.insert(login.authid.clone()) {
                return Err(needs.wrong(format!("there are two logins of {:?}", login.authid)));
            }
            known = login.add(known, needs)?;
        }
        Ok(Some(known))
    }
}

impl AuthenticatorPart {
    fn build(self, needs: &Needs<'_>) -> Result<Authenticator> {
        needs.role("the authenticator", &self.role)?;
        if let Some(unknown) = self.methods.iter().find(|method| !METHODS.contains(&method.as_str())) {
            return Err(needs.wrong(format!(
                "the authenticator cannot judge {unknown:?}, but {}",
                METHODS.join(", ")
            )));
        }
        Ok(Authenticator {
            procedure: needs.procedure("the authenticator", &self.procedure)?,
            role: self.role,
            methods: self.methods,
            timeout: self.timeout_seconds.map_or(JUDGED_WITHIN, |seconds| seconds.0),
        })
    }
}

impl LoginPart {
    fn add(self, mut known: Authentication, needs: &Needs<'_>) -> Result<Authentication> {
        let Self { authid, role, .. } = self;
        let wrong = |text: &str| needs.wrong(format!("login {authid:?} {text}"));
        needs.role(&format!("login {authid:?}"), &role)?;
        if authid.is_empty() {
            return Err(wrong("has no name"));
        }
        if self.ticket.is_none() && self.wampcra.is_none() && self.cryptosign.is_empty() && self.scram.is_none() {
            return Err(wrong("has no method: ticket, wampcra, cryptosign or scram"));
        }
        if let Some(Secret(ticket)) = self.ticket {
            known = known.ticket(authid.as_str(), role.as_str(), TicketHash::of(&ticket));
        }
        if let Some(part) = self.wampcra {
            known = known.shared_secret(authid.as_str(), role.as_str(), part.secret().map_err(wrong)?);
        }
        if !self.cryptosign.is_empty() {
            let keys = self.cryptosign.into_iter().map(|key| key.0).collect();
            known = known.public_keys(authid.as_str(), role.as_str(), keys);
        }
        if let Some(part) = self.scram {
            known = known.scram(authid.as_str(), role.as_str(), part.credential().map_err(wrong)?);
        }
        Ok(known)
    }
}

impl WampCraPart {
    fn secret(self) -> std::result::Result<SharedSecret, &'static str> {
        if !(1..=MOST_ITERATIONS).contains(&self.iterations) || !(1..=64).contains(&self.keylen) {
            return Err("has wampcra with iterations or keylen out of range (1 to 10000000, 1 to 64)");
        }
        let salt = self.salt.map(|salt| Salt {
            salt,
            iterations: self.iterations,
            key_length: self.keylen,
        });
        match (self.secret, self.key, salt) {
            (Some(Secret(secret)), None, None) => Ok(SharedSecret::plain(&secret)),
            (Some(Secret(secret)), None, Some(salt)) => Ok(SharedSecret::salted(&secret, salt)),
            (None, Some(Secret(key)), Some(salt)) => Ok(SharedSecret::derived(&key, salt)),
            (None, Some(_), None) => Err("has wampcra with a derived key but without the salt"),
            (Some(_), Some(_), _) | (None, None, _) => Err("needs either wampcra.secret or wampcra.key"),
        }
    }
}

impl ScramPart {
    fn credential(self) -> std::result::Result<ScramCredential, &'static str> {
        let kdf = match self.kdf {
            KdfPart::Argon2id13 => Kdf::Argon2id13 { memory: self.memory },
            KdfPart::Pbkdf2 => Kdf::Pbkdf2,
        };
        let iterations = self.iterations.unwrap_or(4_096);
        if !(1..=MOST_ITERATIONS).contains(&iterations) || !(8..=1_048_576).contains(&self.memory) {
            return Err("has scram with iterations or memory out of range (1 to 10000000, 8 to 1048576 KiB)");
        }
        let salt = match self.salt {
            Some(text) => bytes_from_hex(&text).filter(|salt| (8..=64).contains(&salt.len())),
            None => random_salt(),
        };
        let salt = salt.ok_or("has scram with a salt that is not 16 to 128 hexadecimal digits")?;
        match (self.password, self.stored_key, self.server_key) {
            (Some(Secret(password)), None, None) => {
                let salted =
                    salt_password(&password, kdf, &salt, iterations).ok_or("has scram that cannot be derived")?;
                Ok(ScramCredential::new(kdf, salt, iterations, &salted))
            }
            (None, Some(Secret(stored)), Some(Secret(server))) => {
                let wrong = "has scram with a key that is not 64 hexadecimal digits";
                Ok(ScramCredential {
                    kdf,
                    salt,
                    iterations,
                    stored_key: from_hex(&stored).ok_or(wrong)?,
                    server_key: from_hex(&server).ok_or(wrong)?,
                })
            }
            _ => Err("needs either scram.password, or scram.stored-key and scram.server-key"),
        }
    }
}

fn random_salt() -> Option<Vec<u8>> {
    let mut salt = vec![0; 16];
    getrandom::fill(&mut salt).ok().map(|()| salt)
}

/// A salted password as [`ScramCredential::new`] takes it. Slow on purpose: done when the configuration is loaded.
fn salt_password(password: &str, kdf: Kdf, salt: &[u8], iterations: u32) -> Option<Vec<u8>> {
    match kdf {
        Kdf::Pbkdf2 => Some(pbkdf2(password, salt, iterations, 32)),
        Kdf::Argon2id13 { memory } => {
            let params = argon2::Params::new(memory, iterations, 1, Some(32)).ok()?;
            let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
            let mut hash = [0; 32];
            hasher.hash_password_into(password.as_bytes(), salt, &mut hash).ok()?;
            Some(STANDARD_NO_PAD.encode(hash).into_bytes())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_salted_password_is_that_of_another_implementation() {
        let kdf = Kdf::Argon2id13 { memory: 64 };
        let salted = salt_password("secret123", kdf, &[7; 16], 2).expect("parameters are right");
        assert_eq!(salted, b"TcTVG7/finO6vQU0BJRdUVzY58e2AFVPporH38rrBFQ");
    }

    #[test]
    fn secrets_show_in_no_debug_text() {
        let part: LoginPart = toml::from_str("authid = \"a\"\nrole = \"b\"\nticket = \"hush\"").expect("right");
        assert!(!format!("{part:?}").contains("hush"));
    }
}
