//! What the grid needs from the other side: a live window over a source of rows.

use std::{any::Any, rc::Rc};

use futures::future::LocalBoxFuture;
use shared::{
    data::{ChangeSet, EditOutcome, Frame, LookupItem, Query, Range, Resume, RowKey, Snapshot, WindowId, WindowTicket},
    error::Result,
};

/// An answer that comes later, on this thread.
pub type Later<T> = LocalBoxFuture<'static, Result<T>>;

/// Keeps a subscription alive; dropping it ends the subscription.
pub type Hold = Box<dyn Any>;

/// A source of rows that the server keeps alive in windows.
///
/// The order of use is `prepare`, then `subscribe` and `open` together, then frames; the grid drops frames up to the
/// snapshot's version and asks to `resume` when one is missing. After a reconnect it prepares the same window again.
pub trait RowSource {
    /// Makes the window, or joins an equal one, and allows this session to subscribe to its topic.
    fn prepare(&self, query: Query, range: Range) -> Later<WindowTicket>;
    /// Subscribes to the frames of a topic, in the order in which they were published; `None` stands for frames that were
    /// left out because this side read too slowly: the grid then asks to `resume`.
    fn subscribe(&self, topic: String, on_frame: Rc<dyn Fn(Option<Frame>)>) -> Later<Hold>;
    /// The rows of the window at a version.
    fn open(&self, window: WindowId) -> Later<Snapshot>;
    /// What followed after a version.
    fn resume(&self, window: WindowId, version: u64) -> Later<Resume>;
    /// Lets go of the window.
    fn close(&self, window: WindowId) -> Later<()>;
    /// Zero-based place of a row in the result of a query, if it is in it.
    fn position(&self, query: Query, key: RowKey) -> Later<Option<u64>>;
    /// Applies edits in one transaction, once, however often the link drops meanwhile.
    fn save(&self, changes: ChangeSet) -> Later<EditOutcome>;
    /// Values that a lookup field offers, those that contain `search`.
    fn lookup(&self, field: String, search: String) -> Later<Vec<LookupItem>>;
}
