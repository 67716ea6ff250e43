//! Many rows at once: for demo data, imports and tests.

use shared::{
    data::Cell,
    error::{Error, ErrorKind, Result},
};

use super::{
    db::Db,
    source::is_identifier,
    transaction::{Backend, Statement, Transaction},
};

/// Values per statement: below the limits of both databases (32,766 and 65,535).
const MAX_VALUES: usize = 30_000;

fn check_names(table: &str, columns: &[&str]) -> Result<()> {
    match std::iter::once(&table).chain(columns).find(|name| !is_identifier(name)) {
        Some(bad) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("'{bad}' is no name of a table or column."),
        )),
        None => Ok(()),
    }
}

impl Transaction {
    /// Inserts rows into a table. Each has one value per column.
    ///
    /// # Errors
    /// `InvalidArgument` for odd names or rows of another length, else as [`Transaction::fetch`].
    pub async fn insert_rows(&mut self, table: &str, columns: &[&str], rows: &[Vec<Cell>]) -> Result<()> {
        check_names(table, columns)?;
        if columns.is_empty() || rows.iter().any(|row| row.len() != columns.len()) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "Each row needs one value per column.",
            ));
        }
        let head = format!("INSERT INTO \"{table}\" (\"{}\") VALUES ", columns.join("\", \""));
        for rows in rows.chunks(MAX_VALUES / columns.len()) {
            let mut sql = head.clone();
            let mut values = Vec::with_capacity(rows.len() * columns.len());
            for (index, row) in rows.iter().enumerate() {
                sql.push_str(if index == 0 { "(" } else { ", (" });
                for (column, cell) in row.iter().enumerate() {
                    if column > 0 {
                        sql.push_str(", ");
                    }
                    if cell.is_null() {
                        // Written out: a bound null would need a type.
                        sql.push_str("NULL");
                    } else {
                        values.push(cell.clone());
                        sql.push_str(&self.placeholder(values.len(), cell));
                    }
                }
                sql.push(')');
            }
            self.execute(&Statement { sql, values }).await?;
        }
        Ok(())
    }

    /// Lets new rows get keys above those that were inserted by hand. SQLite does so by itself.
    ///
    /// # Errors
    /// As [`Transaction::insert_rows`].
    pub async fn skip_used_keys(&mut self, table: &str, column: &str) -> Result<()> {
        check_names(table, &[column])?;
        if self.backend() == Backend::Sqlite {
            return Ok(());
        }
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), (SELECT max(\"{column}\") FROM \"{table}\"))"
        );
        self.fetch(&Statement::new(sql, Vec::new())).await.map(drop)
    }

    fn placeholder(&self, number: usize, cell: &Cell) -> String {
        match (self.backend(), cell) {
            (Backend::Sqlite, _) => "?".to_owned(),
            (Backend::Postgres, Cell::Date(_)) => format!("${number}::text::date"),
            (Backend::Postgres, _) => format!("${number}"),
        }
    }
}

impl Db {
    /// Whether a table has no rows.
    ///
    /// # Errors
    /// `InvalidArgument` for an odd name, else as [`Transaction::fetch`].
    pub async fn is_table_empty(&self, table: &str) -> Result<bool> {
        Ok(self.highest(table, None).await?.is_none())
    }

    /// The highest value of a numeric key column; 0 for an empty table.
    ///
    /// # Errors
    /// As [`Db::is_table_empty`].
    pub async fn highest_key(&self, table: &str, column: &str) -> Result<i64> {
        let cell = self.highest(table, Some(column)).await?;
        Ok(cell.as_ref().and_then(Cell::as_integer).unwrap_or_default())
    }

    async fn highest(&self, table: &str, column: Option<&str>) -> Result<Option<Cell>> {
        check_names(table, column.as_slice())?;
        let sql = match column {
            Some(column) => format!("SELECT max(\"{column}\") FROM \"{table}\""),
            None => format!("SELECT 1 FROM \"{table}\" LIMIT 1"),
        };
        let row = self.read().await?.fetch_one(&Statement::new(sql, Vec::new())).await?;
        Ok(row.and_then(|row| row.into_iter().next()))
    }
}
