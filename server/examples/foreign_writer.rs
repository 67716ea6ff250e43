//! Changes assessments directly with SQL, as a program would that has never heard of Coati: live grids must follow.
//!
//! ```text
//! foreign_writer sqlite:data/safety.db insert [COLUMN=VALUE ...]      prints the new key
//! foreign_writer sqlite:data/safety.db update KEY COLUMN VALUE
//! foreign_writer sqlite:data/safety.db delete KEY
//! foreign_writer sqlite:data/safety.db move KEY STATUS                out of a grid's filter, or into it
//! ```
//! The value `NULL` stands for no value.

use std::{collections::BTreeMap, io::Write as _, process::ExitCode, time::Duration};

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// Columns that may be written; everything else is refused, because names cannot be bound.
const COLUMNS: [&str; 10] = [
    "title",
    "site_id",
    "department_id",
    "hazard_id",
    "probability",
    "severity",
    "status",
    "responsible",
    "due",
    "notes",
];
const USAGE: &str = "usage: foreign_writer sqlite:FILE (insert [COLUMN=VALUE ...] | update KEY COLUMN VALUE | delete KEY | move KEY STATUS)";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (line, code) = match run(&arguments).await {
        Ok(line) => (line, ExitCode::SUCCESS),
        Err(line) => (format!("foreign_writer: {line}"), ExitCode::FAILURE),
    };
    let _ = writeln!(std::io::stdout(), "{line}");
    code
}

async fn run(arguments: &[&str]) -> Result<String, String> {
    let [url, command, rest @ ..] = arguments else {
        return Err(USAGE.into());
    };
    let path = url.strip_prefix("sqlite:").ok_or(USAGE)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10));
    let mut connection = SqliteConnection::connect_with(&options)
        .await
        .map_err(|error| format!("{path}: {error}"))?;
    let done = match (*command, rest) {
        ("insert", values) => insert(&mut connection, values).await,
        ("update", [key, column, value]) => update(&mut connection, key, column, value).await,
        ("move", [key, status]) => update(&mut connection, key, "status", status).await,
        ("delete", [key]) => {
            let sql = "DELETE FROM assessment WHERE id = ?";
            let done = sqlx::query(sql).bind(number(key)?).execute(&mut connection).await;
            done.map_err(|error| error.to_string())
                .and_then(|done| one_row(done.rows_affected(), key))
        }
        _ => Err(USAGE.into()),
    };
    let closed = connection.close().await.map_err(|error| error.to_string());
    done.and_then(|line| closed.map(|()| line))
}

async fn insert(connection: &mut SqliteConnection, values: &[&str]) -> Result<String, String> {
    let mut row = BTreeMap::from([
        ("title", "Written by another program"),
        ("site_id", "1"),
        ("department_id", "1"),
        ("hazard_id", "1"),
        ("probability", "3"),
        ("severity", "3"),
        ("status", "open"),
    ]);
    for value in values {
        let (column, value) = value.split_once('=').ok_or(USAGE)?;
        row.insert(known(column)?, value);
    }
    let columns: Vec<_> = row.keys().copied().collect();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO assessment ({}) VALUES ({places})", columns.join(", "));
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in row.values() {
        query = query.bind((*value != "NULL").then_some(*value));
    }
    let done = query.execute(connection).await.map_err(|error| error.to_string())?;
    Ok(done.last_insert_rowid().to_string())
}

async fn update(connection: &mut SqliteConnection, key: &str, column: &str, value: &str) -> Result<String, String> {
    let sql = format!("UPDATE assessment SET {} = ? WHERE id = ?", known(column)?);
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind((value != "NULL").then_some(value))
        .bind(number(key)?);
    let done = query.execute(connection).await.map_err(|error| error.to_string())?;
    one_row(done.rows_affected(), key)
}

fn known(column: &str) -> Result<&'static str, String> {
    COLUMNS
        .into_iter()
        .find(|known| *known == column)
        .ok_or_else(|| format!("there is no column {column}"))
}

fn number(key: &str) -> Result<i64, String> {
    key.parse().map_err(|_| format!("{key} is no key"))
}

fn one_row(rows: u64, key: &str) -> Result<String, String> {
    if rows == 1 {
        Ok(key.to_owned())
    } else {
        Err(format!("there is no assessment {key}"))
    }
}
