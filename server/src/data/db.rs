//! The database: one writer and a few readers on SQLite, a pool on PostgreSQL, and what must hold before either is used.

use std::{fmt, path::Path, str::FromStr, sync::Arc, time::Duration};

use shared::error::{Error, ErrorKind, Result};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Row as _,
    postgres::{PgPool, PgPoolOptions},
    sqlite::{
        SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};
use tokio::sync::Notify;

use crate::auth::AccountChanges;

use super::{
    error::of_sqlx,
    migrations::{Migrations, run_framework_migrations, run_migrations},
    transaction::{Backend, Transaction},
};

/// The first SQLite without the bug that could lose committed writes when two connections write and checkpoint at once.
const MINIMUM_SQLITE: (u32, u32, u32) = (3, 51, 3);
/// How long a writer waits for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the writer: a page jump of one user must not wait for the count of another.
const READERS: u32 = 4;

/// A database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    /// Rung after each commit of our own; the feed listens, unless hints are off.
    bell: Notify,
    /// Told after each change of an account of our own.
    accounts: AccountChanges,
    url: String,
}

enum Pools {
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
        options: Box<SqliteConnectOptions>,
    },
    Postgres(PgPool),
}

impl fmt::Debug for Db {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password.
        formatter
            .debug_struct("Db")
            .field("backend", &self.backend())
            .finish_non_exhaustive()
    }
}

impl Db {
    /// Opens `sqlite:<path>` (the file is made when missing, its folder is not) or `postgres://…`.
    ///
    /// # Errors
    /// One line that says what is wrong and where: `InvalidArgument` for the URL, `NotFound` for a missing folder,
    /// `Refused` for a file that is read-only or no database, and for a database that is too old or does not answer.
    pub async fn connect(url: &str) -> Result<Self> {
        let pools = if let Some(path) = url.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            connect_sqlite(Path::new(path)).await?
        } else if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            connect_postgres(url).await?
        } else {
            let message = "The database must be given as sqlite:<path> or postgres://….";
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        };
        Ok(Self {
            inner: Arc::new(Inner {
                pools,
                bell: Notify::new(),
                accounts: AccountChanges::default(),
                url: url.to_owned(),
            }),
        })
    }

    pub(super) fn account_changes(&self) -> &AccountChanges {
        &self.inner.accounts
    }

    /// Which database it is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.inner.pools {
            Pools::Sqlite { .. } => Backend::Sqlite,
            Pools::Postgres(_) => Backend::Postgres,
        }
    }

    /// The address it was opened with. May contain a password: not for logs.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// Brings the framework's own tables and then the application's to the newest version.
    ///
    /// # Errors
    /// `Refused` with the migration's number when one fails or does not match what ran before.
    pub async fn migrate(&self, application: &Migrations) -> Result<()> {
        self.migrate_framework().await?;
        match &self.inner.pools {
            Pools::Sqlite { writer, .. } => run_migrations(&application.sqlite, writer).await,
            Pools::Postgres(pool) => run_migrations(&application.postgres, pool).await,
        }
    }

    /// Brings the framework's own tables to the newest version.
    pub(crate) async fn migrate_framework(&self) -> Result<()> {
        match &self.inner.pools {
            Pools::Sqlite { writer, .. } => run_framework_migrations(Backend::Sqlite, writer).await,
            Pools::Postgres(pool) => run_framework_migrations(Backend::Postgres, pool).await,
        }
    }

    /// Starts a read transaction: everything read in it belongs to one committed state.
    ///
    /// # Errors
    /// `Busy` when no connection is free in time, else `Internal`.
    pub async fn read(&self) -> Result<Transaction> {
        match &self.inner.pools {
            Pools::Sqlite { readers, .. } => readers.begin().await.map(Transaction::Sqlite).map_err(of_sqlx),
            Pools::Postgres(pool) => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                pool.begin_with(begin).await.map(Transaction::Postgres).map_err(of_sqlx)
            }
        }
    }

    /// Starts a write transaction. On SQLite it is the only one of this process, and it holds the file's write lock
    /// from the start, so that it cannot fail half-way because another process wrote meanwhile.
    ///
    /// # Errors
    /// `Busy` when the lock is not free in time, else `Internal`.
    pub async fn write(&self) -> Result<Transaction> {
        match &self.inner.pools {
            Pools::Sqlite { writer, .. } => writer
                .begin_with("BEGIN IMMEDIATE")
                .await
                .map(Transaction::Sqlite)
                .map_err(of_sqlx),
            Pools::Postgres(pool) => pool.begin().await.map(Transaction::Postgres).map_err(of_sqlx),
        }
    }

    /// Makes a transaction durable and rings the feed's bell. Without the ring the feed finds the change by polling.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit(&self, transaction: Transaction) -> Result<()> {
        transaction.commit().await?;
        self.ring();
        Ok(())
    }

    /// Tells the feed that something may have changed.
    pub fn ring(&self) {
        self.inner.bell.notify_one();
    }

    /// Waits for the next ring.
    pub(crate) async fn rung(&self) {
        self.inner.bell.notified().await;
    }

    /// A connection that notices commits of others; `None` where the database has no cheap way to ask.
    pub(crate) async fn watcher(&self) -> Result<Option<Watcher>> {
        match &self.inner.pools {
            Pools::Sqlite { options, .. } => {
                let connection = options
                    .clone()
                    .pragma("query_only", "ON")
                    .connect()
                    .await
                    .map_err(of_sqlx)?;
                Ok(Some(Watcher { connection, seen: None }))
            }
            Pools::Postgres(_) => Ok(None),
        }
    }

    /// Lets the database learn how values are distributed, which decides between indices. After bulk loads.
    ///
    /// # Errors
    /// As [`Transaction::fetch`].
    pub async fn analyze(&self) -> Result<()> {
        match &self.inner.pools {
            Pools::Sqlite { writer, readers, .. } => {
                sqlx::raw_sql("ANALYZE").execute(writer).await.map_err(of_sqlx)?;
                // Readers keep the plan statistics they loaded at open; new connections read the new ones.
                let idle = readers.num_idle();
                for _ in 0..idle {
                    if let Some(connection) = readers.try_acquire() {
                        connection.close().await.map_err(of_sqlx)?;
                    }
                }
                Ok(())
            }
            Pools::Postgres(pool) => sqlx::raw_sql("ANALYZE").execute(pool).await.map(drop).map_err(of_sqlx),
        }
    }

    /// Whether the database answers; for readiness checks.
    ///
    /// # Errors
    /// What it answered instead.
    pub async fn ping(&self) -> Result<()> {
        let mut transaction = self.read().await?;
        transaction
            .fetch(&super::Statement::new("SELECT 1", Vec::new()))
            .await
            .map(drop)
    }

    /// Closes all connections after what runs has finished; the last one folds the write-ahead log into the file.
    pub async fn close(&self) {
        match &self.inner.pools {
            Pools::Sqlite { writer, readers, .. } => {
                readers.close().await;
                writer.close().await;
            }
            Pools::Postgres(pool) => pool.close().await,
        }
    }
}

/// Asks SQLite whether another connection, of any process, has committed.
pub(crate) struct Watcher {
    connection: SqliteConnection,
    seen: Option<i64>,
}

impl Watcher {
    /// Whether there was a commit since the last call; the first call says yes.
    pub(crate) async fn changed(&mut self) -> Result<bool> {
        let row = sqlx::query("PRAGMA data_version")
            .fetch_one(&mut self.connection)
            .await
            .map_err(of_sqlx)?;
        let version: i64 = row.try_get(0).map_err(of_sqlx)?;
        Ok(self.seen.replace(version) != Some(version))
    }
}

fn refused(path: &Path, what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("The database file {} {what}.", path.display()),
    )
}

async fn connect_sqlite(path: &Path) -> Result<Pools> {
    if path.as_os_str().is_empty() || path == Path::new(":memory:") {
        let message = "The database needs a file: sqlite:<path>. One in memory cannot be shared by connections.";
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    check_file(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // Without it a REPLACE deletes rows without firing their triggers, and grids would keep ghosts.
        .pragma("recursive_triggers", "ON")
        .pragma("temp_store", "MEMORY")
        .pragma("cache_size", "-16000")
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let explain = |error: sqlx::Error| explain_open(path, error);
    let writer = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options.clone())
        .await
        .map_err(explain)?;
    check_sqlite_version(&writer).await?;
    // Only the writer checkpoints: a reader that did would hold up others for no gain of its own.
    let readers = SqlitePoolOptions::new()
        .max_connections(READERS)
        .idle_timeout(None)
        .max_lifetime(None)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(
            options
                .clone()
                .pragma("wal_autocheckpoint", "0")
                .pragma("query_only", "ON"),
        )
        .await
        .map_err(explain)?;
    Ok(Pools::Sqlite {
        writer,
        readers,
        options: Box::new(options),
    })
}

/// What the operating system can say in advance, better than SQLite would.
fn check_file(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let message = format!("The folder {} of the database file does not exist.", folder.display());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Err(refused(path, "is a folder")),
        Ok(metadata) if metadata.permissions().readonly() => Err(refused(path, "is read-only")),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(path, format_args!("cannot be used: {error}"))),
    }
}

fn explain_open(path: &Path, error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<u32>().ok()),
        _ => None,
    };
    match code.map(|code| code & 0xff) {
        Some(26) => refused(path, "is not a SQLite database"),
        Some(8) => refused(path, "is read-only"),
        Some(14) => refused(path, "cannot be opened; are file and folder writable?"),
        Some(11) => refused(path, "is damaged"),
        Some(5 | 6) => refused(path, "is locked by another program"),
        Some(13) => refused(path, "cannot grow: the disk is full"),
        _ => refused(path, format_args!("cannot be opened: {error}")),
    }
}

async fn check_sqlite_version(pool: &SqlitePool) -> Result<()> {
    let row = sqlx::query("SELECT sqlite_version()")
        .fetch_one(pool)
        .await
        .map_err(of_sqlx)?;
    let text: String = row.try_get(0).map_err(of_sqlx)?;
    if parse_version(&text) < MINIMUM_SQLITE {
        let (major, minor, patch) = MINIMUM_SQLITE;
        let message =
            format!("SQLite {text} can lose committed writes; this program needs {major}.{minor}.{patch} or newer.");
        return Err(Error::new(ErrorKind::Refused, message));
    }
    Ok(())
}

/// `3.51.3` as numbers; what is missing or no number counts as 0.
fn parse_version(text: &str) -> (u32, u32, u32) {
    let mut parts = text.split('.').map(|part| u32::from_str(part).unwrap_or_default());
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}

async fn connect_postgres(url: &str) -> Result<Pools> {
    let pool = PgPoolOptions::new()
        .max_connections(10)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let setup = "SET statement_timeout = '30s'; SET idle_in_transaction_session_timeout = '60s'";
                sqlx::raw_sql(AssertSqlSafe(setup)).execute(connection).await.map(drop)
            })
        })
        .connect(url)
        .await
        .map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                format!("The PostgreSQL server does not answer: {error}."),
            )
        })?;
    Ok(Pools::Postgres(pool))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_text() {
        assert!(parse_version("3.51.3") >= MINIMUM_SQLITE);
        assert!(parse_version("3.100.0") > MINIMUM_SQLITE);
        assert!(parse_version("3.51.2") < MINIMUM_SQLITE);
        assert!(parse_version("nonsense") < MINIMUM_SQLITE);
    }
}
