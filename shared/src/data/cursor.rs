//! The contract of a cursor: a live window over a data source that the server owns and a grid shows.

use serde::{Deserialize, Serialize};

use super::{ChangeSet, EditOutcome, LookupItem, Query, Range, Resume, RowKey, Snapshot, WindowId, WindowTicket};
use crate::{error::Result, prelude::contract};

/// Which try of which client an edit is, so that a repeat has no second effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// The client's random id, one per page.
    pub client: String,
    /// 1, 2, 3… without gaps.
    pub number: u64,
}

/// A live window over a data source.
///
/// Opening takes two round trips and misses nothing: [`Cursor::prepare`] gives a topic; then SUBSCRIBE and
/// [`Cursor::open`] go out together, so that the snapshot is taken when frames already flow. Frames up to the snapshot's
/// version are dropped, the next one must follow, and a gap means [`Cursor::resume`].
#[contract]
pub trait Cursor {
    /// Makes the window, or joins an equal one, and permits the caller's session to subscribe to its topic.
    async fn prepare(&self, query: Query, range: Range) -> Result<WindowTicket>;

    /// The window's rows, at a version.
    async fn open(&self, window: WindowId) -> Result<Snapshot>;

    /// What followed after a version.
    async fn resume(&self, window: WindowId, version: u64) -> Result<Resume>;

    /// Lets go of the window.
    async fn close(&self, window: WindowId) -> Result<()>;

    /// Zero-based position of a row in the result of a query, if it is there.
    async fn position(&self, query: Query, key: RowKey) -> Result<Option<u64>>;

    /// Applies edits in one transaction, once.
    async fn save(&self, changes: ChangeSet, mutation: Mutation) -> Result<EditOutcome>;

    /// The values that a lookup field offers, at most 500, those that contain `search` first.
    async fn lookup(&self, field: String, search: String) -> Result<Vec<LookupItem>>;
}
