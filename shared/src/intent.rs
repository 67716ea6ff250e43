//! What a user wants to do: an operation on a content. There is no routing; an intent elects the controller.

use serde::{Deserialize, Serialize};

use crate::data::Query;

/// What is to be done with a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Look at records, and change them where the role permits.
    View,
    /// Change one record.
    Edit,
    /// Make a new record.
    Create,
}

/// The records meant: a source by name, and which of its rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// Name of the data source, such as `assessments`.
    pub source: String,
    /// Filter and order to start with.
    #[serde(default)]
    pub query: Query,
}

/// An operation on a content; serialisable, so that it can be stored, linked and sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// What to do.
    pub operation: Operation,
    /// With what.
    pub content: Content,
}

impl Intent {
    /// The intent to look at all records of a source.
    #[must_use]
    pub fn view(source: impl Into<String>) -> Self {
        Self {
            operation: Operation::View,
            content: Content {
                source: source.into(),
                query: Query::default(),
            },
        }
    }
}
