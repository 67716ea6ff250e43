//! Accounts, logins and session roots, kept in the database.

use futures::{FutureExt as _, future::BoxFuture};
use shared::data::Cell;

use super::{
    db::Db,
    transaction::{Backend, Statement},
};
use crate::{
    auth::{Account, AccountChanges, AccountStore, Login, Root, RootStore, TokenHash, unix_now},
    error::{Error, ErrorKind, Result},
};

/// Longest login name, in characters.
const MAX_LOGIN: usize = 100;

fn failed(error: shared::error::Error) -> Error {
    Error::new(ErrorKind::Accounts, error.to_string())
}

fn hex(hash: &TokenHash) -> Cell {
    Cell::Text(hash.to_hex())
}

fn token_of(cell: &Cell) -> Option<TokenHash> {
    let text = cell.as_text()?;
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(TokenHash(bytes))
}

fn strange() -> Error {
    Error::new(ErrorKind::Accounts, "A stored account or login has a strange shape")
}

/// Seconds after which a root that nobody took up is forgotten.
const ROOT_LIFETIME: i64 = 30 * 24 * 3600;

impl Db {
    /// Statements are written once, with `?`; PostgreSQL wants numbers.
    fn account_statement(&self, sql: &str, values: Vec<Cell>) -> Statement {
        match self.backend() {
            Backend::Sqlite => Statement::new(sql, values),
            Backend::Postgres => {
                let mut numbered = String::with_capacity(sql.len() + 16);
                let mut number = 0;
                for character in sql.chars() {
                    numbered.push(character);
                    if character == '?' {
                        number += 1;
                        numbered.pop();
                        numbered.push_str(&format!("${number}"));
                    }
                }
                Statement::new(numbered, values)
            }
        }
    }

    async fn account_read(&self, sql: &str, values: Vec<Cell>) -> Result<Option<Vec<Cell>>> {
        let statement = self.account_statement(sql, values);
        let mut transaction = self.read().await.map_err(failed)?;
        transaction.fetch_one(&statement).await.map_err(failed)
    }

    async fn account_write(&self, sql: &str, values: Vec<Cell>) -> Result<u64> {
        let statement = self.account_statement(sql, values);
        let mut transaction = self.write().await.map_err(failed)?;
        let rows = transaction.execute(&statement).await.map_err(failed)?;
        // No ring: accounts are in no window.
        transaction.commit().await.map_err(failed)?;
        Ok(rows)
    }

    /// Adds an account, or gives an existing one a new password and role. True if it is new. Whoever knew the old
    /// password may still sit in a browser: all its logins and tokens end.
    ///
    /// # Errors
    /// [`ErrorKind::Accounts`] for a name that is empty, too long or has spaces or control characters, and what the
    /// database says.
    pub async fn put_account(&self, login: &str, password_hash: &str, role: &str) -> Result<bool> {
        let bad = |character: char| character.is_whitespace() || character.is_control();
        if login.is_empty() || login.chars().count() > MAX_LOGIN || login.contains(bad) {
            let message = format!("A login name has 1 to {MAX_LOGIN} characters and no spaces");
            return Err(Error::new(ErrorKind::Accounts, message));
        }
        let known = self.find_account(login).await?;
        if let Some(known) = &known {
            let sql = "UPDATE coati_user SET password_hash = ?, role = ?, disabled = 0 WHERE lower(login) = lower(?)";
            let change = self.account_statement(sql, vec![password_hash.into(), role.into(), login.into()]);
            let sql =
                "DELETE FROM coati_login WHERE user_id IN (SELECT id FROM coati_user WHERE lower(login) = lower(?))";
            let end = self.account_statement(sql, vec![login.into()]);
            let mut transaction = self.write().await.map_err(failed)?;
            for statement in [&change, &end] {
                transaction.execute(statement).await.map_err(failed)?;
            }
            transaction.commit().await.map_err(failed)?;
            self.account_changes().tell(&known.name);
        } else {
            let sql = "INSERT INTO coati_user (login, password_hash, role, created) VALUES (?, ?, ?, ?)";
            let values = vec![login.into(), password_hash.into(), role.into(), unix_now().into()];
            self.account_write(sql, values).await?;
        }
        Ok(known.is_none())
    }

    /// As [`Db::put_account`], for callers that do not care whether the account is new.
    ///
    /// # Errors
    /// As [`Db::put_account`].
    pub async fn add_account(&self, login: &str, password_hash: &str, role: &str) -> Result<()> {
        self.put_account(login, password_hash, role).await.map(drop)
    }

    /// The role of an account, if there is one of that name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn find_role(&self, login: &str) -> Result<Option<String>> {
        Ok(self.find_account(login).await?.map(|account| account.role))
    }

    /// The issued tokens that still hold, by account and age; browsers' logins are not among them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens(&self) -> Result<Vec<Login>> {
        let sql = "SELECT u.login, l.token_hash, l.created, l.seen, l.expires, l.label \
                   FROM coati_login l JOIN coati_user u ON u.id = l.user_id \
                   WHERE l.label IS NOT NULL AND l.expires > ? ORDER BY lower(u.login), l.created, l.token_hash";
        let statement = self.account_statement(sql, vec![unix_now().into()]);
        let mut transaction = self.read().await.map_err(failed)?;
        let rows = transaction.fetch(&statement).await.map_err(failed)?;
        let login = |row: &Vec<Cell>| {
            let (name, rest) = row.split_first()?;
            login_of(name.as_text()?, rest)
        };
        rows.iter().map(|row| login(row).ok_or_else(strange)).collect()
    }

    /// Ends the issued token whose hash begins with these hexadecimal digits; answers how many there are: ended if that
    /// is one, left alone otherwise. Who uses it is cut off at the next check of its login.
    ///
    /// # Errors
    /// What the database says.
    pub async fn remove_token(&self, start: &str) -> Result<usize> {
        let tokens = self.tokens().await?;
        let named = tokens.iter().filter(|login| login.token.to_hex().starts_with(start));
        let named: Vec<&Login> = named.collect();
        if let [login] = named.as_slice() {
            self.delete_login(login.token).await?;
        }
        Ok(named.len())
    }

    /// Whether there is any account.
    ///
    /// # Errors
    /// What the database says.
    pub async fn has_accounts(&self) -> Result<bool> {
        Ok(self
            .account_read("SELECT 1 FROM coati_user LIMIT 1", Vec::new())
            .await?
            .is_some())
    }
}

fn account_of(cells: &[Cell]) -> Option<Account> {
    let [
        Cell::Text(name),
        Cell::Text(password_hash),
        Cell::Text(role),
        Cell::Integer(disabled),
    ] = cells
    else {
        return None;
    };
    Some(Account {
        name: name.clone(),
        password_hash: password_hash.clone(),
        role: role.clone(),
        enabled: *disabled == 0,
    })
}

/// The columns `token_hash, created, seen, expires, label`.
fn login_of(name: &str, cells: &[Cell]) -> Option<Login> {
    let [
        stored,
        Cell::Integer(created),
        Cell::Integer(seen),
        Cell::Integer(expires),
        label,
    ] = cells
    else {
        return None;
    };
    Some(Login {
        token: token_of(stored)?,
        name: name.to_owned(),
        created: *created,
        seen: *seen,
        expires: *expires,
        label: label.as_text().map(str::to_owned),
    })
}

impl AccountStore for Db {
    fn find_account<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Account>>> {
        async move {
            let sql = "SELECT login, password_hash, role, disabled FROM coati_user WHERE lower(login) = lower(?)";
            let row = self.account_read(sql, vec![name.into()]).await?;
            row.map(|row| account_of(&row).ok_or_else(strange)).transpose()
        }
        .boxed()
    }

    fn create_login(&self, login: Login) -> BoxFuture<'_, Result<()>> {
        async move {
            self.account_write("DELETE FROM coati_login WHERE expires < ?", vec![login.created.into()])
                .await?;
            let sql = "INSERT INTO coati_login (token_hash, user_id, created, seen, expires, label) \
                       SELECT ?, id, CAST(? AS bigint), CAST(? AS bigint), CAST(? AS bigint), CAST(? AS text) \
                       FROM coati_user WHERE lower(login) = lower(?)";
            let values = vec![
                hex(&login.token),
                login.created.into(),
                login.seen.into(),
                login.expires.into(),
                login.label.map_or(Cell::Null, Cell::Text),
                login.name.into(),
            ];
            match self.account_write(sql, values).await? {
                1 => Ok(()),
                _ => Err(Error::new(ErrorKind::Accounts, "The account of a login does not exist")),
            }
        }
        .boxed()
    }

    fn find_login(&self, token: TokenHash) -> BoxFuture<'_, Result<Option<(Login, Account)>>> {
        async move {
            let sql = "SELECT u.login, u.password_hash, u.role, u.disabled, l.token_hash, l.created, l.seen, l.expires, l.label \
                       FROM coati_login l JOIN coati_user u ON u.id = l.user_id WHERE l.token_hash = ?";
            let Some(row) = self.account_read(sql, vec![hex(&token)]).await? else {
                return Ok(None);
            };
            let account = row.get(..4).and_then(account_of).ok_or_else(strange)?;
            let login = row.get(4..).and_then(|row| login_of(&account.name, row));
            Ok(Some((login.ok_or_else(strange)?, account)))
        }
        .boxed()
    }

    fn touch_login(&self, token: TokenHash, seen: i64) -> BoxFuture<'_, Result<()>> {
        async move {
            let sql = "UPDATE coati_login SET seen = ? WHERE token_hash = ?";
            self.account_write(sql, vec![seen.into(), hex(&token)]).await.map(drop)
        }
        .boxed()
    }

    fn delete_login(&self, token: TokenHash) -> BoxFuture<'_, Result<()>> {
        async move {
            self.account_write("DELETE FROM coati_login WHERE token_hash = ?", vec![hex(&token)])
                .await
                .map(drop)
        }
        .boxed()
    }

    fn changes(&self) -> Option<&AccountChanges> {
        Some(self.account_changes())
    }
}

impl RootStore for Db {
    fn save_root(&self, root: Root) -> BoxFuture<'_, Result<()>> {
        async move {
            let sql = "INSERT INTO coati_root (base, login, secret_hash, created, seen) VALUES (?, ?, ?, ?, ?) \
                       ON CONFLICT (base) DO UPDATE SET login = excluded.login, secret_hash = excluded.secret_hash, seen = excluded.seen";
            let now = unix_now();
            let old = vec![(now - ROOT_LIFETIME).into()];
            self.account_write("DELETE FROM coati_root WHERE seen < CAST(? AS bigint)", old)
                .await?;
            let values = vec![root.base.into(), root.name.into(), hex(&root.secret), now.into(), now.into()];
            self.account_write(sql, values).await.map(drop)
        }
        .boxed()
    }

    fn find_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<Option<Root>>> {
        async move {
            let sql = "SELECT base, login, secret_hash FROM coati_root WHERE base = ?";
            let Some(row) = self.account_read(sql, vec![base.into()]).await? else {
                return Ok(None);
            };
            match row.as_slice() {
                [Cell::Text(base), Cell::Text(name), secret] => {
                    let secret = token_of(secret).ok_or_else(strange)?;
                    Ok(Some(Root {
                        base: base.clone(),
                        name: name.clone(),
                        secret,
                    }))
                }
                _ => Err(strange()),
            }
        }
        .boxed()
    }

    fn delete_root<'a>(&'a self, base: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            self.account_write("DELETE FROM coati_root WHERE base = ?", vec![base.into()])
                .await
                .map(drop)
        }
        .boxed()
    }
}
