//! What a user wants changed, in one piece, and what became of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Cell, RowKey};
use crate::error::{Error, ErrorKind, Result};

/// A row to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Insert {
    /// The name under which [`EditOutcome::saved`] tells the key.
    pub temporary: String,
    /// Values by field name; fields not named are null or have the database's default.
    pub values: BTreeMap<String, Cell>,
}

/// One field's value as the editor found it and as it shall be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// What the editor saw.
    pub old: Cell,
    /// What it shall be.
    pub new: Cell,
}

/// A row to be changed. Only the fields named are touched and compared: disjoint edits of one row merge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Update {
    /// The row.
    pub key: RowKey,
    /// By field name.
    pub fields: BTreeMap<String, FieldChange>,
}

/// A row to be removed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delete {
    /// The row.
    pub key: RowKey,
    /// The row's version as the editor saw it; it is not removed if somebody changed it since.
    pub version: i64,
}

/// Changes that are saved together or not at all. Deletes run first, then updates, then inserts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// Rows to be made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inserted: Vec<Insert>,
    /// Rows to be changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updated: Vec<Update>,
    /// Rows to be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<Delete>,
}

impl ChangeSet {
    /// Most rows in one change set.
    pub const MAX_ROWS: usize = 500;

    /// A change set of one new row.
    #[must_use]
    pub fn insert(temporary: impl Into<String>, values: BTreeMap<String, Cell>) -> Self {
        Self {
            inserted: vec![Insert {
                temporary: temporary.into(),
                values,
            }],
            ..Self::default()
        }
    }
    /// A change set of one changed row.
    #[must_use]
    pub fn update(key: RowKey, fields: BTreeMap<String, FieldChange>) -> Self {
        Self {
            updated: vec![Update { key, fields }],
            ..Self::default()
        }
    }
    /// A change set of one removed row.
    #[must_use]
    pub fn delete(key: RowKey, version: i64) -> Self {
        Self {
            deleted: vec![Delete { key, version }],
            ..Self::default()
        }
    }

    /// How many rows it touches.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inserted.len() + self.updated.len() + self.deleted.len()
    }
    /// Whether it touches nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks the limit on rows.
    ///
    /// # Errors
    /// `InvalidArgument` above [`ChangeSet::MAX_ROWS`].
    pub fn validate(&self) -> Result<()> {
        if self.len() > Self::MAX_ROWS {
            let message = format!("At most {} rows are saved at a time.", Self::MAX_ROWS);
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(())
    }
}

/// A saved row: which key a new row got, or which row was changed or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// For new rows, the temporary name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<String>,
    /// The key.
    pub key: RowKey,
}

/// A field, or a whole row, that somebody else changed first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// The row.
    pub key: RowKey,
    /// The field; empty when it is about the row: it is gone, or it was to be removed and has changed.
    pub field: String,
    /// What the editor had seen.
    pub old: Cell,
    /// What is stored now.
    pub theirs: Cell,
    /// What the editor wants.
    pub mine: Cell,
    /// Whether the row no longer exists, or the editor may no longer see it.
    #[serde(default)]
    pub gone: bool,
}

/// A field whose value breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Which row of the change set: the temporary name, or the key as text.
    #[serde(default)]
    pub row: String,
    /// The field; empty when it is about the whole row.
    pub field: String,
    /// A sentence for people.
    pub message: String,
}

impl FieldError {
    /// What is wrong with a field.
    #[must_use]
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            row: String::new(),
            field: field.into(),
            message: message.into(),
        }
    }
}

/// What became of a change set. It was saved if and only if there are neither conflicts nor invalid fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EditOutcome {
    /// Position in the change log that contains the edit: a window at or past it shows it. 0 if nothing was saved.
    #[serde(default)]
    pub position: u64,
    /// The rows saved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub saved: Vec<Saved>,
    /// What somebody else changed first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<Conflict>,
    /// What breaks a rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invalid: Vec<FieldError>,
}

impl EditOutcome {
    /// Whether everything was saved.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.conflicts.is_empty() && self.invalid.is_empty()
    }
}
