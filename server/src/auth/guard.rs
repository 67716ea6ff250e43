//! Slows down guessing at the router's own logins, over all its realms.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use shared::wamp::{Message, message::HelloDetails};

use super::throttle::Throttle;
use crate::telemetry;

/// Who tried to log in how often; shared by all realms of a server.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Held for the few instructions of a table look-up.
    throttle: Mutex<Throttle>,
    origin: Instant,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            throttle: Mutex::default(),
            origin: Instant::now(),
        }
    }
}

/// A login under way at one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempt {
    /// Who it says to be.
    name: String,
    /// It has said HELLO and proven nothing yet.
    opened: bool,
    /// Its proof was let through.
    admitted: bool,
}

impl Guard {
    /// Looks at what somebody says who has not joined yet. `address` is none for who comes over a Unix socket.
    ///
    /// # Errors
    /// A sentence for somebody who has tried too often: the router must not see this message.
    pub(crate) fn hears(
        &self,
        attempt: &mut Attempt,
        address: Option<IpAddr>,
        message: &Message,
    ) -> Result<(), String> {
        let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let now = self.origin.elapsed();
        let wait = if let Message::Hello(hello) = message {
            *attempt = Attempt {
                name: name(&hello.details),
                opened: true,
                admitted: false,
            };
            // An authenticator may be asked already now: not for who may not go on anyway.
            self.throttle().wait(&attempt.name, address, now)
        } else if matches!(message, Message::Authenticate(_)) && std::mem::take(&mut attempt.opened) {
            attempt.admitted = true;
            self.throttle().admit(&attempt.name, address, now).err()
        } else {
            // A proof that nobody asked for breaks the protocol, as the router will say, and is no guess.
            None
        };
        match wait.filter(|wait| !wait.is_zero()) {
            Some(wait) => {
                metrics::counter!(telemetry::LOGINS, "outcome" => "throttled").increment(1);
                Err(format!("Too many tries: wait {} seconds.", wait.as_secs() + 1))
            }
            None => Ok(()),
        }
    }

    /// Somebody has joined.
    pub(crate) fn welcomes(&self, attempt: &Attempt, address: Option<IpAddr>) {
        if attempt.admitted {
            let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
            self.throttle().succeeded(&attempt.name, address, self.origin.elapsed());
            metrics::counter!(telemetry::LOGINS, "outcome" => "success").increment(1);
        }
    }

    /// Somebody was refused.
    pub(crate) fn refuses(attempt: &Attempt) {
        if attempt.admitted {
            metrics::counter!(telemetry::LOGINS, "outcome" => "failure").increment(1);
        }
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name that tries are counted by: with keys that is the key, where no other is said.
fn name(hello: &HelloDetails) -> String {
    let key = || hello.authextra.as_ref()?.get("pubkey")?.as_str();
    let said = hello.authid.as_deref().or_else(key).unwrap_or_default();
    // Apart from the accounts of people, who have passwords.
    format!("wamp {said}")
}
