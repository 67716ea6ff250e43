//! What the application declares about a source of rows: its fields, its tables, and who may see and edit what.

use std::collections::BTreeMap;

use shared::{
    data::{Cell, Field, FieldError, Filter, Rights, field},
    error::{Error, ErrorKind, Result},
};

/// Who is asking. Rules decide by it; everything that depends on it is part of what windows are shared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Viewer {
    /// Login name.
    pub user: String,
    /// Role, such as `reader` or `editor`.
    pub role: String,
}

impl Viewer {
    /// A viewer.
    #[must_use]
    pub fn new(user: impl Into<String>, role: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            role: role.into(),
        }
    }
}

/// Which rows a viewer sees. There is no default: a source without an answer does not compile.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// None, and asking is refused.
    Deny,
    /// All.
    All,
    /// Those that match; may name hidden fields. It is part of every statement that reads rows for this viewer.
    Only(Filter),
}

/// A table whose columns are shown in the rows of another.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// The table.
    pub table: &'static str,
    /// Its name within the statement.
    pub alias: &'static str,
    /// Alias of the table that refers to it; empty for the base table.
    pub from: &'static str,
    /// The referring column.
    pub column: &'static str,
    /// The column referred to: the table's primary key.
    pub key: &'static str,
    /// Whether the referring column may be null.
    pub optional: bool,
}

/// Where a field is stored.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Name of the field.
    pub field: &'static str,
    /// Alias of the join it comes from; empty for the base table.
    pub from: &'static str,
    /// Name of the column.
    pub column: &'static str,
    /// For joined columns: whether it is declared unique and not null. Then a sort by it can walk its index.
    pub unique: bool,
}

impl Column {
    /// A column of the base table, named as the field.
    #[must_use]
    pub const fn base(field: &'static str) -> Self {
        Self {
            field,
            from: "",
            column: field,
            unique: false,
        }
    }
    /// A column of a joined table, unique and not null there.
    #[must_use]
    pub const fn joined_unique(field: &'static str, from: &'static str, column: &'static str) -> Self {
        Self {
            field,
            from,
            column,
            unique: true,
        }
    }
    /// A column of a joined table.
    #[must_use]
    pub const fn joined(field: &'static str, from: &'static str, column: &'static str) -> Self {
        Self {
            field,
            from,
            column,
            unique: false,
        }
    }
}

/// How fields lie in tables.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    /// The base table: one of its rows is one row of the source.
    pub table: &'static str,
    /// Name of the key field; its column is the base table's primary key.
    pub key: &'static str,
    /// The joined tables, each after the one it is joined from.
    pub joins: &'static [Join],
    /// One per field.
    pub columns: &'static [Column],
}

impl Mapping {
    /// Where a field is stored.
    ///
    /// # Errors
    /// `InvalidArgument` for fields that are not mapped.
    pub fn column(&self, name: &str) -> Result<&'static Column> {
        let columns: &'static [Column] = self.columns;
        columns
            .iter()
            .find(|column| column.field == name)
            .ok_or_else(|| Error::new(ErrorKind::InvalidArgument, format!("There is no field '{name}'.")))
    }

    /// The primary key column of the base table.
    #[must_use]
    pub fn key_column(&self) -> &'static str {
        self.columns
            .iter()
            .find(|column| column.field == self.key)
            .map_or(self.key, |column| column.column)
    }

    /// The join of that alias.
    #[must_use]
    pub fn join(&self, alias: &str) -> Option<&'static Join> {
        let joins: &'static [Join] = self.joins;
        joins.iter().find(|join| join.alias == alias)
    }

    /// The columns of the base table and of `alias` that the change log tells apart, in a fixed order; bit n of a
    /// logged column mask stands for the nth of these.
    pub(crate) fn watched_columns(&self) -> Vec<&'static str> {
        let mut columns: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.from.is_empty())
            .map(|column| column.column)
            .collect();
        columns.extend(
            self.joins
                .iter()
                .filter(|join| join.from.is_empty())
                .map(|join| join.column),
        );
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

/// A source of rows, declared by the application. Reading, watching, sorting, filtering and editing are derived.
pub trait DataSource: Send + Sync + 'static {
    /// Name in queries and lookups.
    fn name(&self) -> &'static str;
    /// The fields, in the order of a row's cells (without the hidden ones).
    fn fields(&self) -> &'static [Field];
    /// Where the fields are stored.
    fn mapping(&self) -> &'static Mapping;
    /// Which rows the viewer sees.
    fn rule(&self, viewer: &Viewer) -> Rule;
    /// What the viewer may do to them; nothing unless the source says so.
    fn rights(&self, viewer: &Viewer) -> Rights {
        let _ = viewer;
        Rights::NONE
    }
    /// Rules over a whole row, beyond the metadata of single fields. Called with the row as it would be stored.
    fn validate(&self, values: &BTreeMap<String, Cell>) -> Vec<FieldError> {
        let _ = values;
        Vec::new()
    }
    /// The text field that stands for a row where it is looked up from another source; none if it is not.
    fn display(&self) -> Option<&'static str> {
        None
    }
}

/// Checks a declaration: each field mapped, each join reachable, key and editable fields in the base table.
pub(crate) fn check(source: &dyn DataSource) -> Result<()> {
    let (fields, mapping, name) = (source.fields(), source.mapping(), source.name());
    let wrong = |what: String| Err(Error::new(ErrorKind::Internal, format!("Source '{name}': {what}.")));
    for known in fields {
        let Ok(column) = mapping.column(known.name) else {
            return wrong(format!("field '{}' is not mapped to a column", known.name));
        };
        if !column.from.is_empty() && mapping.join(column.from).is_none() {
            return wrong(format!(
                "field '{}' comes from an unknown join '{}'",
                known.name, column.from
            ));
        }
        if !column.from.is_empty() && !known.read_only {
            return wrong(format!("field '{}' is joined and must be read-only", known.name));
        }
    }
    for (index, join) in mapping.joins.iter().enumerate() {
        let earlier = mapping.joins.iter().take(index).any(|other| other.alias == join.from);
        if !join.from.is_empty() && !earlier {
            return wrong(format!(
                "join '{}' comes from '{}', which is not declared before it",
                join.alias, join.from
            ));
        }
    }
    match field(fields, mapping.key) {
        Some(key) if !key.hidden => {}
        _ => return wrong(format!("the key '{}' is not a visible field", mapping.key)),
    }
    if let Some(display) = source.display()
        && field(fields, display).is_none_or(|field| field.hidden)
    {
        return wrong(format!("the display field '{display}' is not a visible field"));
    }
    if mapping.watched_columns().len() > 60 {
        return wrong("more than 60 columns in the base table".to_owned());
    }
    let mut identifiers = vec![mapping.table];
    identifiers.extend(
        mapping
            .joins
            .iter()
            .flat_map(|join| [join.table, join.alias, join.column, join.key]),
    );
    identifiers.extend(mapping.columns.iter().map(|column| column.column));
    match identifiers.into_iter().find(|identifier| !is_identifier(identifier)) {
        Some(bad) => wrong(format!("'{bad}' is not a plain lower-case name")),
        None => Ok(()),
    }
}

/// Whether a name can stand in generated SQL without quoting surprises in either database.
pub(crate) fn is_identifier(name: &str) -> bool {
    let plain = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_';
    name.len() <= 48 && name.starts_with(|first: char| first.is_ascii_lowercase()) && name.chars().all(plain)
}
