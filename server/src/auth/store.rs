//! What the authenticator asks of whoever stores accounts, and a store in memory for tests and bare routers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt, future::BoxFuture};

use super::{AccountChanges, TokenHash, hash_password};
use crate::error::{Error, ErrorKind, Result};

/// A person or program that can log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The login name, as stored (a look-up may ignore case).
    pub name: String,
    /// PHC string of [`hash_password`].
    pub password_hash: String,
    /// The role that rules and the router judge by.
    pub role: String,
    /// A disabled account cannot log in, and its logins end.
    pub enabled: bool,
}

/// A started login. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// SHA-256 of the token in the cookie.
    pub token: TokenHash,
    /// The account's login name.
    pub name: String,
    /// When it started.
    pub created: i64,
    /// When it was last used, about a minute exact.
    pub seen: i64,
    /// When it ends whatever happens.
    pub expires: i64,
    /// What an issued token is for, in words; None for the login of a browser. Tokens do not end by being unused.
    pub label: Option<String>,
}

impl Login {
    /// Whether it is a token that was issued for a program or an operator.
    #[must_use]
    pub fn is_issued(&self) -> bool {
        self.label.is_some()
    }
}

/// Where accounts and logins are kept.
pub trait AccountStore: Send + Sync + 'static {
    /// The account of a login name.
    fn find_account<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Account>>>;

    /// Keeps a login. Expired ones may be deleted on this occasion.
    fn create_login(&self, login: Login) -> BoxFuture<'_, Result<()>>;

    /// A login together with its account.
    fn find_login(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<(Login, Account)>>>;

    /// Sets when a login was last used.
    fn touch_login(&self, token: TokenHash, seen: i64) -> BoxFuture<'_, Result<()>>;

    /// Forgets a login; no error if there is none.
    fn delete_login(&self, token: TokenHash) -> BoxFuture<'_, Result<()>>;

    /// Where this store tells that an account has changed. Without it, open sockets notice at their next check.
    fn changes(&self) -> Option<&AccountChanges> {
        None
    }
}

/// What is kept of a session root so that its client can take it up again, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The base path of the session's node tree: public.
    pub base: String,
    /// The login name it belongs to.
    pub name: String,
    /// SHA-256 of the resume secret.
    pub secret: TokenHash,
}

/// Where session roots are kept.
pub trait RootStore: Send + Sync + 'static {
    /// Keeps a root, replacing an older one of the same base.
    fn save_root(&self, root: Root) -> BoxFuture<'_, Result<()>>;

    /// The root of a base.
    fn find_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<Option<Root>>>;

    /// Forgets a root; no error if there is none.
    fn delete_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// Accounts, logins and roots that end with the process.
#[derive(Debug, Default)]
pub struct MemoryAccounts {
    tables: Mutex<Tables>,
    changes: AccountChanges,
}

#[derive(Debug, Default)]
struct Tables {
    accounts: BTreeMap<String, Account>,
    logins: BTreeMap<TokenHash, Login>,
    roots: BTreeMap<String, Root>,
}

impl MemoryAccounts {
    /// Adds an account.
    ///
    /// # Errors
    /// As [`hash_password`].
    pub async fn add(&self, name: &str, password: &str, role: &str) -> Result<()> {
        let password = password.to_owned();
        let password_hash = tokio::task::spawn_blocking(move || hash_password(&password))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "Hashing a password panicked").because(error))??;
        let account = Account {
            name: name.to_owned(),
            password_hash,
            role: role.to_owned(),
            enabled: true,
        };
        self.tables().accounts.insert(account.name.clone(), account);
        Ok(())
    }

    /// Disables or enables an account, if there is one of that name.
    pub fn set_enabled(&self, name: &str, enabled: bool) {
        if let Some(account) = self.tables().accounts.get_mut(name) {
            account.enabled = enabled;
        }
        self.changes.tell(name);
    }

    /// Gives an account another role, if there is one of that name.
    pub fn set_role(&self, name: &str, role: &str) {
        if let Some(account) = self.tables().accounts.get_mut(name) {
            role.clone_into(&mut account.role);
        }
        self.changes.tell(name);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T>> {
    std::future::ready(Ok(value)).boxed()
}

impl AccountStore for MemoryAccounts {
    fn find_account<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Account>>> {
        done(self.tables().accounts.get(name).cloned())
    }

    fn create_login(&self, login: Login) -> BoxFuture<'_, Result<()>> {
        self.tables().logins.insert(login.token, login);
        done(())
    }

    fn find_login(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<(Login, Account)>>> {
        let tables = self.tables();
        let login = tables.logins.get(&token).cloned();
        done(login.and_then(|login| {
            tables
                .accounts
                .get(&login.name)
                .cloned()
                .map(|account| (login, account))
        }))
    }

    fn touch_login(&self, token: TokenHash, seen: i64) -> BoxFuture<'_, Result<()>> {
        if let Some(login) = self.tables().logins.get_mut(&token) {
            login.seen = seen;
        }
        done(())
    }

    fn delete_login(&self, token: TokenHash) -> BoxFuture<'_, Result<()>> {
        self.tables().logins.remove(&token);
        done(())
    }

    fn changes(&self) -> Option<&AccountChanges> {
        Some(&self.changes)
    }
}

impl RootStore for MemoryAccounts {
    fn save_root(&self, root: Root) -> BoxFuture<'_, Result<()>> {
        self.tables().roots.insert(root.base.clone(), root);
        done(())
    }

    fn find_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<Option<Root>>> {
        done(self.tables().roots.get(base).cloned())
    }

    fn delete_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<()>> {
        self.tables().roots.remove(base);
        done(())
    }
}
