//! Edits: a change set commits in one transaction, once, and overwrites nothing that its author has not seen.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use sea_query::{Expr, ExprTrait as _, Query};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shared::{
    data::{
        Cell, ChangeSet, Conflict, Delete, EditOutcome, FieldChange, FieldError, FieldKind, Filter, Insert, Row,
        RowKey, Saved, Update, field, validate_values, visible_index,
    },
    error::{Error, ErrorKind, Result},
};

use super::{
    change_log,
    db::Db,
    error::internal,
    hub::scope_for,
    reader::Reader,
    source::{DataSource, Viewer},
    sql::{Renderer, Scope, key_value},
    transaction::{Backend, Statement, Transaction},
};

/// Seconds after which a client that saved nothing is forgotten, with what its edits were answered.
const CLIENT_LIFETIME: i64 = 30 * 24 * 3600;

/// Answers kept per client for repeats; a client waits for far fewer.
const KEPT_ANSWERS: i64 = 1_000;

/// Which mutation of which client this is. Numbers start at 1 and have no gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's id, given by the server; belongs to one user.
    pub client: String,
    /// Its running number.
    pub mutation: u64,
}

/// See [`super::DataHub::save`].
pub(crate) async fn save(
    db: &Db,
    source: &dyn DataSource,
    changes: &ChangeSet,
    origin: Option<&Origin>,
    viewer: &Viewer,
) -> Result<EditOutcome> {
    changes.validate()?;
    check_rights(source, changes, viewer)?;
    let scope = scope_for(source, &Filter::All, viewer)?;
    let asked = digest(source, changes)?;
    let mut transaction = db.write().await?;
    if let Some(origin) = origin
        && let Some(answer) = known_answer(&mut transaction, origin, viewer).await?
    {
        if answer.asked == asked {
            return Ok(answer.outcome);
        }
        let error = Error::new(ErrorKind::Conflict, "Another edit was made under this number.");
        return Err(error.with_detail("expected", (origin.mutation + 1).to_string()));
    }
    let label = origin.map(|origin| format!("{}:{}", origin.client, origin.mutation));
    change_log::set_origin(&mut transaction, label.as_deref()).await?;
    run(&mut transaction, "SAVEPOINT edit").await?;
    let mut edit = Edit {
        transaction: &mut transaction,
        source,
        scope,
        outcome: EditOutcome::default(),
    };
    edit.apply(changes).await?;
    let mut outcome = edit.outcome;
    if outcome.is_saved() {
        outcome.position = change_log::position_of_edit(&mut transaction).await?;
        run(&mut transaction, "RELEASE SAVEPOINT edit").await?;
    } else {
        outcome.saved.clear();
        run(&mut transaction, "ROLLBACK TO SAVEPOINT edit").await?;
    }
    change_log::set_origin(&mut transaction, None).await?;
    match origin {
        Some(origin) => remember(&mut transaction, origin, asked, &outcome).await?,
        None if !outcome.is_saved() => return Ok(outcome),
        None => {}
    }
    db.commit(transaction).await?;
    Ok(outcome)
}

fn check_rights(source: &dyn DataSource, changes: &ChangeSet, viewer: &Viewer) -> Result<()> {
    let rights = source.rights(viewer);
    let wanted = [
        (!changes.inserted.is_empty(), rights.insert, "add"),
        (!changes.updated.is_empty(), rights.update, "change"),
        (!changes.deleted.is_empty(), rights.delete, "delete"),
    ];
    match wanted.iter().find(|(wanted, granted, _)| *wanted && !granted) {
        Some((_, _, verb)) => {
            let message = format!("You may not {verb} rows of '{}'.", source.name());
            Err(Error::new(ErrorKind::NotAuthorized, message))
        }
        None => Ok(()),
    }
}

async fn run(transaction: &mut Transaction, sql: &str) -> Result<()> {
    transaction.execute(&Statement::new(sql, Vec::new())).await.map(drop)
}

fn pick(backend: Backend, sqlite: &str, postgres: &str, values: Vec<Cell>) -> Statement {
    match backend {
        Backend::Sqlite => Statement::new(sqlite, values),
        Backend::Postgres => Statement::new(postgres, values),
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// What is kept of a mutation: what was asked, and what was answered.
#[derive(Serialize, Deserialize)]
struct Answer {
    /// Digest of the change set: a number is an edit's own, and another edit under it must not get its answer.
    asked: String,
    outcome: EditOutcome,
}

fn digest(source: &dyn DataSource, changes: &ChangeSet) -> Result<String> {
    let text = serde_json::to_vec(&(source.name(), changes)).map_err(|error| internal(&error))?;
    Ok(Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The stored answer if this mutation was made before; otherwise checks that it is the next one.
async fn known_answer(transaction: &mut Transaction, origin: &Origin, viewer: &Viewer) -> Result<Option<Answer>> {
    let backend = transaction.backend();
    let number = i64::try_from(origin.mutation).unwrap_or(i64::MAX);
    if origin.client.is_empty() || origin.client.len() > 128 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "A client's id has 1 to 128 characters.",
        ));
    }
    let statement = pick(
        backend,
        "SELECT login, last FROM coati_client WHERE client = ?",
        "SELECT login, last FROM coati_client WHERE client = $1 FOR UPDATE",
        vec![origin.client.clone().into()],
    );
    let last = match transaction.fetch_one(&statement).await?.as_deref() {
        Some([Cell::Text(login), Cell::Integer(last)]) => {
            if *login != viewer.user {
                return Err(Error::new(
                    ErrorKind::NotAuthorized,
                    "This client belongs to somebody else.",
                ));
            }
            *last
        }
        _ => {
            let statement = pick(
                backend,
                "INSERT INTO coati_client (client, login, last, seen) VALUES (?, ?, 0, ?)",
                "INSERT INTO coati_client (client, login, last, seen) VALUES ($1, $2, 0, $3)",
                vec![origin.client.clone().into(), viewer.user.clone().into(), now().into()],
            );
            transaction.execute(&statement).await?;
            // Each page is a client of its own, and none says that it is the last time. Their answers go with them.
            let forget = pick(
                backend,
                "DELETE FROM coati_client WHERE seen < ?",
                "DELETE FROM coati_client WHERE seen < $1",
                vec![(now() - CLIENT_LIFETIME).into()],
            );
            transaction.execute(&forget).await?;
            0
        }
    };
    if number == last.saturating_add(1) {
        return Ok(None);
    }
    if number > last || number < 1 {
        let error = Error::new(
            ErrorKind::Conflict,
            "An earlier edit of this client has not arrived yet.",
        );
        return Err(error.with_detail("expected", (last + 1).to_string()));
    }
    let statement = pick(
        backend,
        "SELECT result FROM coati_mutation WHERE client = ? AND number = ?",
        "SELECT result FROM coati_mutation WHERE client = $1 AND number = $2",
        vec![origin.client.clone().into(), number.into()],
    );
    match transaction.fetch_one(&statement).await?.as_deref() {
        Some([Cell::Text(result)]) => serde_json::from_str(result).map(Some).map_err(|error| internal(&error)),
        _ => Err(Error::new(
            ErrorKind::NotFound,
            "This edit was made long ago; its result is no longer kept.",
        )),
    }
}

/// Keeps the answer with the effect: both become durable in one commit, or neither.
async fn remember(transaction: &mut Transaction, origin: &Origin, asked: String, outcome: &EditOutcome) -> Result<()> {
    let backend = transaction.backend();
    let number = i64::try_from(origin.mutation).unwrap_or(i64::MAX);
    let result = serde_json::to_string(&Answer {
        asked,
        outcome: outcome.clone(),
    })
    .map_err(|error| internal(&error))?;
    let client = || Cell::from(origin.client.clone());
    let statements = [
        pick(
            backend,
            "INSERT INTO coati_mutation (client, number, result, at) VALUES (?, ?, ?, ?)",
            "INSERT INTO coati_mutation (client, number, result, at) VALUES ($1, $2, $3, $4)",
            vec![client(), number.into(), result.into(), now().into()],
        ),
        pick(
            backend,
            "UPDATE coati_client SET last = ?, seen = ? WHERE client = ?",
            "UPDATE coati_client SET last = $1, seen = $2 WHERE client = $3",
            vec![number.into(), now().into(), client()],
        ),
        pick(
            backend,
            "DELETE FROM coati_mutation WHERE client = ? AND number <= ?",
            "DELETE FROM coati_mutation WHERE client = $1 AND number <= $2",
            vec![client(), (number - KEPT_ANSWERS).into()],
        ),
    ];
    for statement in &statements {
        transaction.execute(statement).await?;
    }
    Ok(())
}

/// One change set being applied.
struct Edit<'a> {
    transaction: &'a mut Transaction,
    source: &'a dyn DataSource,
    scope: Scope,
    outcome: EditOutcome,
}

impl Edit<'_> {
    /// Applies row after row and collects all that is wrong, so that a user sees everything at once.
    async fn apply(&mut self, changes: &ChangeSet) -> Result<()> {
        for delete in &changes.deleted {
            self.delete(delete).await?;
        }
        for update in &changes.updated {
            self.update(update).await?;
        }
        for insert in &changes.inserted {
            self.insert(insert).await?;
        }
        Ok(())
    }

    fn renderer(&self) -> Renderer<'_> {
        Renderer {
            backend: self.transaction.backend(),
            source: self.source,
        }
    }

    /// The row as it is now, and as it stays until this transaction ends.
    async fn current(&mut self, key: &RowKey) -> Result<Option<Row>> {
        // SQLite has one writer; on PostgreSQL another one may be about to commit a change of this very row.
        if self.transaction.backend() == Backend::Postgres {
            let mapping = self.source.mapping();
            let mut statement = Query::select();
            statement.expr(Expr::val(1)).from(mapping.table).lock_exclusive();
            statement.and_where(Expr::col(mapping.key_column()).eq(Expr::val(key_value(key))));
            let statement = self.renderer().build(&statement)?;
            self.transaction.fetch(&statement).await?;
        }
        Reader::new(self.transaction, self.source)
            .visible_row(&self.scope, key)
            .await
    }

    /// A conflict about the row as a whole.
    fn row_conflict(&mut self, key: &RowKey, gone: bool) {
        let (old, theirs, mine) = (Cell::Null, Cell::Null, Cell::Null);
        self.outcome.conflicts.push(Conflict {
            key: key.clone(),
            field: String::new(),
            old,
            theirs,
            mine,
            gone,
        });
    }

    fn invalid(&mut self, row: &str, errors: Vec<FieldError>) {
        let named = errors.into_iter().map(|error| FieldError {
            row: row.to_owned(),
            ..error
        });
        self.outcome.invalid.extend(named);
    }

    async fn delete(&mut self, delete: &Delete) -> Result<()> {
        match self.current(&delete.key).await? {
            None => self.row_conflict(&delete.key, true),
            Some(row) if row.version != delete.version => self.row_conflict(&delete.key, false),
            Some(_) => {
                let mapping = self.source.mapping();
                let mut statement = Query::delete();
                statement.from_table(mapping.table);
                statement.and_where(Expr::col(mapping.key_column()).eq(Expr::val(key_value(&delete.key))));
                let statement = self.renderer().build(&statement)?;
                if self.write(&statement, &delete.key.to_string(), &[]).await?.is_some() {
                    self.outcome.saved.push(Saved {
                        temporary: None,
                        key: delete.key.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    async fn update(&mut self, update: &Update) -> Result<()> {
        let name = update.key.to_string();
        let wanted: BTreeMap<_, _> = update
            .fields
            .iter()
            .map(|(field, change)| (field.clone(), change.new.clone()))
            .collect();
        let errors = validate_values(self.source.fields(), &wanted, false);
        if !errors.is_empty() {
            self.invalid(&name, errors);
            return Ok(());
        }
        let Some(row) = self.current(&update.key).await? else {
            self.row_conflict(&update.key, true);
            return Ok(());
        };
        let conflicts = self.clashes(&row, &update.fields);
        if !conflicts.is_empty() {
            self.outcome.conflicts.extend(conflicts);
            return Ok(());
        }
        let mut merged = self.values_of(&row);
        merged.extend(wanted.clone());
        let errors = self.source.validate(&merged);
        if !errors.is_empty() {
            self.invalid(&name, errors);
            return Ok(());
        }
        let saved = Saved {
            temporary: None,
            key: update.key.clone(),
        };
        if wanted.is_empty() {
            self.outcome.saved.push(saved);
            return Ok(());
        }
        let mapping = self.source.mapping();
        let mut statement = Query::update();
        statement.table(mapping.table);
        for (field, value) in self.columns(&wanted)? {
            statement.value(field, value);
        }
        statement.and_where(Expr::col(mapping.key_column()).eq(Expr::val(key_value(&update.key))));
        let statement = self.renderer().build(&statement)?;
        let touched: Vec<_> = wanted.keys().map(String::as_str).collect();
        if self.write(&statement, &name, &touched).await?.is_some() && self.still_visible(&update.key, &name).await? {
            self.outcome.saved.push(saved);
        }
        Ok(())
    }

    async fn insert(&mut self, insert: &Insert) -> Result<()> {
        let mut errors = validate_values(self.source.fields(), &insert.values, true);
        if errors.is_empty() {
            errors = self.source.validate(&insert.values);
        }
        if !errors.is_empty() {
            self.invalid(&insert.temporary, errors);
            return Ok(());
        }
        let mapping = self.source.mapping();
        let (columns, values): (Vec<_>, Vec<_>) = self.columns(&insert.values)?.into_iter().unzip();
        let mut statement = Query::insert();
        statement
            .into_table(mapping.table)
            .columns(columns)
            .returning_col(mapping.key_column());
        statement.values(values).map_err(|error| internal(&error))?;
        let statement = self.renderer().build(&statement)?;
        let touched: Vec<_> = insert.values.keys().map(String::as_str).collect();
        let Some(rows) = self.write(&statement, &insert.temporary, &touched).await? else {
            return Ok(());
        };
        let key = rows.first().and_then(|row| row.first()).and_then(RowKey::from_cell);
        let key = key.ok_or_else(|| internal(&"an insert returned no key"))?;
        if self.still_visible(&key, &insert.temporary).await? {
            self.outcome.saved.push(Saved {
                temporary: Some(insert.temporary.clone()),
                key,
            });
        }
        Ok(())
    }

    /// Fields that are no longer as the editor saw them, and not yet as the editor wants them.
    fn clashes(&self, row: &Row, changes: &BTreeMap<String, FieldChange>) -> Vec<Conflict> {
        let fields = self.source.fields();
        let clash = |(field, change): (&String, &FieldChange)| {
            let index = visible_index(fields, field)?;
            let theirs = row.cells.get(index)?;
            (*theirs != change.old && *theirs != change.new).then(|| Conflict {
                key: row.key.clone(),
                field: field.clone(),
                old: change.old.clone(),
                theirs: theirs.clone(),
                mine: change.new.clone(),
                gone: false,
            })
        };
        changes.iter().filter_map(clash).collect()
    }

    fn values_of(&self, row: &Row) -> BTreeMap<String, Cell> {
        let names = shared::data::visible(self.source.fields()).map(|field| field.name.to_owned());
        names.zip(row.cells.iter().cloned()).collect()
    }

    fn columns(&self, values: &BTreeMap<String, Cell>) -> Result<Vec<(&'static str, Expr)>> {
        let renderer = self.renderer();
        let column = |(name, value): (&String, &Cell)| {
            Ok((
                self.source.mapping().column(name)?.column,
                renderer.bind(renderer.kind(name)?, value),
            ))
        };
        values.iter().map(column).collect()
    }

    /// Runs a statement. A broken constraint becomes a sentence at the row, or at the lookup field if there is just one.
    async fn write(&mut self, statement: &Statement, row: &str, touched: &[&str]) -> Result<Option<Vec<Vec<Cell>>>> {
        run(self.transaction, "SAVEPOINT row").await?;
        match self.transaction.fetch(statement).await {
            Ok(rows) => {
                run(self.transaction, "RELEASE SAVEPOINT row").await?;
                Ok(Some(rows))
            }
            Err(error) if error.kind == ErrorKind::Refused => {
                run(self.transaction, "ROLLBACK TO SAVEPOINT row").await?;
                let fields = self.source.fields();
                let is_lookup = |name: &&&str| {
                    field(fields, name).is_some_and(|field| matches!(field.kind, FieldKind::Lookup { .. }))
                };
                let lookups: Vec<_> = touched.iter().filter(is_lookup).collect();
                let at = if let [one] = lookups.as_slice() { **one } else { "" };
                self.invalid(row, vec![FieldError::new(at, error.into_parts().message)]);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A row must not be moved to where its editor cannot see it: neither by mistake nor to plant it there.
    async fn still_visible(&mut self, key: &RowKey, name: &str) -> Result<bool> {
        let rule = self.scope.rule.clone();
        let visible = Reader::new(self.transaction, self.source).exists(key, &rule).await?;
        if !visible {
            let message = "You may not save a row that you could not see afterwards.";
            self.invalid(name, vec![FieldError::new("", message)]);
        }
        Ok(visible)
    }
}
