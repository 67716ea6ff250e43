//! The feed: reads the change log on from its position and brings every open window to the state of one snapshot.
//!
//! One step is one read transaction: the log rows since the last step, the changed keys read again with the filter and
//! rule of each group, and new ranges for the windows that need them. The log says *where* to look, never *what* is
//! there, so the order of its rows and doubled rows do not matter.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use shared::{
    data::{Row, RowKey, visible_index},
    error::Result,
};

use super::{
    change_log::{self, Batch, Position, TableChanges, Touched},
    db::{Db, Watcher},
    hub::{HubInner, key_from_text},
    options::Fault,
    quarantine::end_broken_windows,
    reader::{Judged, Reader},
    registry::{Count, Slot},
    source::{DataSource, Mapping},
    sql::Scope,
    transaction::{Statement, Transaction},
    window::{Change, Window},
};

/// More changed keys than this, and windows are read as a whole instead.
const MAX_KEYS: usize = 2_000;
/// Steps that fail in a row before the windows are asked which of them is to blame.
const BLAME_AFTER: u32 = 3;
/// A pause after each step, in which further commits gather.
const GATHER: Duration = Duration::from_millis(4);
/// A count may take at most this share of the time: one part counting, this many parts not.
const COUNT_REST: u32 = 10;
/// Time for counting in one step, over all groups; the others wait for the next step.
const COUNT_BUDGET: Duration = Duration::from_millis(50);
/// Steps between two looks at whether the log should be pruned.
const PRUNE_EVERY: u64 = 512;

/// Runs the feed until the hub is shut down.
pub(crate) async fn run(hub: Arc<HubInner>) {
    let mut watcher: Option<Watcher> = None;
    let mut failures = 0_u32;
    while !hub.stopped.load(Ordering::Acquire) {
        if hub.options.hints && watcher.is_none() {
            watcher = hub.db.watcher().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "commits of other processes will be noticed by the timer only");
                None
            });
        }
        wait(&hub, &mut watcher).await;
        if hub.stopped.load(Ordering::Acquire) {
            break;
        }
        let started = Instant::now();
        match step(&hub).await {
            Ok(()) => {
                failures = 0;
                *hub.last_step.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                metrics::gauge!(crate::telemetry::FEED_LAG).set(started.elapsed().as_secs_f64());
                let steps = hub.steps.fetch_add(1, Ordering::Relaxed);
                if steps % PRUNE_EVERY == PRUNE_EVERY - 1 {
                    prune(&hub).await;
                }
                tokio::time::sleep(GATHER).await;
            }
            Err(error) => {
                // Nothing is lost: the position stays, and the next step reads the same log rows again.
                failures += 1;
                let pause = Duration::from_millis(50 << failures.min(6));
                tracing::warn!(%error, failures, "the feed could not make a step; trying again");
                if failures >= BLAME_AFTER
                    && let Err(error) = end_broken_windows(&hub).await
                {
                    tracing::warn!(%error, "the database does not answer");
                }
                watcher = None;
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Sleeps until there may be something to do. Each way to wake early is a hint; the timer is the promise.
async fn wait(hub: &HubInner, watcher: &mut Option<Watcher>) {
    let timer = tokio::time::sleep(hub.options.poll);
    tokio::pin!(timer);
    if !hub.options.hints {
        tokio::select! {
            () = &mut timer => {}
            () = hub.stop.notified() => {}
        }
        return;
    }
    loop {
        tokio::select! {
            () = &mut timer => return,
            () = hub.stop.notified() => return,
            () = hub.db.rung() => return,
            () = hub.wake.notified() => return,
            () = tokio::time::sleep(hub.options.watch), if watcher.is_some() => {
                let Some(connection) = watcher else { return };
                match connection.changed().await {
                    Ok(false) => {}
                    Ok(true) => return,
                    Err(_) => {
                        *watcher = None;
                        return;
                    }
                }
            }
        }
    }
}

async fn prune(hub: &HubInner) {
    let position = hub.registry().position.clone();
    if let Some(position) = position
        && let Err(error) = change_log::prune(&hub.db, &position, hub.options.kept).await
    {
        tracing::warn!(%error, "the change log could not be pruned");
    }
}

/// One step. After it, every window that was open before contains everything that committed before it.
pub(crate) async fn step(hub: &HubInner) -> Result<()> {
    // The windows first, the snapshot second: each of these windows was then read at or before the snapshot.
    let slots = hub.loaded();
    metrics::gauge!("coati_windows").set(f64::from(u32::try_from(slots.len()).unwrap_or(u32::MAX)));
    let mut before = hub.registry().position.clone();
    if hub.options.fault == Some(Fault::SkipAhead) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        before = Some(change_log::end(&mut hub.db.read().await?).await?);
    }
    let mut transaction = begin(&hub.db, &hub.sources).await?;
    let batch = match &before {
        Some(position) => change_log::read_on(&mut transaction, position).await?,
        None => Batch {
            tables: BTreeMap::new(),
            position: change_log::end(&mut transaction).await?,
            gap: true,
        },
    };
    if batch.gap {
        tracing::error!("the change log is not continuous; all windows are read again");
    }
    let tables = change_log::watched_tables(&hub.sources)?;
    for source in &hub.sources {
        let slots: Vec<_> = slots
            .iter()
            .filter(|slot| slot.source.name() == source.name())
            .cloned()
            .collect();
        if slots.is_empty() {
            continue;
        }
        let mut effect = effect(source.as_ref(), &batch);
        if let (Some(Fault::DropOneKey), Effect::Keys(keys)) = (hub.options.fault, &mut effect) {
            keys.pop_first();
        }
        let columns = tables
            .get(source.mapping().table)
            .map(|(_, columns)| columns.as_slice())
            .unwrap_or_default();
        let step = SourceStep {
            hub,
            source: source.as_ref(),
            columns,
            position: batch.position.number(),
            counting: AtomicU64::new(0),
        };
        step.run(&mut transaction, &slots, &effect).await?;
    }
    drop(transaction);
    finish(hub, &slots, batch.position);
    Ok(())
}

/// Takes over the new position. A window that was read meanwhile, before the step's snapshot, has missed the step.
fn finish(hub: &HubInner, slots: &[Arc<Slot>], position: Position) {
    let mut missed = false;
    // One lock for the look and the new position: a window that is read in between would be told by neither.
    let mut registry = hub.registry();
    let loaded = registry
        .windows
        .values()
        .filter(|entry| entry.loaded)
        .map(|entry| entry.slot.clone());
    let late: Vec<_> = loaded
        .filter(|slot| !slots.iter().any(|known| Arc::ptr_eq(known, slot)))
        .collect();
    for slot in late {
        let read_at = slot.loaded_at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if read_at.is_none_or(|read_at| position.may_be_past(&read_at)) {
            slot.dirty.store(true, Ordering::Release);
            // Its count may be as old as the window.
            if let Some(count) = registry.counts.get_mut(&slot.group) {
                count.stale = true;
            }
            missed = true;
        }
    }
    registry.position = Some(position);
    drop(registry);
    if missed {
        hub.wake.notify_one();
    }
}

/// A read transaction in which no table can be emptied between its snapshot and its reads.
async fn begin(db: &Db, sources: &[Arc<dyn DataSource>]) -> Result<Transaction> {
    let mut transaction = db.read().await?;
    if matches!(transaction, Transaction::Postgres(_)) {
        let tables = change_log::watched_tables(sources)?;
        let names: Vec<_> = tables.keys().map(|table| format!("\"{table}\"")).collect();
        let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
        transaction.execute(&Statement::new(sql, Vec::new())).await?;
    }
    Ok(transaction)
}

/// What a batch means for one source.
enum Effect {
    Nothing,
    Keys(BTreeMap<RowKey, Touched>),
    Whole,
}

fn effect(source: &dyn DataSource, batch: &Batch) -> Effect {
    let mapping = source.mapping();
    if batch.gap || mapping.joins.iter().any(|join| batch.tables.contains_key(join.table)) {
        return Effect::Whole;
    }
    match batch.tables.get(mapping.table) {
        None => Effect::Nothing,
        Some(TableChanges::Whole) => Effect::Whole,
        Some(TableChanges::Keys(keys)) if keys.len() > MAX_KEYS => Effect::Whole,
        Some(TableChanges::Keys(keys)) => {
            let parsed = keys
                .iter()
                .map(|(text, touched)| Some((key_from_text(source, text)?, *touched)));
            parsed.collect::<Option<_>>().map_or(Effect::Whole, Effect::Keys)
        }
    }
}

/// The bits of a logged column mask that stand for the columns behind some fields.
fn mask<'a>(mapping: &Mapping, columns: &[&str], fields: impl Iterator<Item = &'a str>) -> i64 {
    let mut mask = 0;
    for name in fields {
        let Ok(column) = mapping.column(name) else { return -1 };
        let mut base = column.column;
        let mut alias = column.from;
        while let Some(join) = mapping.join(alias) {
            base = join.column;
            alias = join.from;
        }
        match columns.iter().position(|known| *known == base) {
            Some(bit) => mask |= 1_i64 << bit,
            None => return -1,
        }
    }
    mask
}

/// One step's work on one source.
struct SourceStep<'a> {
    hub: &'a HubInner,
    source: &'a dyn DataSource,
    columns: &'a [&'static str],
    position: u64,
    /// What this step has spent on counting, in microseconds.
    counting: AtomicU64,
}

impl SourceStep<'_> {
    async fn run(&self, transaction: &mut Transaction, slots: &[Arc<Slot>], effect: &Effect) -> Result<()> {
        let mut reader = Reader::new(transaction, self.source);
        let mut groups: BTreeMap<&str, (usize, &Scope)> = BTreeMap::new();
        for slot in slots {
            let next = groups.len();
            groups.entry(&slot.group).or_insert((next, &slot.scope));
        }
        let mut judged = Judged::default();
        if let Effect::Keys(keys) = effect {
            let keys: Vec<_> = keys.keys().cloned().collect();
            let mut scopes: Vec<_> = groups.values().copied().collect();
            scopes.sort_by_key(|(index, _)| *index);
            let scopes: Vec<_> = scopes.into_iter().map(|(_, scope)| scope).collect();
            judged = reader.rows(&keys, &scopes).await?;
        }
        // What can be told from the rows alone is told first: nobody who watches a row waits for somebody's long range.
        let mut later = Vec::new();
        for slot in slots {
            let index = groups.get(slot.group.as_str()).map_or(0, |(index, _)| *index);
            let shown = judged.shown.get(index);
            if !self.update_in_place(slot, effect, &judged.rows, shown).await {
                later.push((slot, shown));
            }
        }
        let mut totals = BTreeMap::new();
        // Those whose count is oldest come first, or a busy table would leave the same groups behind in each step.
        let mut by_age: Vec<_> = groups.iter().collect();
        {
            let registry = self.hub.registry();
            by_age.sort_by_key(|(group, _)| registry.counts.get(**group).map(|count| count.at));
        }
        for (group, (_, scope)) in by_age {
            let moved = match effect {
                Effect::Nothing => false,
                Effect::Whole => true,
                Effect::Keys(keys) => {
                    let mask = self.filter_mask(scope);
                    keys.values()
                        .any(|touched| touched.existence || touched.columns & mask != 0)
                }
            };
            totals.insert(*group, self.total(&mut reader, group, scope, moved).await?);
        }
        for (slot, shown) in &later {
            let total = totals.get(slot.group.as_str()).copied().flatten();
            let result = self
                .read_again(&mut reader, slot, effect, &judged.rows, *shown, total)
                .await;
            if result.is_err() {
                slot.dirty.store(true, Ordering::Release);
            }
            result?;
        }
        for slot in slots
            .iter()
            .filter(|slot| !later.iter().any(|(known, _)| Arc::ptr_eq(known, slot)))
        {
            if let Some(total) = totals.get(slot.group.as_str()).copied().flatten()
                && let Some(window) = slot.window.lock().await.as_mut()
            {
                self.publish(
                    window,
                    Change {
                        position: self.position,
                        total: Some(total),
                        ..Change::default()
                    },
                );
            }
        }
        Ok(())
    }

    fn publish(&self, window: &mut Window, change: Change) {
        if let Some(frame) = window.advance(change) {
            self.hub.frames.fetch_add(1, Ordering::Relaxed);
            self.hub.publisher.publish(window.topic(), &frame);
        }
    }

    fn filter_mask(&self, scope: &Scope) -> i64 {
        let fields = scope.fields();
        mask(self.source.mapping(), self.columns, fields.into_iter())
    }

    /// The group's row count if it was counted now. Counting waits its turn: it is the one cost that grows with tables.
    async fn total(&self, reader: &mut Reader<'_>, group: &str, scope: &Scope, moved: bool) -> Result<Option<u64>> {
        let now = Instant::now();
        let due = {
            let mut registry = self.hub.registry();
            match registry.counts.get_mut(group) {
                Some(count) => {
                    count.stale |= moved;
                    let rested = now.duration_since(count.at) >= count.cost * COUNT_REST;
                    count.stale && rested && Duration::from_micros(self.counting.load(Ordering::Relaxed)) < COUNT_BUDGET
                }
                None => true,
            }
        };
        if !due {
            return Ok(None);
        }
        let (total, cost) = reader.count(scope).await?;
        let micros = u64::try_from(cost.as_micros()).unwrap_or(u64::MAX);
        self.counting.fetch_add(micros, Ordering::Relaxed);
        let count = Count {
            total,
            at: Instant::now(),
            cost,
            stale: false,
        };
        self.hub.registry().counts.insert(group.to_owned(), count);
        Ok(Some(total))
    }

    /// Brings a window up to date without another read, if no row can have moved. False if it needs one.
    async fn update_in_place(
        &self,
        slot: &Slot,
        effect: &Effect,
        read: &BTreeMap<RowKey, Row>,
        shown: Option<&BTreeSet<RowKey>>,
    ) -> bool {
        let mut guard = slot.window.lock().await;
        let Some(window) = guard.as_mut() else { return true };
        if slot.dirty.load(Ordering::Acquire) {
            return false;
        }
        let rows = match effect {
            Effect::Whole => return false,
            Effect::Nothing => BTreeMap::new(),
            Effect::Keys(keys) if self.must_re_range(slot, window, keys, read, shown) => return false,
            Effect::Keys(_) => held_rows(window, read),
        };
        self.publish(
            window,
            Change {
                position: self.position,
                total: None,
                order: None,
                rows,
            },
        );
        true
    }

    /// Brings a window up to date by reading its range, or all of it.
    async fn read_again(
        &self,
        reader: &mut Reader<'_>,
        slot: &Slot,
        effect: &Effect,
        read: &BTreeMap<RowKey, Row>,
        shown: Option<&BTreeSet<RowKey>>,
        total: Option<u64>,
    ) -> Result<()> {
        let mut guard = slot.window.lock().await;
        let Some(window) = guard.as_mut() else { return Ok(()) };
        self.hub.re_ranges.fetch_add(1, Ordering::Relaxed);
        let whole = slot.dirty.swap(false, Ordering::AcqRel) || !matches!(effect, Effect::Keys(_));
        let change = if whole {
            // The total that is known may be old, but counting has its own turn.
            let known = self.hub.registry().counts.get(&slot.group).map(|count| count.total);
            reader.whole(slot, self.position, total.or(known)).await?
        } else {
            let mut rows = held_rows(window, read);
            let order = reader.keys(&slot.scope, &slot.sorters, window.range()).await?;
            for key in &order {
                // A changed row that comes in was read already, with the verdict that it is shown.
                if let Some(row) = read.get(key).filter(|_| shown.is_some_and(|shown| shown.contains(key))) {
                    rows.insert(key.clone(), row.clone());
                }
            }
            let missing = order
                .iter()
                .filter(|key| !rows.contains_key(key) && window.row(key).is_none());
            let missing: Vec<_> = missing.cloned().collect();
            rows.extend(reader.rows(&missing, &[]).await?.rows);
            Change {
                position: self.position,
                total,
                order: Some(order),
                rows,
            }
        };
        self.publish(window, change);
        Ok(())
    }

    /// Whether a change may have moved a row into, out of or within the window, or past its start.
    fn must_re_range(
        &self,
        slot: &Slot,
        window: &Window,
        keys: &BTreeMap<RowKey, Touched>,
        read: &BTreeMap<RowKey, Row>,
        shown: Option<&BTreeSet<RowKey>>,
    ) -> bool {
        let mapping = self.source.mapping();
        let filter = self.filter_mask(&slot.scope);
        let sort = mask(
            mapping,
            self.columns,
            slot.sorters.iter().map(|sorter| sorter.field.as_str()),
        );
        let fault = self.hub.options.fault;
        keys.iter().any(|(key, touched)| {
            let membership = touched.existence || touched.columns & filter != 0;
            let now = read.get(key).filter(|_| shown.is_some_and(|shown| shown.contains(key)));
            if fault == Some(Fault::NeverReRange) || (fault == Some(Fault::IgnoreDeletes) && !read.contains_key(key)) {
                return false;
            }
            match (window.row(key), now) {
                (Some(_), None) => true,
                (Some(old), Some(new)) => slot.sorters.iter().any(|sorter| {
                    let index = visible_index(self.source.fields(), &sorter.field);
                    index.is_none_or(|index| old.cells.get(index) != new.cells.get(index))
                }),
                (None, Some(_)) => membership || touched.columns & sort != 0,
                (None, None) => membership,
            }
        })
    }
}

/// Those of the rows that the window holds.
fn held_rows(window: &Window, read: &BTreeMap<RowKey, Row>) -> BTreeMap<RowKey, Row> {
    let held = read.iter().filter(|(key, _)| window.row(key).is_some());
    held.map(|(key, row)| (key.clone(), row.clone())).collect()
}
