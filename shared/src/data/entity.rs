//! Field metadata: what grid, form, query validation and edits are generated from.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Cell, Row, RowKey};
use crate::error::Result;

/// One permitted value of a [`FieldKind::Choice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What is stored.
    pub value: &'static str,
    /// What people read.
    pub label: &'static str,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FieldKind {
    /// A whole number within bounds, both included.
    Integer {
        /// Smallest permitted value.
        min: i64,
        /// Largest permitted value.
        max: i64,
    },
    /// Text of at most `max_length` characters.
    Text {
        /// Largest permitted number of characters (Unicode scalar values).
        max_length: usize,
        /// Whether a form offers several lines.
        multiline: bool,
    },
    /// A calendar day.
    Date,
    /// A floating-point number.
    Real,
    /// A truth value.
    Boolean,
    /// One of a fixed set of texts.
    Choice(&'static [Choice]),
    /// The key of a row of another source. A form offers that source's rows; a grid shows the field `text` instead.
    Lookup {
        /// Name of the source looked up in.
        source: &'static str,
        /// Name of the read-only field of this entity that shows the row looked up.
        text: &'static str,
    },
}

/// Everything that is known about a field. Built by the constructors and the chained `const` methods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Field {
    /// Name in queries, rows and change sets.
    pub name: &'static str,
    /// Heading for people.
    pub label: &'static str,
    /// A sentence that explains the field, or nothing.
    pub hint: &'static str,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether it may be without value.
    pub nullable: bool,
    /// Whether an edit may not touch it.
    pub read_only: bool,
    /// Whether it stays on the server: not in rows, not in filters, not in sorters.
    pub hidden: bool,
}

impl Field {
    /// A required, editable field.
    #[must_use]
    pub const fn new(name: &'static str, label: &'static str, kind: FieldKind) -> Self {
        Self {
            name,
            label,
            hint: "",
            kind,
            nullable: false,
            read_only: false,
            hidden: false,
        }
    }
    /// A whole number without bounds.
    #[must_use]
    pub const fn integer(name: &'static str, label: &'static str) -> Self {
        Self::new(
            name,
            label,
            FieldKind::Integer {
                min: i64::MIN,
                max: i64::MAX,
            },
        )
    }
    /// A whole number from `min` to `max`.
    #[must_use]
    pub const fn integer_within(name: &'static str, label: &'static str, min: i64, max: i64) -> Self {
        Self::new(name, label, FieldKind::Integer { min, max })
    }
    /// One line of text.
    #[must_use]
    pub const fn text(name: &'static str, label: &'static str, max_length: usize) -> Self {
        Self::new(
            name,
            label,
            FieldKind::Text {
                max_length,
                multiline: false,
            },
        )
    }
    /// Several lines of text.
    #[must_use]
    pub const fn multiline(name: &'static str, label: &'static str, max_length: usize) -> Self {
        Self::new(
            name,
            label,
            FieldKind::Text {
                max_length,
                multiline: true,
            },
        )
    }
    /// A calendar day.
    #[must_use]
    pub const fn date(name: &'static str, label: &'static str) -> Self {
        Self::new(name, label, FieldKind::Date)
    }
    /// One of a fixed set of texts.
    #[must_use]
    pub const fn choice(name: &'static str, label: &'static str, choices: &'static [Choice]) -> Self {
        Self::new(name, label, FieldKind::Choice(choices))
    }
    /// The key of a row of `source`, shown by the field `text`.
    #[must_use]
    pub const fn lookup(name: &'static str, label: &'static str, source: &'static str, text: &'static str) -> Self {
        Self::new(name, label, FieldKind::Lookup { source, text })
    }
    /// The same field with an explanation.
    #[must_use]
    pub const fn hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }
    /// The same field, which may be without value.
    #[must_use]
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }
    /// The same field, which edits may not touch.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
    /// The same field, which never leaves the server.
    #[must_use]
    pub const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }
}

/// The field of that name, hidden or not.
#[must_use]
pub fn field<'a>(fields: &'a [Field], name: &str) -> Option<&'a Field> {
    fields.iter().find(|field| field.name == name)
}

/// The fields that rows carry, in the order of [`Row::cells`].
pub fn visible(fields: &[Field]) -> impl Iterator<Item = &Field> {
    fields.iter().filter(|field| !field.hidden)
}

/// Where a field's value stands in [`Row::cells`]; `None` for unknown and hidden fields.
#[must_use]
pub fn visible_index(fields: &[Field], name: &str) -> Option<usize> {
    visible(fields).position(|field| field.name == name)
}

/// What somebody may do to the rows that they see. The server decides by it; a page hides by it what would be refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Make rows.
    pub insert: bool,
    /// Change rows.
    pub update: bool,
    /// Remove rows.
    pub delete: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self {
        insert: true,
        update: true,
        delete: true,
    };
    /// Looking only.
    pub const NONE: Self = Self {
        insert: false,
        update: false,
        delete: false,
    };
}

/// A type whose values are rows of a source.
pub trait Entity: Serialize + DeserializeOwned + Clone {
    /// Name of the source.
    const NAME: &'static str;
    /// Name of the key field.
    const KEY: &'static str = "id";
    /// The fields; the order of the visible ones is the order of a row's cells.
    fn fields() -> &'static [Field];
    /// The key of this row.
    fn key(&self) -> RowKey;
    /// The value that a row stands for.
    ///
    /// # Errors
    /// `InvalidArgument` if a cell does not have the kind of its field.
    fn from_row(row: &Row) -> Result<Self>;
    /// The values of the visible fields, in order.
    fn to_cells(&self) -> Vec<Cell>;
}

/// One row offered for a [`FieldKind::Lookup`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupItem {
    /// What is stored.
    pub key: RowKey,
    /// What people read.
    pub text: String,
}
