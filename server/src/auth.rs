//! Who somebody is: accounts, logins and the work of checking them.
//!
//! A login is 256 random bits in a cookie; only their SHA-256 is stored. Passwords are argon2id hashes. What a login may
//! do is the router's business ([`shared::wamp::router`]), not this module's.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use crate::{
    config::LoginLimits,
    error::{Error, ErrorKind, Result},
};

mod changes;
mod guard;
mod password;
mod store;
mod throttle;
mod token;

pub use changes::AccountChanges;
pub use password::hash_password;
pub use store::{Account, AccountStore, Login, MemoryAccounts, Root, RootStore};
pub use token::{MOST_TOKEN_DAYS, issue_token};

pub(crate) use guard::{Attempt, Guard};
use password::PasswordChecker;
use throttle::Throttle;

/// SHA-256 of a login token: what is stored, compared and used as the name of a login.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    /// The hash of a token as it came in a cookie or header.
    #[must_use]
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// 64 hexadecimal digits. They prove nothing: a token cannot be computed from them.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether this is the hash of a token, compared in constant time.
    #[must_use]
    pub fn matches(&self, token: &str) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(&Self::of(token).0).into()
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart in a log.
        write!(
            formatter,
            "TokenHash({:02x}{:02x}{:02x}{:02x}…)",
            self.0[0], self.0[1], self.0[2], self.0[3]
        )
    }
}

/// 256 fresh random bits as text that fits a cookie.
///
/// # Errors
/// [`ErrorKind::Internal`] when the operating system gives no randomness.
pub fn new_token() -> Result<String> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(ErrorKind::Internal, "The system gives no randomness").because(error))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Seconds since 1970 by the system clock: what the stores keep.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A checked login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The account's login name: WAMP's authid.
    pub authid: String,
    /// The account's role: WAMP's authrole.
    pub role: String,
    /// Which login this is, for logging out.
    pub token: TokenHash,
    /// By a token that was issued for a program or an operator, not by a password in a browser.
    pub issued: bool,
}

/// Why a login was refused.
#[derive(Debug)]
pub enum Refusal {
    /// Unknown name or wrong password; which of them is not said.
    WrongCredentials,
    /// Too many tries; the next one counts after this time.
    TooManyTries(Duration),
    /// The machine hashes other passwords already.
    Busy,
    /// Nobody could look.
    Failed(Error),
}

/// Checks passwords and tokens, slowly for those who guess.
pub struct Authenticator {
    store: Arc<dyn AccountStore>,
    passwords: PasswordChecker,
    /// Held for the few instructions of a table look-up, never over an await.
    throttle: Mutex<Throttle>,
    limits: LoginLimits,
    origin: Instant,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authenticator").finish_non_exhaustive()
    }
}

impl Authenticator {
    /// An authenticator over stored accounts.
    #[must_use]
    pub fn new(store: Arc<dyn AccountStore>, limits: LoginLimits) -> Self {
        let throttle = Mutex::new(Throttle::default());
        Self {
            store,
            passwords: PasswordChecker::default(),
            throttle,
            limits,
            origin: Instant::now(),
        }
    }

    /// Checks a password and starts a login. Returns the token for the cookie, which is kept nowhere else.
    ///
    /// # Errors
    /// A [`Refusal`]; the time it takes does not tell whether the account exists.
    pub async fn log_in(&self, name: &str, password: &str, address: IpAddr) -> Result<(String, Identity), Refusal> {
        self.throttle()
            .admit(name, address, self.origin.elapsed())
            .map_err(Refusal::TooManyTries)?;
        let account = self.store.find_account(name).await.map_err(Refusal::Failed)?;
        let usable = account.filter(|account| account.enabled);
        let hash = usable.as_ref().map(|account| account.password_hash.clone());
        let right = self.passwords.check(password.to_owned(), hash).await?;
        let Some(account) = usable.filter(|_| right) else {
            return Err(Refusal::WrongCredentials);
        };
        self.throttle().succeeded(name, address, self.origin.elapsed());
        self.start_login(account).await.map_err(Refusal::Failed)
    }

    async fn start_login(&self, account: Account) -> Result<(String, Identity)> {
        let token = new_token()?;
        let hash = TokenHash::of(&token);
        let now = unix_now();
        let login = Login {
            token: hash,
            name: account.name.clone(),
            created: now,
            seen: now,
            expires: now.saturating_add(seconds(self.limits.absolute)),
            label: None,
        };
        self.store.create_login(login).await?;
        Ok((
            token,
            Identity {
                authid: account.name,
                role: account.role,
                token: hash,
                issued: false,
            },
        ))
    }

    /// The identity behind a token, if the login still holds and its account is enabled.
    ///
    /// # Errors
    /// When the store could not be asked; the caller must then refuse.
    pub async fn identify(&self, token: TokenHash) -> Result<Option<Identity>> {
        let Some((login, account)) = self.store.find_login(token).await? else {
            return Ok(None);
        };
        let now = unix_now();
        let is_idle = !login.is_issued() && now >= login.seen.saturating_add(seconds(self.limits.idle));
        if now >= login.expires || is_idle || !account.enabled {
            self.store.delete_login(token).await?;
            return Ok(None);
        }
        // Once a minute is exact enough for an idle time of hours and spares a write per request.
        let touch_after = seconds(self.limits.idle / 4).min(60);
        if now - login.seen >= touch_after {
            self.store.touch_login(token, now).await?;
        }
        Ok(Some(Identity {
            authid: account.name,
            role: account.role,
            token,
            issued: login.is_issued(),
        }))
    }

    /// Ends a login. Ending one that does not exist is no error.
    ///
    /// # Errors
    /// When the store could not be written.
    pub async fn log_out(&self, token: TokenHash) -> Result<()> {
        self.store.delete_login(token).await
    }

    fn throttle(&self) -> std::sync::MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    async fn with_anna(limits: LoginLimits) -> (Authenticator, Arc<MemoryAccounts>) {
        let store = Arc::new(MemoryAccounts::default());
        store
            .add("anna", "a long enough password", "editor")
            .await
            .expect("a fresh store");
        (Authenticator::new(store.clone(), limits), store)
    }

    #[tokio::test]
    async fn a_login_identifies_until_it_is_ended() {
        let (authenticator, _) = with_anna(LoginLimits::default()).await;
        let (token, identity) = authenticator
            .log_in("anna", "a long enough password", HERE)
            .await
            .expect("right");
        assert_eq!((identity.authid.as_str(), identity.role.as_str()), ("anna", "editor"));
        assert!(token.len() >= 43, "256 bits in base64");
        let hash = TokenHash::of(&token);
        assert_eq!(authenticator.identify(hash).await.expect("a store"), Some(identity));
        authenticator.log_out(hash).await.expect("a store");
        assert_eq!(authenticator.identify(hash).await.expect("a store"), None);
    }

    #[tokio::test]
    async fn wrong_name_wrong_password_and_disabled_account_are_refused_alike() {
        let (authenticator, store) = with_anna(LoginLimits::default()).await;
        for (name, password) in [("anna", "wrong"), ("bert", "a long enough password"), ("", "")] {
            let refused = authenticator.log_in(name, password, HERE).await;
            assert!(matches!(refused, Err(Refusal::WrongCredentials)), "{name}: {refused:?}");
        }
        let (token, _) = authenticator
            .log_in("anna", "a long enough password", HERE)
            .await
            .expect("right");
        store.set_enabled("anna", false);
        assert_eq!(
            authenticator.identify(TokenHash::of(&token)).await.expect("a store"),
            None
        );
        let refused = authenticator.log_in("anna", "a long enough password", HERE).await;
        assert!(matches!(refused, Err(Refusal::WrongCredentials)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_login_past_its_lifetime_is_gone() {
        let limits = LoginLimits {
            absolute: Duration::ZERO,
            ..LoginLimits::default()
        };
        let (authenticator, _) = with_anna(limits).await;
        let (token, _) = authenticator
            .log_in("anna", "a long enough password", HERE)
            .await
            .expect("right");
        assert_eq!(
            authenticator.identify(TokenHash::of(&token)).await.expect("a store"),
            None
        );
    }

    #[tokio::test]
    async fn guessing_is_slowed_here_but_the_right_password_works_from_elsewhere() {
        let (authenticator, _) = with_anna(LoginLimits::default()).await;
        let mut verified = 0;
        for _ in 0..200 {
            match authenticator.log_in("anna", "guess", HERE).await {
                Err(Refusal::WrongCredentials) => verified += 1,
                Err(Refusal::TooManyTries(wait)) => assert!(wait > Duration::ZERO),
                other => panic!("{other:?}"),
            }
        }
        assert!(verified <= 8, "{verified} of 200 guesses were verified");
        let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        authenticator
            .log_in("anna", "a long enough password", elsewhere)
            .await
            .expect("the user is not locked out");
    }
}
