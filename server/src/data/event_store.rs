//! Event history in SQLite or PostgreSQL.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use shared::{
    data::Cell,
    wamp::{
        Uri,
        router::{Change, Recorded},
    },
};

use super::{
    db::Db,
    transaction::{Backend, Statement, Transaction},
};
use crate::{
    error::{Error, ErrorKind, Result},
    router::{EventStore, Stored},
};

/// Numbers in one statement; SQLite takes at least 999 values.
const CHUNK: usize = 500;

/// A store in the database that a configuration names.
pub(crate) async fn open_history(url: &str, realm: &Uri) -> Result<Arc<dyn EventStore>> {
    Ok(Arc::new(SqlEventStore::open(url, realm).await?))
}

/// The history of one realm in a database. One router at a time may use it.
#[derive(Debug)]
pub struct SqlEventStore {
    db: Db,
    realm: String,
}

impl SqlEventStore {
    /// Opens a database as [`Db::connect`] does, and makes the tables.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with a line that says what is wrong with the database.
    pub async fn open(url: &str, realm: &Uri) -> Result<Self> {
        let db = Db::connect(url).await.map_err(|error| {
            let text = error.message.trim_end_matches('.');
            Error::configuration(format!("The database of the history cannot be used. {text}"))
        })?;
        Self::on(db, realm).await
    }

    /// In a database that is open.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn on(db: Db, realm: &Uri) -> Result<Self> {
        let realm = realm.to_string();
        db.migrate_framework().await.map_err(|error| failed("set up", &error))?;
        Ok(Self { db, realm })
    }

    async fn read(&self) -> shared::error::Result<Stored> {
        let mut transaction = self.db.read().await?;
        let placeholder = placeholder(&transaction, 1);
        let realm = || vec![Cell::Text(self.realm.clone())];
        let sql = format!("SELECT event FROM coati_event WHERE realm = {placeholder} ORDER BY number");
        let rows = transaction.fetch(&Statement::new(sql, realm())).await?;
        let events = rows.iter().map(|row| {
            let text = row.first().and_then(Cell::as_text).unwrap_or_default();
            Recorded::from_text(text)
        });
        let events = events.collect::<shared::error::Result<_>>()?;
        let sql = format!("SELECT forgotten FROM coati_event_realm WHERE realm = {placeholder}");
        let row = transaction.fetch_one(&Statement::new(sql, realm())).await?;
        let forgotten = row.and_then(|row| row.first().and_then(Cell::as_integer));
        let forgotten = forgotten.and_then(|number| u64::try_from(number).ok()).unwrap_or(0);
        Ok(Stored { events, forgotten })
    }

    async fn store(&self, changes: &[Change], anew: bool) -> shared::error::Result<()> {
        let Some((first, last)) = changes.first().zip(changes.last()) else {
            return Ok(());
        };
        let mut transaction = self.db.write().await?;
        let [one, two, three] = [1, 2, 3].map(|place| placeholder(&transaction, place));
        let evicted: Vec<u64> = changes
            .iter()
            .flat_map(|change| change.evicted.iter().copied())
            .collect();
        if anew {
            let sql = format!("DELETE FROM coati_event WHERE realm = {one}");
            let delete = Statement::new(sql, vec![Cell::Text(self.realm.clone())]);
            transaction.execute(&delete).await?;
        }
        for numbers in evicted.chunks(CHUNK) {
            let places: Vec<_> = (0..numbers.len())
                .map(|place| placeholder(&transaction, place + 2))
                .collect();
            let sql = format!(
                "DELETE FROM coati_event WHERE realm = {one} AND number IN ({})",
                places.join(", ")
            );
            let values =
                std::iter::once(Cell::Text(self.realm.clone())).chain(numbers.iter().map(|number| cell(*number)));
            transaction.execute(&Statement::new(sql, values.collect())).await?;
        }
        let sql = format!("INSERT INTO coati_event (realm, number, event) VALUES ({one}, {two}, {three})");
        for event in changes.iter().filter_map(|change| change.event.as_ref()) {
            if evicted.contains(&event.number) {
                continue; // gone before it was written
            }
            let values = vec![self.realm.clone().into(), cell(event.number), event.to_text()?.into()];
            transaction.execute(&Statement::new(sql.clone(), values)).await?;
        }
        let hole = if anew { first.number - 1 } else { 0 };
        let sql = format!(
            "INSERT INTO coati_event_realm (realm, forgotten) VALUES ({one}, {two}) \
             ON CONFLICT (realm) DO UPDATE SET forgotten = excluded.forgotten"
        );
        let values = vec![self.realm.clone().into(), cell(last.forgotten.max(hole))];
        transaction.execute(&Statement::new(sql, values)).await?;
        // No ring: nobody watches these tables.
        transaction.commit().await
    }
}

impl EventStore for SqlEventStore {
    fn load(&self) -> BoxFuture<'_, Result<Stored>> {
        async { self.read().await.map_err(|error| failed("read", &error)) }.boxed()
    }

    fn write<'a>(&'a self, changes: &'a [Change], anew: bool) -> BoxFuture<'a, Result<()>> {
        let written = async move {
            self.store(changes, anew)
                .await
                .map_err(|error| failed("written", &error))
        };
        written.boxed()
    }
}

fn failed(what: &str, error: &shared::error::Error) -> Error {
    Error::new(
        ErrorKind::Io,
        format!(
            "The history could not be {what}: {}",
            error.message.trim_end_matches('.')
        ),
    )
}

fn placeholder(transaction: &Transaction, place: usize) -> String {
    match transaction.backend() {
        Backend::Sqlite => "?".to_owned(),
        Backend::Postgres => format!("${place}"),
    }
}

fn cell(number: u64) -> Cell {
    // Counted up by one: no process lives long enough to leave the range.
    Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
