//! One transaction on either database: binds values, reads cells, and nothing else.

use shared::{data::Cell, error::Result};
use sqlx::{
    Arguments, AssertSqlSafe, Column as _, Encode, Row as _, Type, TypeInfo as _, ValueRef as _,
    postgres::{PgArguments, Postgres},
    sqlite::{Sqlite, SqliteArguments},
};

use super::error::{internal, of_sqlx};

/// Which database a statement is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The embedded default.
    Sqlite,
    /// A server shared by many.
    Postgres,
}

/// A rendered statement with its values.
#[derive(Clone, Debug)]
pub struct Statement {
    /// Text with placeholders; never contains a value from outside.
    pub sql: String,
    /// The values, in order.
    pub values: Vec<Cell>,
}

impl Statement {
    /// A statement written by hand, with `?` (SQLite) or `$n` (PostgreSQL) as placeholders.
    #[must_use]
    pub fn new(sql: impl Into<String>, values: Vec<Cell>) -> Self {
        Self {
            sql: sql.into(),
            values,
        }
    }
}

/// A running transaction. Dropped without [`Transaction::commit`] it is rolled back.
#[derive(Debug)]
pub enum Transaction {
    /// On SQLite.
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    /// On PostgreSQL.
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Transaction {
    /// Which database this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres(_) => Backend::Postgres,
        }
    }

    /// All rows that a statement returns.
    ///
    /// # Errors
    /// `Busy`, `Refused` for a broken constraint, else `Internal`.
    pub async fn fetch(&mut self, statement: &Statement) -> Result<Vec<Vec<Cell>>> {
        tracing::trace!(sql = %statement.sql, "fetch");
        let sql = AssertSqlSafe(statement.sql.clone());
        match self {
            Self::Sqlite(transaction) => {
                let arguments = arguments::<SqliteArguments>(&statement.values)?;
                let rows = sqlx::query_with(sql, arguments)
                    .fetch_all(&mut **transaction)
                    .await
                    .map_err(of_sqlx)?;
                rows.iter().map(sqlite_cells).collect()
            }
            Self::Postgres(transaction) => {
                let arguments = arguments::<PgArguments>(&statement.values)?;
                let rows = sqlx::query_with(sql, arguments)
                    .fetch_all(&mut **transaction)
                    .await
                    .map_err(of_sqlx)?;
                rows.iter().map(postgres_cells).collect()
            }
        }
    }

    /// The first row that a statement returns, if any.
    ///
    /// # Errors
    /// As [`Transaction::fetch`].
    pub async fn fetch_one(&mut self, statement: &Statement) -> Result<Option<Vec<Cell>>> {
        Ok(self.fetch(statement).await?.into_iter().next())
    }

    /// Runs a statement; how many rows it touched.
    ///
    /// # Errors
    /// As [`Transaction::fetch`].
    pub async fn execute(&mut self, statement: &Statement) -> Result<u64> {
        tracing::trace!(sql = %statement.sql, "execute");
        let sql = AssertSqlSafe(statement.sql.clone());
        match self {
            Self::Sqlite(transaction) => {
                let arguments = arguments::<SqliteArguments>(&statement.values)?;
                let done = sqlx::query_with(sql, arguments)
                    .execute(&mut **transaction)
                    .await
                    .map_err(of_sqlx)?;
                Ok(done.rows_affected())
            }
            Self::Postgres(transaction) => {
                let arguments = arguments::<PgArguments>(&statement.values)?;
                let done = sqlx::query_with(sql, arguments)
                    .execute(&mut **transaction)
                    .await
                    .map_err(of_sqlx)?;
                Ok(done.rows_affected())
            }
        }
    }

    /// Runs several statements without values, such as a trigger definition.
    ///
    /// # Errors
    /// As [`Transaction::fetch`].
    pub async fn execute_script(&mut self, sql: String) -> Result<()> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        match self {
            Self::Sqlite(transaction) => sql.execute(&mut **transaction).await.map(drop).map_err(of_sqlx),
            Self::Postgres(transaction) => sql.execute(&mut **transaction).await.map(drop).map_err(of_sqlx),
        }
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// As [`Transaction::fetch`]; the outcome is then unknown, and an edit is safe to repeat.
    pub async fn commit(self) -> Result<()> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await.map_err(of_sqlx),
            Self::Postgres(transaction) => transaction.commit().await.map_err(of_sqlx),
        }
    }
}

fn arguments<'q, A>(values: &[Cell]) -> Result<A>
where
    A: Arguments + Default,
    Option<String>: Encode<'q, A::Database> + Type<A::Database>,
    bool: Encode<'q, A::Database> + Type<A::Database>,
    i64: Encode<'q, A::Database> + Type<A::Database>,
    f64: Encode<'q, A::Database> + Type<A::Database>,
    String: Encode<'q, A::Database> + Type<A::Database>,
{
    let mut arguments = A::default();
    for value in values {
        match value {
            Cell::Null => arguments.add(None::<String>),
            Cell::Boolean(value) => arguments.add(*value),
            Cell::Integer(value) => arguments.add(*value),
            Cell::Real(value) => arguments.add(*value),
            Cell::Date(value) => arguments.add(value.to_string()),
            Cell::Text(value) => arguments.add(value.clone()),
        }
        .map_err(|error| internal(&error))?;
    }
    Ok(arguments)
}

/// SQLite types values, not columns: each cell is read as what it is, and fitted to its field later.
fn sqlite_cells(row: &sqlx::sqlite::SqliteRow) -> Result<Vec<Cell>> {
    (0..row.columns().len())
        .map(|index| {
            let raw = row.try_get_raw(index).map_err(of_sqlx)?;
            if raw.is_null() {
                return Ok(Cell::Null);
            }
            match raw.type_info().name() {
                "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(index).map(Cell::Integer),
                "REAL" => row.try_get_unchecked::<f64, _>(index).map(Cell::Real),
                // As bytes: another program may have written text that is not UTF-8, and that must not stop a grid.
                _ => row
                    .try_get_unchecked::<Vec<u8>, _>(index)
                    .map(|bytes| Cell::Text(String::from_utf8_lossy(&bytes).into_owned())),
            }
            .map_err(of_sqlx)
        })
        .collect()
}

fn postgres_cells(row: &sqlx::postgres::PgRow) -> Result<Vec<Cell>> {
    row.columns()
        .iter()
        .enumerate()
        .map(|(index, column)| {
            match column.type_info().name() {
                "BOOL" => row.try_get::<Option<bool>, _>(index).map(Cell::from),
                "INT2" => row
                    .try_get::<Option<i16>, _>(index)
                    .map(|value| value.map(i64::from).into()),
                "INT4" => row
                    .try_get::<Option<i32>, _>(index)
                    .map(|value| value.map(i64::from).into()),
                "INT8" => row.try_get::<Option<i64>, _>(index).map(Cell::from),
                "FLOAT4" => row
                    .try_get::<Option<f32>, _>(index)
                    .map(|value| value.map(f64::from).into()),
                "FLOAT8" => row.try_get::<Option<f64>, _>(index).map(Cell::from),
                _ => row.try_get_unchecked::<Option<String>, _>(index).map(Cell::from),
            }
            .map_err(of_sqlx)
        })
        .collect()
}
