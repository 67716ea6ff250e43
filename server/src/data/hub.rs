//! The hub: which windows are open, who shares them, and how they are opened, resumed and closed.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    data::{
        Cell, ChangeSet, EditOutcome, FieldKind, Filter, Frame, LookupItem, Query, Range, Resume, Row, RowKey,
        Snapshot, WindowId, WindowTicket,
    },
    error::{Error, ErrorKind, Result},
};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tracing::Instrument as _;

use super::{
    change_log::{self, Position},
    db::Db,
    edit::{self, Origin},
    error::random_hex,
    feed,
    options::FeedOptions,
    reader::Reader,
    registry::{Count, Entry, MAX_HOLDS_PER_USER, Registry, Slot, WindowKey},
    source::{DataSource, Rule, Viewer, check},
    sql::Scope,
    window::Window,
};

/// Most windows open at a time, over all users.
const MAX_WINDOWS: usize = 20_000;
/// Most rows offered by one lookup.
pub const MAX_LOOKUP: u32 = 100;
/// Frames kept per window for those who lost some, in bytes.
const RING_BYTES: usize = 256 * 1024;

/// Hands frames to whoever subscribed to a topic.
pub trait FramePublisher: Send + Sync {
    /// Publishes one frame. Must not block: it is called between two reads of one database snapshot.
    fn publish(&self, topic: &str, frame: &Frame);
}

/// Counters for metrics and tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Windows open.
    pub windows: usize,
    /// Position in the change log that all windows contain.
    pub position: u64,
    /// Steps the feed has made.
    pub steps: u64,
    /// Frames published.
    pub frames: u64,
    /// Range queries that the feed ran.
    pub re_ranges: u64,
    /// How long ago the feed last finished a step.
    pub age: Duration,
}

pub(crate) struct HubInner {
    pub(crate) db: Db,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) sources: Vec<Arc<dyn DataSource>>,
    pub(crate) publisher: Arc<dyn FramePublisher>,
    pub(crate) options: FeedOptions,
    pub(crate) registry: Mutex<Registry>,
    /// Wakes the feed for a window that must be read again.
    pub(crate) wake: Notify,
    pub(crate) stop: Notify,
    pub(crate) stopped: AtomicBool,
    pub(crate) steps: AtomicU64,
    pub(crate) frames: AtomicU64,
    pub(crate) re_ranges: AtomicU64,
    pub(crate) last_step: Mutex<Instant>,
}

impl HubInner {
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The windows that the feed keeps up to date.
    pub(crate) fn loaded(&self) -> Vec<Arc<Slot>> {
        self.registry()
            .windows
            .values()
            .filter(|entry| entry.loaded)
            .map(|entry| entry.slot.clone())
            .collect()
    }
}

/// Live windows over the declared sources. Cheap to clone; the feed runs until [`DataHub::shutdown`].
#[derive(Clone)]
pub struct DataHub {
    inner: Arc<HubInner>,
}

impl fmt::Debug for DataHub {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DataHub")
            .field("windows", &self.stats().windows)
            .finish_non_exhaustive()
    }
}

impl DataHub {
    /// Checks the sources, makes sure that their tables are watched, and starts the feed on the running runtime.
    ///
    /// # Errors
    /// `Internal` for a source that contradicts itself, and what the database says.
    pub async fn start(
        db: Db,
        sources: Vec<Arc<dyn DataSource>>,
        publisher: Arc<dyn FramePublisher>,
        options: FeedOptions,
    ) -> Result<Self> {
        for (index, source) in sources.iter().enumerate() {
            check(source.as_ref())?;
            if sources
                .iter()
                .take(index)
                .any(|earlier| earlier.name() == source.name())
            {
                return Err(Error::new(
                    ErrorKind::Internal,
                    format!("Source '{}' is declared twice.", source.name()),
                ));
            }
        }
        change_log::watch(&db, &sources).await?;
        let position = change_log::end(&mut db.read().await?).await?;
        let registry = Registry {
            position: Some(position),
            ..Registry::default()
        };
        let inner = Arc::new(HubInner {
            db,
            runtime: tokio::runtime::Handle::current(),
            sources,
            publisher,
            options,
            registry: Mutex::new(registry),
            wake: Notify::new(),
            stop: Notify::new(),
            stopped: AtomicBool::new(false),
            steps: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            re_ranges: AtomicU64::new(0),
            last_step: Mutex::new(Instant::now()),
        });
        tokio::spawn(feed::run(inner.clone()));
        Ok(Self { inner })
    }

    /// The database underneath.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The source of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn source(&self, name: &str) -> Result<&Arc<dyn DataSource>> {
        let source = self.inner.sources.iter().find(|source| source.name() == name);
        source.ok_or_else(|| {
            let name: String = name.chars().take(60).collect();
            Error::new(ErrorKind::NotFound, format!("There is no source '{name}'."))
        })
    }

    /// Joins the viewer to the window of this query and range, making it if nobody has it open. The client subscribes
    /// to the topic, then calls [`DataHub::open`]. Each call needs its [`DataHub::close`].
    ///
    /// # Errors
    /// `InvalidArgument` for a query or range that breaks a limit or names unknown fields, `NotFound` for an unknown
    /// source, `NotAuthorized` when the rule denies, `Busy` when too many windows are open.
    pub fn prepare(&self, source: &str, query: Query, range: Range, viewer: &Viewer) -> Result<WindowTicket> {
        let source = self.source(source)?.clone();
        query.validate(source.fields())?;
        range.validate()?;
        let scope = scope_for(source.as_ref(), &query.filter, viewer)?;
        let scope_text =
            serde_json::to_string(&(&scope.filter, &scope.rule)).map_err(|error| super::error::internal(&error))?;
        let group = format!("{}\n{scope_text}", source.name());
        let sorters = query.sorters;
        let key = WindowKey {
            source: source.name().to_owned(),
            scope: scope_text,
            sorters: sorters.clone(),
            range,
        };
        let mut registry = self.inner.registry();
        if !registry.hold(&viewer.user) {
            let message = format!("{MAX_HOLDS_PER_USER} windows of this user are open; close one first.");
            return Err(Error::new(ErrorKind::Busy, message));
        }
        let known = registry.by_key.get(&key).cloned();
        if let Some(entry) = known.and_then(|id| registry.windows.get_mut(&id)) {
            entry.holders += 1;
            return Ok(WindowTicket {
                window: entry.slot.id.clone(),
                topic: entry.slot.topic.clone(),
            });
        }
        if registry.windows.len() >= MAX_WINDOWS {
            registry.let_go(&viewer.user);
            return Err(Error::new(
                ErrorKind::Busy,
                "Too many windows are open. Please try again later.",
            ));
        }
        let id = WindowId(random_hex::<16>()?);
        let topic = format!("coati.window.{}", random_hex::<16>()?);
        let slot = Arc::new(Slot {
            id: id.clone(),
            topic: topic.clone(),
            source,
            scope,
            group,
            sorters,
            range,
            window: AsyncMutex::new(None),
            dirty: AtomicBool::new(false),
            loaded_at: Mutex::new(None),
            key: key.clone(),
        });
        registry.by_key.insert(key, id.clone());
        registry.windows.insert(
            id.clone(),
            Entry {
                slot,
                holders: 1,
                loaded: false,
            },
        );
        Ok(WindowTicket { window: id, topic })
    }

    /// The window as it is now. Frames up to the snapshot's version are old news; the next version follows by topic.
    ///
    /// # Errors
    /// `NotFound` if the window was closed, and what the database says.
    pub async fn open(&self, window: WindowId) -> Result<Snapshot> {
        let hub = self.clone();
        self.on_runtime(async move { hub.with_window(&window, Window::snapshot).await })
            .await
    }

    /// What a client at `version` has missed.
    ///
    /// # Errors
    /// As [`DataHub::open`].
    pub async fn resume(&self, window: WindowId, version: u64) -> Result<Resume> {
        let hub = self.clone();
        self.on_runtime(async move { hub.with_window(&window, |state| state.resume(version)).await })
            .await
    }

    /// Gives up one hold of a viewer on a window; with the last one it is gone, and its topic with it. Unknown windows are ignored.
    pub fn close(&self, window: &WindowId, viewer: &Viewer) {
        let mut registry = self.inner.registry();
        registry.let_go(&viewer.user);
        let Some(entry) = registry.windows.get_mut(window) else {
            return;
        };
        entry.holders = entry.holders.saturating_sub(1);
        if entry.holders > 0 {
            return;
        }
        registry.remove(window);
    }

    async fn with_window<T>(&self, id: &WindowId, answer: impl FnOnce(&Window) -> T) -> Result<T> {
        let gone = || Error::new(ErrorKind::NotFound, "This window is closed.");
        let slot = self
            .inner
            .registry()
            .windows
            .get(id)
            .map(|entry| entry.slot.clone())
            .ok_or_else(gone)?;
        let mut state = slot.window.lock().await;
        if let Some(window) = state.as_ref() {
            return Ok(answer(window));
        }
        let mut transaction = self.inner.db.read().await?;
        let position = change_log::end(&mut transaction).await?;
        let started = Instant::now();
        let known = self
            .inner
            .registry()
            .counts
            .get(&slot.group)
            .filter(|count| !count.stale)
            .copied();
        let mut reader = Reader::new(&mut transaction, slot.source.as_ref());
        let change = reader
            .whole(&slot, position.number(), known.map(|count| count.total))
            .await?;
        drop(transaction);
        let total = change.total.unwrap_or_default();
        let window = Window::new(slot.id.clone(), slot.topic.clone(), slot.range, RING_BYTES, change);
        let mut registry = self.inner.registry();
        let behind = registry
            .position
            .as_ref()
            .is_none_or(|feed| feed.may_be_past(&position));
        *slot.loaded_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        let Some(entry) = registry.windows.get_mut(id) else {
            return Err(gone());
        };
        entry.loaded = true;
        if behind {
            // The feed has already passed what this window was read at: it must look once more.
            slot.dirty.store(true, Ordering::Release);
            self.inner.wake.notify_one();
        } else if known.is_none() {
            let count = Count {
                total,
                at: Instant::now(),
                cost: started.elapsed(),
                stale: false,
            };
            registry.counts.entry(slot.group.clone()).or_insert(count);
        }
        drop(registry);
        Ok(answer(state.insert(window)))
    }

    /// Where a row stands in the sorted rows, counted from 0; `None` if the viewer's query does not show it.
    ///
    /// # Errors
    /// As [`DataHub::prepare`], and what the database says.
    pub async fn position_of(&self, source: &str, query: Query, key: RowKey, viewer: Viewer) -> Result<Option<u64>> {
        let source = self.source(source)?.clone();
        query.validate(source.fields())?;
        let scope = scope_for(source.as_ref(), &query.filter, &viewer)?;
        let db = self.inner.db.clone();
        self.on_runtime(async move {
            let mut transaction = db.read().await?;
            Reader::new(&mut transaction, source.as_ref())
                .position_of(&scope, &query.sorters, &key)
                .await
        })
        .await
    }

    /// One row, if the viewer may see it.
    ///
    /// # Errors
    /// `NotFound` for an unknown source, `NotAuthorized` when the rule denies, and what the database says.
    pub async fn row(&self, source: &str, key: RowKey, viewer: Viewer) -> Result<Option<Row>> {
        let source = self.source(source)?.clone();
        let scope = scope_for(source.as_ref(), &Filter::All, &viewer)?;
        let db = self.inner.db.clone();
        self.on_runtime(async move {
            let mut transaction = db.read().await?;
            Reader::new(&mut transaction, source.as_ref())
                .visible_row(&scope, &key)
                .await
        })
        .await
    }

    /// What a lookup field of a source offers: the first [`MAX_LOOKUP`] rows whose display text contains `text`, in the
    /// order of that text.
    ///
    /// # Errors
    /// `NotFound` if there is no such source or field to look up; `NotAuthorized`, `InvalidArgument`.
    pub async fn lookup(&self, source: &str, field: &str, text: String, viewer: Viewer) -> Result<Vec<LookupItem>> {
        let fields = self.source(source)?.fields();
        let target = shared::data::field(fields, field)
            .filter(|field| !field.hidden)
            .map(|field| field.kind);
        let Some(FieldKind::Lookup { source: target, .. }) = target else {
            let field: String = field.chars().take(60).collect();
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("There is no lookup field '{field}'."),
            ));
        };
        let target = self.source(target)?.clone();
        let display = target
            .display()
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("'{}' offers no lookup.", target.name())))?;
        let filter = if text.is_empty() {
            Filter::All
        } else {
            Filter::contains(display, text)
        };
        filter.validate(target.fields())?;
        let scope = scope_for(target.as_ref(), &filter, &viewer)?;
        let db = self.inner.db.clone();
        self.on_runtime(async move {
            let mut transaction = db.read().await?;
            Reader::new(&mut transaction, target.as_ref())
                .lookup(&scope, display, MAX_LOOKUP)
                .await
        })
        .await
    }

    /// Saves a change set in one transaction, or says why not. With an origin it happens exactly once: a repeat of the
    /// same mutation gets the stored answer. Once started it runs to its end, also if the caller goes away.
    ///
    /// # Errors
    /// `NotAuthorized` without the right, `InvalidArgument` beyond limits, `Conflict` with the detail `expected` when
    /// the mutation's number is not the next one, `Busy`.
    pub async fn save(
        &self,
        source: &str,
        changes: ChangeSet,
        origin: Option<Origin>,
        viewer: Viewer,
    ) -> Result<EditOutcome> {
        let source = self.source(source)?.clone();
        let db = self.inner.db.clone();
        let work = async move { edit::save(&db, source.as_ref(), &changes, origin.as_ref(), &viewer).await };
        self.on_runtime(work).await
    }

    /// Runs database work on the runtime that the hub was started on. A connection that is driven by a busy thread of
    /// session trees would stall everybody who waits for it.
    async fn on_runtime<T: Send + 'static>(&self, work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        // The span goes along, so that the log lines of SQL carry the trace id of the browser's call.
        let task = self.inner.runtime.spawn(work.in_current_span());
        task.await
            .map_err(|error| super::error::internal(&format_args!("database work stopped: {error}")))?
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        let registry = self.inner.registry();
        let last_step = *self.inner.last_step.lock().unwrap_or_else(PoisonError::into_inner);
        HubStats {
            windows: registry.windows.len(),
            position: registry.position.as_ref().map(Position::number).unwrap_or_default(),
            steps: self.inner.steps.load(Ordering::Relaxed),
            frames: self.inner.frames.load(Ordering::Relaxed),
            re_ranges: self.inner.re_ranges.load(Ordering::Relaxed),
            age: last_step.elapsed(),
        }
    }

    /// Stops the feed. Open windows keep their last state.
    pub fn shutdown(&self) {
        self.inner.stopped.store(true, Ordering::Release);
        self.inner.stop.notify_one();
    }
}

/// A viewer's filter together with the source's rule; refused when the rule says so.
pub(crate) fn scope_for(source: &dyn DataSource, filter: &Filter, viewer: &Viewer) -> Result<Scope> {
    let rule = match source.rule(viewer) {
        Rule::Deny => {
            return Err(Error::new(
                ErrorKind::NotAuthorized,
                format!("You may not see '{}'.", source.name()),
            ));
        }
        Rule::All => Filter::All,
        Rule::Only(filter) => filter,
    };
    Ok(Scope {
        filter: filter.clone(),
        rule,
    })
}

/// The text of a key in the change log, read back as a key of this source.
pub(crate) fn key_from_text(source: &dyn DataSource, text: &str) -> Option<RowKey> {
    let key = shared::data::field(source.fields(), source.mapping().key)?;
    match key.kind {
        shared::data::FieldKind::Integer { .. } => text.parse().ok().map(RowKey::Integer),
        _ => RowKey::from_cell(&Cell::Text(text.to_owned())),
    }
}
