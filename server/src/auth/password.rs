//! Argon2id, a few at a time and off the async threads.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use super::Refusal;
use crate::error::{Error, ErrorKind, Result};

/// Memory of one hash in KiB: OWASP's first recommended setting for argon2id is 19 MiB, 2 passes, 1 lane.
const MEMORY: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Longer passwords are refused: they cost time before the memory-hard part starts.
const LONGEST: usize = 1024;
/// Hashes computed at the same time: 2 x 19 MiB.
const AT_ONCE: usize = 2;
/// Callers that may wait for their turn; at some 30 ms each that is a wait of about a second.
const WAITING: usize = 64;

/// The PHC string that is stored for a password. It takes tens of milliseconds: call it from `spawn_blocking`.
///
/// # Errors
/// [`ErrorKind::Configuration`] for an empty or overlong password.
pub fn hash_password(password: &str) -> Result<String> {
    if password.is_empty() || password.len() > LONGEST {
        return Err(Error::configuration(format!("A password has 1 to {LONGEST} bytes")));
    }
    let hashed = hasher()?.hash_password(password.as_bytes());
    hashed
        .map(|hash| hash.to_string())
        .map_err(|error| Error::new(ErrorKind::Internal, "Cannot hash a password").because(error.to_string()))
}

fn hasher() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY, PASSES, LANES, None)
        .map_err(|error| Error::new(ErrorKind::Internal, "Wrong parameters of argon2").because(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Checks passwords against stored hashes.
#[derive(Debug)]
pub(super) struct PasswordChecker {
    running: Arc<Semaphore>,
    /// Permits to run or wait; without one the caller is told to come back.
    queue: Arc<Semaphore>,
}

impl Default for PasswordChecker {
    fn default() -> Self {
        Self {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
        }
    }
}

impl PasswordChecker {
    /// Whether the password belongs to the hash. No hash costs the same as a wrong password.
    pub(super) async fn check(&self, password: String, hash: Option<String>) -> Result<bool, Refusal> {
        let place = self.queue.clone().try_acquire_owned().map_err(|_| Refusal::Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| Refusal::Busy)?;
        let checked = tokio::task::spawn_blocking(move || {
            // The hash goes on when the client hangs up, so it is this that gives the places back.
            let _places = (place, turn);
            verify(&password, hash.as_deref())
        });
        checked
            .await
            .unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, "A password check panicked").because(error)))
            .map_err(Refusal::Failed)
    }
}

/// A hash that no password has, with the parameters of real ones.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$Y29hdGktbm9ib2R5LTAxNg$3Xc9JdQ8ZQ2m0mGmS1n0Xr7m5b8Y0m1v2w3x4y5z6A8";

fn verify(password: &str, hash: Option<&str>) -> Result<bool> {
    verify_by(password, hash, |password, parsed| {
        // Recomputes with the parameters of the stored hash and compares in constant time.
        Ok(hasher()?.verify_password(password.as_bytes(), parsed).is_ok())
    })
}

/// The steps of a check around the costly one, which is taken exactly once whether there is a hash or not.
fn verify_by(
    password: &str,
    hash: Option<&str>,
    costly: impl FnOnce(&str, &PasswordHash) -> Result<bool>,
) -> Result<bool> {
    if password.len() > LONGEST {
        return Ok(false);
    }
    let parsed = PasswordHash::new(hash.unwrap_or(NOBODY)).map_err(|error| {
        Error::new(ErrorKind::Accounts, "A stored password hash is damaged").because(error.to_string())
    })?;
    let matches = costly(password, &parsed)?;
    Ok(matches && hash.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_states_its_parameters_and_verifies_only_its_password() {
        let password = "pässword with spaces and 🦝";
        let hash = hash_password(password).expect("a usable password");
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(password, Some(&hash)).expect("a sound hash"));
        assert!(!verify("password", Some(&hash)).expect("a sound hash"));
        assert!(verify(password, Some("damaged")).is_err());
        assert!(hash_password("").is_err() && hash_password(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn an_unknown_account_costs_as_much_as_a_wrong_password() {
        let stored = hash_password("right").expect("a usable password");
        let cost_of = |hash: Option<&str>| {
            let mut costs = Vec::new();
            let right = verify_by("wrong", hash, |_, parsed| {
                let (output, salt) = (parsed.hash.map(|hash| hash.len()), parsed.salt.map(|salt| salt.len()));
                costs.push((
                    parsed.algorithm.to_string(),
                    parsed.version,
                    parsed.params.to_string(),
                    output,
                    salt,
                ));
                Ok(true)
            });
            assert_eq!(
                right.expect("a sound hash"),
                hash.is_some(),
                "nobody gets in without an account"
            );
            costs
        };
        let (known, unknown) = (cost_of(Some(&stored)), cost_of(None));
        assert_eq!(known, unknown);
        assert_eq!(known.len(), 1);
    }

    #[tokio::test]
    async fn a_crowd_is_told_to_come_back() {
        let checker = PasswordChecker::default();
        let _all = checker.running.acquire_many(2).await.expect("nobody has one yet");
        let mut crowd: Vec<_> = (0..AT_ONCE + WAITING + 20)
            .map(|_| Box::pin(checker.check("wrong".to_owned(), None)))
            .collect();
        let refused = crowd.iter_mut().filter_map(futures::FutureExt::now_or_never);
        assert_eq!(refused.filter(|one| matches!(one, Err(Refusal::Busy))).count(), 20);
    }
}
