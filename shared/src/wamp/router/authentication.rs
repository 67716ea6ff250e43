//! How sessions prove who they are: methods, principals and the proofs, as a state machine without clock or I/O.
//!
//! HELLO names methods in order of preference; the first one that is configured here is taken. A user that does not
//! exist is challenged like one that does and fails like one whose proof is wrong. Proofs are compared in constant
//! time; nothing secret is logged or put in an error.

mod dynamic;
mod scram;
mod secrets;

use std::collections::BTreeMap;

use crate::wamp::{
    id::SessionId,
    message::{Authenticate, Challenge, Extra, HelloDetails},
    payload::Payload,
    uri::{Uri, error},
    value::Dynamic,
};

pub use dynamic::Authenticator;
pub use scram::{Kdf, ScramCredential, answer_scram};
pub use secrets::{Salt, SharedSecret, TicketHash, bytes_from_hex, derive_key, from_hex, pbkdf2, sign_challenge};

pub(super) use dynamic::Question;

use dynamic::Answer;
use scram::Exchange;
use secrets::{hex, hmac, is_signed};

use super::Principal;

/// How [`Principal::authmethod`] says that whoever reaches a door has the door's role, without a login.
pub const DOOR: &str = "transport";

/// What is told to everybody whose login fails, whatever the reason.
pub(super) const FAILED: &str = "The name or the proof is wrong.";

/// A user and the role that goes with one way of proof.
#[derive(Clone)]
struct Known<P> {
    role: String,
    proof: P,
}

impl<P> Known<P> {
    fn new(role: impl Into<String>, proof: P) -> Self {
        let role = role.into();
        Self { role, proof }
    }
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
    scrams: BTreeMap<String, Known<ScramCredential>>,
    authenticator: Option<Authenticator>,
}

impl std::fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authentication").finish_non_exhaustive()
    }
}

/// What to do about a HELLO, or about an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    Welcome(Principal, Option<Extra>),
    Challenge(Challenge, Expected),
    /// The authenticator has to say.
    Ask(Question),
    Refuse(&'static str, &'static str),
}

const DENIED: Verdict = Verdict::Refuse(error::AUTHENTICATION_FAILED, FAILED);

impl std::fmt::Debug for Question {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Question").finish_non_exhaustive()
    }
}

/// What the answer to a challenge has to prove, and who has then proven it.
#[derive(Clone, PartialEq)]
pub(super) struct Expected {
    /// None for somebody who does not exist.
    principal: Option<(Principal, Option<Extra>)>,
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
    /// The authenticator judges the ticket.
    AskedTicket,
    Text(String),
    Signature {
        key: [u8; 32],
        challenge: [u8; 32],
    },
    Scram(Exchange),
}

/// One try to log in.
#[derive(Clone, Copy)]
pub(super) struct Try<'a> {
    pub(super) hello: &'a HelloDetails,
    pub(super) session: SessionId,
    pub(super) date: &'a str,
}

impl Try<'_> {
    fn authid(&self) -> &str {
        self.hello.authid.as_deref().unwrap_or_default()
    }

    fn extra(&self, name: &str) -> Option<&str> {
        self.hello.authextra.as_ref()?.get(name)?.as_str()
    }
}

type Proven = Option<(Principal, Option<Extra>)>;

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
            scrams: BTreeMap::new(),
            authenticator: None,
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
        self.tickets.insert(authid.into(), Known::new(role, proof));
        self
    }

    /// Method `wampcra`.
    #[must_use]
    pub fn shared_secret(mut self, authid: impl Into<String>, role: impl Into<String>, proof: SharedSecret) -> Self {
        self.secrets.insert(authid.into(), Known::new(role, proof));
        self
    }

    /// Method `cryptosign`, with the Ed25519 public keys that the user may sign with.
    #[must_use]
    pub fn public_keys(mut self, authid: impl Into<String>, role: impl Into<String>, keys: Vec<[u8; 32]>) -> Self {
        self.keys.insert(authid.into(), Known::new(role, keys));
        self
    }

    /// Method `scram`.
    #[must_use]
    pub fn scram(mut self, authid: impl Into<String>, role: impl Into<String>, proof: ScramCredential) -> Self {
        self.scrams.insert(authid.into(), Known::new(role, proof));
        self
    }

    /// A procedure that is asked about everybody who has no login here.
    #[must_use]
    pub fn authenticator(mut self, authenticator: Authenticator) -> Self {
        self.authenticator = Some(authenticator);
        self
    }

    /// The procedure that is asked.
    pub(super) const fn asked(&self) -> Option<&Authenticator> {
        self.authenticator.as_ref()
    }

    /// What to do about a HELLO. `transport` is whom the transport has authenticated; with an empty authid, nobody.
    pub(super) fn hello(&mut self, attempt: Try<'_>, transport: &Principal) -> Verdict {
        let by_default = ["cookie".to_owned(), "anonymous".to_owned()];
        let offered = attempt.hello.authmethods.as_deref().unwrap_or(&by_default);
        let authid = attempt.authid();
        for method in offered {
            let asks = self
                .authenticator
                .as_ref()
                .is_some_and(|asked| asked.methods.contains(method));
            let question = || Question {
                method: method.clone(),
                ticket: None,
            };
            match method.as_str() {
                "cookie" if self.transport && is_known(transport) => {
                    return Verdict::Welcome(named(transport.clone(), attempt.session), None);
                }
                "anonymous" if self.transport && transport.authmethod == DOOR => {
                    return Verdict::Welcome(named(transport.clone(), attempt.session), None);
                }
                "anonymous" if asks => return Verdict::Ask(question()),
                "anonymous" => {
                    if let Some(role) = &self.anonymous {
                        let authid = match transport.authid.as_str() {
                            "" => anonymous_name(attempt.session),
                            known => known.to_owned(),
                        };
                        return Verdict::Welcome(principal(authid, role, "anonymous", "static"), None);
                    }
                }
                "ticket" if asks && !self.tickets.contains_key(authid) => {
                    return ticket_challenge(None, Proof::AskedTicket);
                }
                "ticket" if !self.tickets.is_empty() => return self.ask_ticket(authid),
                "wampcra" if asks && !self.secrets.contains_key(authid) => return Verdict::Ask(question()),
                "wampcra" if !self.secrets.is_empty() => return self.ask_secret(attempt),
                "cryptosign" if asks && self.key_of(attempt).1.is_none() => return Verdict::Ask(question()),
                "cryptosign" if !self.keys.is_empty() => {
                    let (key, known) = self.key_of(attempt);
                    return self.signature_challenge(key.unwrap_or_default(), known);
                }
                "scram" if asks && !self.scrams.contains_key(authid) => return Verdict::Ask(question()),
                "scram" if !self.scrams.is_empty() => return self.ask_scram(attempt),
                // Unknown or not configured: the next one may do.
                _ => {}
            }
        }
        Verdict::Refuse(
            error::NO_AUTH_METHOD,
            "None of the offered ways to authenticate is available.",
        )
    }

    /// What to do now that the authenticator has answered.
    pub(super) fn answered(&mut self, question: &Question, answer: &Payload, attempt: Try<'_>, realm: &Uri) -> Verdict {
        let Some(answer) = Answer::read(answer, realm) else {
            return DENIED;
        };
        // A name that was wanted is one only if a proof follows.
        let is_anonymous = question.method == "anonymous";
        let wanted = Some(attempt.authid()).filter(|wanted| !wanted.is_empty() && !is_anonymous);
        let Some(authid) = answer
            .authid
            .clone()
            .or_else(|| wanted.map(str::to_owned))
            .or_else(|| is_anonymous.then(|| anonymous_name(attempt.session)))
        else {
            return DENIED;
        };
        let principal = principal(authid.clone(), &answer.role, &question.method, "dynamic");
        let proven = (principal, answer.extra.clone());
        match question.method.as_str() {
            "ticket" | "anonymous" => Verdict::Welcome(proven.0, proven.1),
            "wampcra" => match answer.shared_secret() {
                Some(SharedSecret { key, salt }) => {
                    self.secret_challenge(attempt, &authid, &key, salt, Some(proven), "dynamic")
                }
                None => DENIED,
            },
            "cryptosign" => match answer.public_key() {
                Some(key) => self.signature_challenge(key, Some(proven)),
                None => DENIED,
            },
            "scram" => match answer.credential() {
                Some(credential) => self.scram_challenge(attempt, &credential, Some(proven)),
                None => DENIED,
            },
            _ => DENIED,
        }
    }

    fn ask_ticket(&self, authid: &str) -> Verdict {
        let (proven, proof) = match self.tickets.get(authid) {
            Some(known) => (
                Some((principal(authid.to_owned(), &known.role, "ticket", "static"), None)),
                Proof::Ticket(known.proof.clone()),
            ),
            None => (None, Proof::Ticket(TicketHash(self.secret))),
        };
        ticket_challenge(proven, proof)
    }

    fn ask_secret(&mut self, attempt: Try<'_>) -> Verdict {
        let authid = attempt.authid();
        let (key, salt, proven) = match self.secrets.get(authid) {
            Some(Known { role, proof }) => (
                proof.key.clone(),
                proof.salt.clone(),
                Some((principal(authid.to_owned(), role, "wampcra", "static"), None)),
            ),
            None => (self.secret.to_vec(), self.invented_salt(authid), None),
        };
        self.secret_challenge(attempt, authid, &key, salt, proven, "static")
    }

    fn secret_challenge(
        &mut self,
        attempt: Try<'_>,
        authid: &str,
        key: &[u8],
        salt: Option<Salt>,
        principal: Proven,
        provider: &str,
    ) -> Verdict {
        let nonce = self.nonce();
        // Not the user's role, which would tell that there is such a user.
        let role = attempt.hello.authrole.as_deref().unwrap_or("user");
        let challenge = serde_json::json!({
            "authid": authid, "authrole": role, "authmethod": "wampcra", "authprovider": provider,
            "session": attempt.session, "nonce": hex(&nonce), "timestamp": attempt.date,
        });
        let challenge = challenge.to_string();
        let mut extra = Extra::new();
        if let Some(salt) = salt {
            let length = i64::try_from(salt.key_length).unwrap_or(32);
            extra.insert("salt".to_owned(), salt.salt.into());
            extra.insert("keylen".to_owned(), Dynamic::Integer(length));
            extra.insert("iterations".to_owned(), Dynamic::Integer(salt.iterations.into()));
        }
        let proof = Proof::Text(sign_challenge(key, &challenge));
        extra.insert("challenge".to_owned(), challenge.into());
        let challenge = Challenge {
            method: "wampcra".to_owned(),
            extra,
        };
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

    /// The key that a client offers, and whose it is.
    fn key_of(&self, attempt: Try<'_>) -> (Option<[u8; 32]>, Proven) {
        let key = attempt.extra("pubkey").and_then(from_hex::<32>);
        let wanted = attempt.hello.authid.as_ref();
        let known = key.and_then(|key| {
            let mut known = self.keys.iter();
            known.find(|(authid, known)| known.proof.contains(&key) && wanted.is_none_or(|wanted| wanted == *authid))
        });
        let proven = known.map(|(authid, known)| {
            let principal = principal(authid.clone(), &known.role, "cryptosign", "static");
            (principal, None)
        });
        (key, proven)
    }

    fn signature_challenge(&mut self, key: [u8; 32], principal: Proven) -> Verdict {
        let challenge = self.nonce();
        let extra = [
            ("challenge".to_owned(), Dynamic::from(hex(&challenge))),
            ("channel_binding".to_owned(), Dynamic::Null),
        ];
        let proof = Proof::Signature { key, challenge };
        let challenge = Challenge {
            method: "cryptosign".to_owned(),
            extra: extra.into(),
        };
        Verdict::Challenge(challenge, Expected { principal, proof })
    }

    fn ask_scram(&mut self, attempt: Try<'_>) -> Verdict {
        let authid = attempt.authid();
        if let Some(Known { role, proof }) = self.scrams.get(authid).cloned() {
            let principal = principal(authid.to_owned(), &role, "scram", "static");
            return self.scram_challenge(attempt, &proof, Some((principal, None)));
        }
        // Somebody who does not exist: as if it were one of those who do, with a salt that stays the same.
        let invented = hmac(&self.secret, &[b"scram", authid.as_bytes()]);
        let chosen = usize::from(invented[0]) % self.scrams.len().max(1);
        let Some(example) = self.scrams.values().nth(chosen).map(|known| known.proof.clone()) else {
            return DENIED;
        };
        let salt = invented.iter().copied().cycle().take(example.salt.len()).collect();
        let stranger = ScramCredential {
            salt,
            stored_key: hmac(&self.secret, &[b"stored", authid.as_bytes()]),
            ..example
        };
        self.scram_challenge(attempt, &stranger, None)
    }

    fn scram_challenge(&mut self, attempt: Try<'_>, credential: &ScramCredential, principal: Proven) -> Verdict {
        let nonce = self.nonce();
        let Some((extra, exchange)) =
            credential.challenge(attempt.authid(), attempt.hello.authextra.as_ref(), &nonce[..16])
        else {
            return Verdict::Refuse(
                error::AUTHENTICATION_FAILED,
                "authextra.nonce must be base64 of 8 to 64 bytes.",
            );
        };
        let challenge = Challenge {
            method: "scram".to_owned(),
            extra,
        };
        let proof = Proof::Scram(exchange);
        Verdict::Challenge(challenge, Expected { principal, proof })
    }

    fn nonce(&mut self) -> [u8; 32] {
        self.challenges += 1;
        hmac(&self.secret, &[b"challenge", &self.challenges.to_be_bytes()])
    }
}

impl Expected {
    /// Who has authenticated, if the answer proves it.
    pub(super) fn prove(self, answer: &Authenticate) -> Verdict {
        let mut server_proof = None;
        let proven = match &self.proof {
            Proof::Ticket(hash) => hash.matches(&answer.signature),
            Proof::AskedTicket => {
                return Verdict::Ask(Question {
                    method: "ticket".to_owned(),
                    ticket: Some(answer.signature.clone()),
                });
            }
            Proof::Text(text) => {
                use subtle::ConstantTimeEq;
                answer.signature.as_bytes().ct_eq(text.as_bytes()).into()
            }
            Proof::Signature { key, challenge } => is_signed(key, challenge, &answer.signature),
            Proof::Scram(exchange) => {
                server_proof = Some(exchange.server_proof());
                exchange.is_proven(&answer.signature)
            }
        };
        // After the check, so that somebody who does not exist takes the same time.
        match self.principal.filter(|_| proven) {
            Some((principal, extra)) => {
                let extra = match (extra, server_proof) {
                    (Some(mut extra), Some(proof)) => {
                        extra.extend(proof);
                        Some(extra)
                    }
                    (extra, proof) => extra.or(proof),
                };
                Verdict::Welcome(principal, extra)
            }
            None => DENIED,
        }
    }
}

fn ticket_challenge(principal: Proven, proof: Proof) -> Verdict {
    let challenge = Challenge {
        method: "ticket".to_owned(),
        extra: Extra::new(),
    };
    Verdict::Challenge(challenge, Expected { principal, proof })
}

/// Whether the transport has authenticated somebody: a name that it gave to a stranger does not count.
fn is_known(transport: &Principal) -> bool {
    transport.authmethod == DOOR || (!transport.authid.is_empty() && transport.authmethod != "anonymous")
}

/// Gives a stranger a name and a role.
pub(super) fn named(mut principal: Principal, session: SessionId) -> Principal {
    if principal.authid.is_empty() {
        principal.authid = anonymous_name(session);
    }
    for (what, otherwise) in [
        (&mut principal.authrole, "anonymous"),
        (&mut principal.authmethod, "anonymous"),
        (&mut principal.authprovider, "static"),
    ] {
        if what.is_empty() {
            otherwise.clone_into(what);
        }
    }
    principal
}

/// The name of somebody who did not say who it is: each its own, so that publishers can pick out one of many.
fn anonymous_name(session: SessionId) -> String {
    format!("anonymous-{session}")
}

fn principal(authid: String, role: &str, method: &str, provider: &str) -> Principal {
    Principal {
        authprovider: provider.to_owned(),
        ..Principal::new(authid, role, method)
    }
}
