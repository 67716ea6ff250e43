//! Brings tables to their newest version: the framework's own and the application's, each under a version table of its own.

use shared::error::{Error, ErrorKind, Result};
use sqlx::{
    Database, Pool,
    migrate::{Migrate, MigrateError, Migrator},
};

use super::transaction::Backend;

/// The application's migrations for both databases, made by `sqlx::migrate!("…/migrations/sqlite")` and `…/postgres`.
#[derive(Debug)]
pub struct Migrations {
    /// For SQLite.
    pub sqlite: Migrator,
    /// For PostgreSQL, with the same numbers and the same logical schema.
    pub postgres: Migrator,
}

/// Version table of the framework's own migrations.
const FRAMEWORK_TABLE: &str = "coati_migration";

pub(crate) async fn run_framework_migrations<DB>(backend: Backend, pool: &Pool<DB>) -> Result<()>
where
    DB: Database,
    DB::Connection: Migrate,
{
    let mut migrator = match backend {
        Backend::Sqlite => sqlx::migrate!("src/data/migrations/sqlite"),
        Backend::Postgres => sqlx::migrate!("src/data/migrations/postgres"),
    };
    migrator.table_name = FRAMEWORK_TABLE.into();
    run_migrations(&migrator, pool).await
}

pub(crate) async fn run_migrations<DB>(migrator: &Migrator, pool: &Pool<DB>) -> Result<()>
where
    DB: Database,
    DB::Connection: Migrate,
{
    let mut connection = pool.acquire().await.map_err(super::error::of_sqlx)?;
    migrator
        .run_direct(None, &mut *connection, false)
        .await
        .map_err(explain)
}

fn explain(error: MigrateError) -> Error {
    let message = match error {
        MigrateError::VersionMismatch(version) => {
            format!("Migration {version} has changed since it ran on this database; write a new one instead.")
        }
        MigrateError::VersionMissing(version) => {
            format!(
                "This database has migration {version}, which this program does not know; it is newer than the program."
            )
        }
        MigrateError::Dirty(version) => format!("Migration {version} stopped half-way; the database needs repair."),
        MigrateError::ExecuteMigration(cause, version) => format!("Migration {version} failed: {cause}."),
        other => format!("The database could not be migrated: {other}."),
    };
    Error::new(ErrorKind::Refused, message)
}
