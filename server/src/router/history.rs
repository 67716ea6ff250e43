//! Durable history: a task beside the realm that hands changes to an [`EventStore`], in order and many at a time.
//!
//! The realm never waits for it. What finds no room, and what the store refuses, is not stored; its publisher is told, and
//! the store then starts anew behind the hole, so that a restart never shows a history with one.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use futures::future::BoxFuture;
use shared::wamp::{
    Uri,
    router::{Change, Input, Recorded},
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::realm::Shared;
use crate::{
    error::{Error, Result},
    telemetry,
};

/// Changes that may wait for the store.
const WAITING: usize = 4_096;
/// Bytes of arguments that may wait for the store.
const WAITING_BYTES: usize = 16 << 20;
/// Changes that are written at once.
const BATCH: usize = 256;

/// What a store holds.
#[derive(Debug, Default)]
pub struct Stored {
    /// All events, in the order of their numbers.
    pub events: Vec<Recorded>,
    /// The highest number that was ever let go.
    pub forgotten: u64,
}

/// Where the history of one realm survives the process. One router at a time may use it.
pub trait EventStore: Send + Sync {
    /// Everything that is stored. Called once, before the realm starts.
    fn load(&self) -> BoxFuture<'_, Result<Stored>>;

    /// Stores changes, all or none. With `anew` there is a hole before the first of them: everything that was stored
    /// before is deleted, and what is before the first counts as let go.
    fn write<'a>(&'a self, changes: &'a [Change], anew: bool) -> BoxFuture<'a, Result<()>>;
}

/// What stands for a store in a database where there are no databases.
#[allow(dead_code, clippy::unused_async, reason = "used without the feature `data` only")]
pub(crate) async fn no_database(_: &str, _: &Uri) -> Result<Arc<dyn EventStore>> {
    Err(Error::configuration(
        "This program was built without databases: history can only be kept in memory",
    ))
}

/// The realm's end of the task.
pub(super) struct HistoryWriter {
    changes: mpsc::Sender<Change>,
    bytes: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

fn size(change: &Change) -> usize {
    change.event.as_ref().map_or(0, |event| event.payload.size())
}

impl HistoryWriter {
    pub(super) fn start(store: Arc<dyn EventStore>, realm: Weak<Shared>) -> Self {
        let (changes, waiting) = mpsc::channel(WAITING);
        let bytes = Arc::new(AtomicUsize::new(0));
        let task = tokio::spawn(run(store, waiting, Arc::clone(&bytes), realm));
        Self { changes, bytes, task }
    }

    /// Takes a change; false if there is no room for it.
    pub(super) fn store(&self, change: Change) -> bool {
        let size = size(&change);
        let before = self.bytes.fetch_add(size, Ordering::Relaxed);
        let taken = before + size <= WAITING_BYTES.max(size) && self.changes.try_send(change).is_ok();
        if !taken {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            metrics::counter!(telemetry::EVENTS_NOT_STORED).increment(1);
        }
        taken
    }

    /// Completes when everything that was taken is written.
    pub(super) async fn end(self) {
        drop(self.changes);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the history was not written to its end");
        }
    }
}

async fn run(
    store: Arc<dyn EventStore>,
    mut waiting: mpsc::Receiver<Change>,
    bytes: Arc<AtomicUsize>,
    realm: Weak<Shared>,
) {
    let mut changes = Vec::with_capacity(BATCH);
    // The last number that is stored; the first change of all follows what was loaded.
    let mut last = None;
    let mut is_failing = false;
    while waiting.recv_many(&mut changes, BATCH).await > 0 {
        bytes.fetch_sub(changes.iter().map(size).sum(), Ordering::Relaxed);
        for run in changes.chunk_by(|one, next| one.number + 1 == next.number) {
            let (Some(first), Some(end)) = (run.first(), run.last()) else {
                continue;
            };
            let anew = last.is_some_and(|last| last + 1 != first.number);
            let written = store.write(run, anew).await;
            match &written {
                Ok(()) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the history is stored again, from here on");
                    }
                    last = Some(end.number);
                }
                Err(error) => {
                    metrics::counter!(telemetry::EVENTS_NOT_STORED).increment(run.len() as u64);
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::error!(%error, "the history cannot be stored");
                    }
                    last = last.or(Some(0));
                }
            }
            if let Some(realm) = realm.upgrade() {
                let (numbers, kept) = (first.number..=end.number, written.is_ok());
                realm.with(|state| state.feed(Input::Stored { numbers, kept }));
            }
        }
        changes.clear();
    }
}
