//! Reads one source within one transaction: ranges, rows by key, counts, places and lookups.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use shared::{
    data::{Cell, Field, Filter, LookupItem, Range, Row, RowKey, Sorter, visible, visible_index},
    error::Result,
};

use super::{
    error::internal,
    registry::Slot,
    source::DataSource,
    sql::{Renderer, Scope, fit},
    transaction::Transaction,
    window::Change,
};

/// Keys per statement: far below the databases' limits on bound values.
pub(super) const KEYS_PER_STATEMENT: usize = 500;
/// Scopes judged per statement.
const SCOPES_PER_STATEMENT: usize = 16;
/// Values bound for the scopes of one statement; SQLite takes 32,766 in all.
const VALUES_PER_STATEMENT: usize = 16_000;

/// Rows read again, and per scope the keys that it shows.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) rows: BTreeMap<RowKey, Row>,
    pub(crate) shown: Vec<BTreeSet<RowKey>>,
}

/// Runs of scopes that fit into one statement; one empty run if there are none, because the rows are wanted all the same.
fn parts(scopes: &[&Scope]) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let (mut start, mut values) = (0, 0);
    for (index, scope) in scopes.iter().enumerate() {
        if index > start && (index - start == SCOPES_PER_STATEMENT || values + scope.values() > VALUES_PER_STATEMENT) {
            parts.push(start..index);
            (start, values) = (index, 0);
        }
        values += scope.values();
    }
    parts.push(start..scopes.len());
    parts
}

/// Reads one source in one transaction.
pub(crate) struct Reader<'a> {
    transaction: &'a mut Transaction,
    source: &'a dyn DataSource,
    fields: Vec<&'static Field>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(transaction: &'a mut Transaction, source: &'a dyn DataSource) -> Self {
        let fields = visible(source.fields()).collect();
        Self {
            transaction,
            source,
            fields,
        }
    }

    fn renderer(&self) -> Renderer<'a> {
        Renderer {
            backend: self.transaction.backend(),
            source: self.source,
        }
    }

    /// All about a window. A total that is still true is taken over instead of counted.
    pub(crate) async fn whole(&mut self, slot: &Slot, position: u64, total: Option<u64>) -> Result<Change> {
        // Counting first spares the walk along a sort index when the range lies behind the end or nothing matches.
        let (total, counted) = match total {
            Some(total) => (total, false),
            None => (self.count(&slot.scope).await?.0, true),
        };
        let order = if counted && slot.range.start >= total {
            Vec::new()
        } else {
            self.keys(&slot.scope, &slot.sorters, slot.range).await?
        };
        let rows = self.rows(&order, &[]).await?.rows;
        Ok(Change {
            position,
            total: Some(total),
            order: Some(order),
            rows,
        })
    }

    /// The keys of a range.
    pub(crate) async fn keys(&mut self, scope: &Scope, sorters: &[Sorter], range: Range) -> Result<Vec<RowKey>> {
        let statement = self.renderer().keys(scope, sorters, range)?;
        let rows = self.transaction.fetch(&statement).await?;
        rows.iter().map(|row| key_of(row)).collect()
    }

    /// How many rows match, and how long it took to find out.
    pub(crate) async fn count(&mut self, scope: &Scope) -> Result<(u64, Duration)> {
        let started = Instant::now();
        let statement = self.renderer().count(scope)?;
        let count = self.number(&statement).await?;
        Ok((count, started.elapsed()))
    }

    /// The rows of some keys as they are now, and which of them each scope shows.
    pub(crate) async fn rows(&mut self, keys: &[RowKey], scopes: &[&Scope]) -> Result<Judged> {
        let mut judged = Judged {
            rows: BTreeMap::new(),
            shown: vec![BTreeSet::new(); scopes.len()],
        };
        for keys in keys.chunks(KEYS_PER_STATEMENT) {
            for part in parts(scopes) {
                let base = part.start;
                let scopes = &scopes[part];
                let statement = self.renderer().rows(keys, scopes)?;
                for cells in self.transaction.fetch(&statement).await? {
                    let (row, verdicts) = self.row_of(cells)?;
                    for (shown, verdict) in judged.shown.iter_mut().skip(base).zip(verdicts) {
                        if verdict == Cell::Integer(1) {
                            shown.insert(row.key.clone());
                        }
                    }
                    judged.rows.insert(row.key.clone(), row);
                }
            }
        }
        Ok(judged)
    }

    /// One row, if the scope shows it.
    pub(crate) async fn visible_row(&mut self, scope: &Scope, key: &RowKey) -> Result<Option<Row>> {
        let mut judged = self.rows(std::slice::from_ref(key), &[scope]).await?;
        let shown = judged.shown.first().is_some_and(|shown| shown.contains(key));
        Ok(judged.rows.remove(key).filter(|_| shown))
    }

    /// How many rows come before a row; `None` if the scope does not show it.
    pub(crate) async fn position_of(&mut self, scope: &Scope, sorters: &[Sorter], key: &RowKey) -> Result<Option<u64>> {
        let Some(row) = self.visible_row(scope, key).await? else {
            return Ok(None);
        };
        let fields = self.source.fields();
        let value = |sorter: &Sorter| {
            visible_index(fields, &sorter.field)
                .and_then(|index| row.cells.get(index).cloned())
                .unwrap_or_default()
        };
        let values: Vec<Cell> = sorters.iter().map(value).collect();
        let statement = self.renderer().rows_before(scope, sorters, &values, key)?;
        self.number(&statement).await.map(Some)
    }

    /// Keys and display texts for a lookup.
    pub(crate) async fn lookup(&mut self, scope: &Scope, display: &str, limit: u32) -> Result<Vec<LookupItem>> {
        let statement = self.renderer().lookup(scope, display, limit)?;
        let rows = self.transaction.fetch(&statement).await?;
        let item = |row: &Vec<Cell>| {
            let text = row.get(1).map(ToString::to_string).unwrap_or_default();
            Ok(LookupItem {
                key: key_of(row)?,
                text,
            })
        };
        rows.iter().map(item).collect()
    }

    /// Which of the keys exist in the scope, without their cells.
    pub(crate) async fn exists(&mut self, key: &RowKey, rule: &Filter) -> Result<bool> {
        let scope = Scope {
            filter: Filter::All,
            rule: rule.clone(),
        };
        Ok(self.visible_row(&scope, key).await?.is_some())
    }

    async fn number(&mut self, statement: &super::Statement) -> Result<u64> {
        let row = self.transaction.fetch_one(statement).await?;
        let number = row.as_ref().and_then(|row| row.first()).and_then(Cell::as_integer);
        Ok(number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default())
    }

    /// Splits what a rows statement returns into the row and the verdicts behind it.
    fn row_of(&self, cells: Vec<Cell>) -> Result<(Row, Vec<Cell>)> {
        let key = key_of(&cells)?;
        let mut cells = cells.into_iter().skip(1);
        let values = self
            .fields
            .iter()
            .zip(cells.by_ref())
            .map(|(field, cell)| fit(field.kind, cell))
            .collect();
        Ok((Row::new(key, values), cells.collect()))
    }
}

fn key_of(row: &[Cell]) -> Result<RowKey> {
    row.first()
        .and_then(RowKey::from_cell)
        .ok_or_else(|| internal(&"a row without a usable key"))
}
