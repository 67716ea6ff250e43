//! The change log: triggers that write it, in every program's transactions, and how the feed reads on from a position.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};
use shared::{
    data::Cell,
    error::{Error, ErrorKind, Result},
};

use super::{
    db::Db,
    error::internal,
    source::{DataSource, is_identifier},
    transaction::{Backend, Statement, Transaction},
};

/// More changes than this in one step, and the feed looks at whole tables instead of keys.
const MAX_BATCH: i64 = 20_000;

/// Changes to one key since a position, folded together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    /// Inserted or deleted at least once.
    pub(crate) existence: bool,
    /// Which watched columns updates changed.
    pub(crate) columns: i64,
}

/// Changes to one table since a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableChanges {
    /// These keys, as text.
    Keys(BTreeMap<String, Touched>),
    /// Too many to tell, or something that touches no single rows.
    Whole,
}

/// Where a reader of the log stands. All that committed before it is contained in what the reader has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// The last sequence number: on SQLite the log is dense and in commit order.
    Sequence(i64),
    /// On PostgreSQL: every transaction below `horizon` is contained, and those in `done` as well.
    Horizon { horizon: i64, done: BTreeSet<i64> },
}

impl Position {
    /// As one number for frames: an edit with a number at or below it is contained.
    pub(crate) fn number(&self) -> u64 {
        let number = match self {
            Self::Sequence(sequence) => *sequence,
            Self::Horizon { horizon, .. } => horizon - 1,
        };
        u64::try_from(number).unwrap_or_default()
    }

    /// Whether a reader that stands here may have passed something that a state read at `other` does not contain.
    pub(crate) fn may_be_past(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sequence(here), Self::Sequence(there)) => here > there,
            // Equal horizons can hide different sets of transactions above them.
            (_, _) => self != other,
        }
    }
}

/// What the log says since a position.
#[derive(Debug)]
pub(crate) struct Batch {
    /// By table.
    pub(crate) tables: BTreeMap<String, TableChanges>,
    /// Where the reader stands afterwards.
    pub(crate) position: Position,
    /// Whether the log was not continuous: everything must be looked at.
    pub(crate) gap: bool,
}

/// The tables that sources read from, each with its key column and the columns that a mask tells apart.
pub(crate) fn watched_tables(
    sources: &[std::sync::Arc<dyn DataSource>],
) -> Result<BTreeMap<&'static str, (&'static str, Vec<&'static str>)>> {
    let mut tables: BTreeMap<&'static str, (&'static str, Vec<&'static str>)> = BTreeMap::new();
    for source in sources {
        let mapping = source.mapping();
        let entry = tables
            .entry(mapping.table)
            .or_insert_with(|| (mapping.key_column(), Vec::new()));
        entry.1.extend(mapping.watched_columns());
        for join in mapping.joins {
            tables.entry(join.table).or_insert_with(|| (join.key, Vec::new()));
        }
    }
    for (table, (_, columns)) in &mut tables {
        columns.sort_unstable();
        columns.dedup();
        if columns.len() > 60 {
            let message = format!("More than 60 columns of the table '{table}' are watched.");
            return Err(Error::new(ErrorKind::Internal, message));
        }
    }
    Ok(tables)
}

/// Makes sure that each watched table has its triggers, and the right ones.
pub(crate) async fn watch(db: &Db, sources: &[std::sync::Arc<dyn DataSource>]) -> Result<()> {
    let mut transaction = db.write().await?;
    for (table, (key, columns)) in watched_tables(sources)? {
        let backend = transaction.backend();
        if !is_identifier(table) || !is_identifier(key) || !columns.iter().all(|column| is_identifier(column)) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("The table '{table}' has a name that cannot be watched."),
            ));
        }
        let script = match backend {
            Backend::Sqlite => sqlite_triggers(table, key, &columns),
            Backend::Postgres => postgres_triggers(table, key, &columns),
        };
        let digest: String = Sha256::digest(script.as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (find, keep) = match backend {
            Backend::Sqlite => (
                "SELECT digest FROM coati_watch WHERE tbl = ?",
                "INSERT INTO coati_watch (tbl, digest) VALUES (?, ?) ON CONFLICT (tbl) DO UPDATE SET digest = excluded.digest",
            ),
            Backend::Postgres => (
                "SELECT digest FROM coati_watch WHERE tbl = $1",
                "INSERT INTO coati_watch (tbl, digest) VALUES ($1, $2) ON CONFLICT (tbl) DO UPDATE SET digest = excluded.digest",
            ),
        };
        let known = transaction.fetch_one(&Statement::new(find, vec![table.into()])).await?;
        if known != Some(vec![Cell::Text(digest.clone())]) {
            transaction.execute_script(script).await?;
            transaction
                .execute(&Statement::new(keep, vec![table.into(), digest.into()]))
                .await?;
        }
    }
    transaction.commit().await
}

/// Row triggers. A changed key is logged as both the old and the new one.
fn sqlite_triggers(table: &str, key: &str, columns: &[&str]) -> String {
    let mask: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(bit, column)| format!("((OLD.\"{column}\" IS NOT NEW.\"{column}\") << {bit})"))
        .collect();
    let mask = if mask.is_empty() {
        "-1".to_owned()
    } else {
        mask.join(" | ")
    };
    let origin = "(SELECT origin FROM coati_origin WHERE id = 1)";
    let log = |row: &str, op: &str, mask: &str| {
        format!(
            "INSERT INTO coati_change (tbl, key, op, columns, origin) \
             VALUES ('{table}', CAST({row}.\"{key}\" AS TEXT), '{op}', {mask}, {origin});"
        )
    };
    let insert = log("NEW", "I", "-1");
    let delete = log("OLD", "D", "-1");
    let update = log("NEW", "U", &mask);
    format!(
        "DROP TRIGGER IF EXISTS coati_insert_{table};
DROP TRIGGER IF EXISTS coati_delete_{table};
DROP TRIGGER IF EXISTS coati_update_{table};
DROP TRIGGER IF EXISTS coati_rekey_{table};
CREATE TRIGGER coati_insert_{table} AFTER INSERT ON \"{table}\" BEGIN {insert} END;
CREATE TRIGGER coati_delete_{table} AFTER DELETE ON \"{table}\" BEGIN {delete} END;
CREATE TRIGGER coati_update_{table} AFTER UPDATE ON \"{table}\" WHEN OLD.\"{key}\" IS NEW.\"{key}\" BEGIN {update} END;
CREATE TRIGGER coati_rekey_{table} AFTER UPDATE ON \"{table}\" WHEN OLD.\"{key}\" IS NOT NEW.\"{key}\" BEGIN {delete} {insert} END;"
    )
}

/// Row triggers that also fire under the replica role, and one for TRUNCATE.
fn postgres_triggers(table: &str, key: &str, columns: &[&str]) -> String {
    let mask: Vec<_> = columns
        .iter()
        .enumerate()
        .map(|(bit, column)| {
            format!(
                "(CASE WHEN OLD.\"{column}\" IS DISTINCT FROM NEW.\"{column}\" THEN {} ELSE 0 END)",
                1_i64 << bit
            )
        })
        .collect();
    let mask = if mask.is_empty() {
        "-1".to_owned()
    } else {
        mask.join(" | ")
    };
    let log = |row: &str, op: &str, mask: &str| {
        format!(
            "INSERT INTO coati_change (tbl, key, op, columns) VALUES ('{table}', {row}.\"{key}\"::text, '{op}', {mask});"
        )
    };
    let (insert, delete, update) = (log("NEW", "I", "-1"), log("OLD", "D", "-1"), log("NEW", "U", &mask));
    format!(
        "CREATE OR REPLACE FUNCTION coati_log_{table}() RETURNS trigger LANGUAGE plpgsql AS $coati$
BEGIN
  IF TG_OP = 'INSERT' THEN {insert}
  ELSIF TG_OP = 'DELETE' THEN {delete}
  ELSIF TG_OP = 'TRUNCATE' THEN INSERT INTO coati_change (tbl, key, op) VALUES ('{table}', '', 'T');
  ELSIF OLD.\"{key}\" IS DISTINCT FROM NEW.\"{key}\" THEN {delete} {insert}
  ELSE {update}
  END IF;
  RETURN NULL;
END $coati$;
DROP TRIGGER IF EXISTS coati_row ON \"{table}\";
DROP TRIGGER IF EXISTS coati_truncate ON \"{table}\";
CREATE TRIGGER coati_row AFTER INSERT OR UPDATE OR DELETE ON \"{table}\" FOR EACH ROW EXECUTE FUNCTION coati_log_{table}();
CREATE TRIGGER coati_truncate AFTER TRUNCATE ON \"{table}\" FOR EACH STATEMENT EXECUTE FUNCTION coati_log_{table}();
ALTER TABLE \"{table}\" ENABLE ALWAYS TRIGGER coati_row;
ALTER TABLE \"{table}\" ENABLE ALWAYS TRIGGER coati_truncate;"
    )
}

/// Where the log ends in the transaction's state.
pub(crate) async fn end(transaction: &mut Transaction) -> Result<Position> {
    match transaction.backend() {
        Backend::Sqlite => {
            // Not max(seq): the log may have been pruned to nothing, and its numbers go on from here.
            let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'coati_change'), 0)";
            Ok(Position::Sequence(
                number(transaction, Statement::new(sql, Vec::new())).await?,
            ))
        }
        Backend::Postgres => {
            let horizon = horizon(transaction).await?;
            let sql = "SELECT DISTINCT xid::text::bigint FROM coati_change WHERE xid >= $1::text::xid8";
            let rows = transaction
                .fetch(&Statement::new(sql, vec![horizon.to_string().into()]))
                .await?;
            let done = rows
                .iter()
                .filter_map(|row| row.first().and_then(Cell::as_integer))
                .collect();
            Ok(Position::Horizon { horizon, done })
        }
    }
}

/// What committed since `position` and is visible in the transaction's state.
pub(crate) async fn read_on(transaction: &mut Transaction, position: &Position) -> Result<Batch> {
    match position {
        Position::Sequence(after) => read_sqlite(transaction, *after).await,
        Position::Horizon { horizon, done } => read_postgres(transaction, *horizon, done).await,
    }
}

async fn read_sqlite(transaction: &mut Transaction, after: i64) -> Result<Batch> {
    let Position::Sequence(end) = end(transaction).await? else {
        return Err(internal(&"the position is of another database"));
    };
    let mut batch = Batch {
        tables: BTreeMap::new(),
        position: Position::Sequence(end),
        gap: end < after,
    };
    if end == after || batch.gap {
        return Ok(batch);
    }
    if end - after > MAX_BATCH {
        // Rows that were pruned before they were read may have been of any table.
        let sql = "SELECT count(*) FROM coati_change WHERE seq > ?";
        batch.gap = number(transaction, Statement::new(sql, vec![after.into()])).await? != end - after;
        let sql = "SELECT DISTINCT tbl FROM coati_change WHERE seq > ?";
        for row in transaction.fetch(&Statement::new(sql, vec![after.into()])).await? {
            let table = row.first().and_then(Cell::as_text).unwrap_or_default();
            batch.tables.insert(table.to_owned(), TableChanges::Whole);
        }
        return Ok(batch);
    }
    let sql = "SELECT seq, tbl, key, op, columns FROM coati_change WHERE seq > ? ORDER BY seq";
    let rows = transaction.fetch(&Statement::new(sql, vec![after.into()])).await?;
    for (row, expected) in rows.iter().zip(after + 1..) {
        batch.gap |= row.first() != Some(&Cell::Integer(expected));
        fold(&mut batch.tables, row)?;
    }
    batch.gap |= i64::try_from(rows.len()).ok() != Some(end - after);
    Ok(batch)
}

async fn read_postgres(transaction: &mut Transaction, horizon_before: i64, done: &BTreeSet<i64>) -> Result<Batch> {
    let horizon = horizon(transaction).await?;
    let sql = "SELECT xid::text::bigint, tbl, key, op, columns FROM coati_change WHERE xid >= $1::text::xid8 ORDER BY xid, seq";
    let rows = transaction
        .fetch(&Statement::new(sql, vec![horizon_before.to_string().into()]))
        .await?;
    let sql = Statement::new("SELECT position FROM coati_pruned WHERE id = 1", Vec::new());
    let pruned = number(transaction, sql).await?;
    let mut batch = Batch {
        tables: BTreeMap::new(),
        position: Position::Horizon {
            horizon,
            done: BTreeSet::new(),
        },
        // Rows that were pruned before they were read may have been of any table.
        gap: horizon < horizon_before || pruned >= horizon_before,
    };
    let mut seen = done.clone();
    for row in &rows {
        let xid = row.first().and_then(Cell::as_integer).unwrap_or_default();
        seen.insert(xid);
        if !done.contains(&xid) {
            fold(&mut batch.tables, row)?;
        }
    }
    seen.retain(|xid| *xid >= horizon);
    batch.position = Position::Horizon { horizon, done: seen };
    Ok(batch)
}

fn fold(tables: &mut BTreeMap<String, TableChanges>, row: &[Cell]) -> Result<()> {
    let [
        _,
        Cell::Text(table),
        Cell::Text(key),
        Cell::Text(op),
        Cell::Integer(columns),
    ] = row
    else {
        return Err(internal(&"a row of the change log has a strange shape"));
    };
    let changes = tables
        .entry(table.clone())
        .or_insert_with(|| TableChanges::Keys(BTreeMap::new()));
    if op == "T" {
        *changes = TableChanges::Whole;
    }
    if let TableChanges::Keys(keys) = changes {
        let touched = keys.entry(key.clone()).or_default();
        if op == "U" {
            touched.columns |= columns;
        } else {
            touched.existence = true;
        }
    }
    Ok(())
}

/// The transaction that runs: what an edit made in it will be known under. Zero where that is told after the commit.
pub(crate) async fn position_of_edit(transaction: &mut Transaction) -> Result<u64> {
    let position = match transaction.backend() {
        Backend::Sqlite => end(transaction).await?.number(),
        Backend::Postgres => {
            let sql = Statement::new("SELECT pg_current_xact_id()::text::bigint", Vec::new());
            u64::try_from(number(transaction, sql).await?).unwrap_or_default()
        }
    };
    Ok(position)
}

/// Notes in the log who the changes of this transaction come from. Ends with the transaction.
pub(crate) async fn set_origin(transaction: &mut Transaction, origin: Option<&str>) -> Result<()> {
    let value = Cell::from(origin.map(str::to_owned));
    match transaction.backend() {
        Backend::Sqlite => {
            let sql = "UPDATE coati_origin SET origin = ? WHERE id = 1";
            transaction.execute(&Statement::new(sql, vec![value])).await.map(drop)
        }
        Backend::Postgres => {
            let sql = "SELECT set_config('coati.origin', coalesce($1, ''), true)";
            transaction.fetch(&Statement::new(sql, vec![value])).await.map(drop)
        }
    }
}

/// Deletes what is far behind, all but `kept` rows. The feed itself is past it; who is not finds out by what is noted: on
/// SQLite numbers are missing, on PostgreSQL the last transaction that was deleted is in `coati_pruned`.
pub(crate) async fn prune(db: &Db, position: &Position, kept: i64) -> Result<()> {
    let statement = match position {
        Position::Sequence(sequence) if *sequence > kept => Statement::new(
            "DELETE FROM coati_change WHERE seq <= ?",
            vec![Cell::Integer(sequence - kept)],
        ),
        Position::Sequence(_) => return Ok(()),
        Position::Horizon { horizon, .. } => Statement::new(
            "WITH gone AS (DELETE FROM coati_change \
             WHERE xid < $1::text::xid8 AND seq <= (SELECT max(seq) FROM coati_change) - $2 RETURNING xid::text::bigint AS xid) \
             UPDATE coati_pruned SET position = greatest(position, (SELECT max(xid) FROM gone)) WHERE id = 1",
            vec![horizon.to_string().into(), kept.into()],
        ),
    };
    let mut transaction = db.write().await?;
    transaction.execute(&statement).await?;
    transaction.commit().await
}

async fn horizon(transaction: &mut Transaction) -> Result<i64> {
    let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint";
    number(transaction, Statement::new(sql, Vec::new())).await
}

async fn number(transaction: &mut Transaction, statement: Statement) -> Result<i64> {
    let row = transaction.fetch_one(&statement).await?;
    let number = row.as_ref().and_then(|row| row.first()).and_then(Cell::as_integer);
    number.ok_or_else(|| internal(&format_args!("'{}' returned no number", statement.sql)))
}
