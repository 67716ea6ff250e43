//! Which windows there are: by id, and by what makes them equal.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use shared::data::{Range, Sorter, WindowId};
use tokio::sync::Mutex as AsyncMutex;

use super::{change_log::Position, source::DataSource, sql::Scope, window::Window};

/// What windows are shared by. The scope is text because filters have no order of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WindowKey {
    pub(crate) source: String,
    pub(crate) scope: String,
    pub(crate) sorters: Vec<Sorter>,
    pub(crate) range: Range,
}

/// One window with all that does not change about it.
pub(crate) struct Slot {
    pub(crate) id: WindowId,
    pub(crate) topic: String,
    pub(crate) source: Arc<dyn DataSource>,
    pub(crate) scope: Scope,
    /// Equal for windows with the same source, filter and rule.
    pub(crate) group: String,
    pub(crate) sorters: Vec<Sorter>,
    pub(crate) range: Range,
    /// None until it has been read for the first time.
    pub(crate) window: AsyncMutex<Option<Window>>,
    /// Must be read again as a whole in the next step.
    pub(crate) dirty: AtomicBool,
    /// What it was first read at.
    pub(crate) loaded_at: Mutex<Option<Position>>,
    pub(crate) key: WindowKey,
}

/// A window and how many hold it.
pub(crate) struct Entry {
    pub(crate) slot: Arc<Slot>,
    pub(crate) holders: usize,
    /// Has been read, so that the feed keeps it up to date.
    pub(crate) loaded: bool,
}

/// How many rows a group has, and whether that is still true.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) total: u64,
    pub(crate) at: Instant,
    pub(crate) cost: Duration,
    pub(crate) stale: bool,
}

/// Holds on windows that one user may have, over all tabs; a grid needs one, two while it scrolls.
pub(crate) const MAX_HOLDS_PER_USER: usize = 64;

/// All windows, the counts of their groups, and where the feed stands.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) windows: BTreeMap<WindowId, Entry>,
    pub(crate) by_key: BTreeMap<WindowKey, WindowId>,
    pub(crate) counts: BTreeMap<String, Count>,
    pub(crate) position: Option<Position>,
    /// How many holds each user has on windows, so that one cannot take them all.
    pub(crate) holds: BTreeMap<String, usize>,
}

impl Registry {
    /// One more hold of a user, unless that would be too many.
    pub(crate) fn hold(&mut self, user: &str) -> bool {
        let holds = self.holds.entry(user.to_owned()).or_default();
        let room = *holds < MAX_HOLDS_PER_USER;
        *holds += usize::from(room);
        room
    }

    /// One hold less.
    pub(crate) fn let_go(&mut self, user: &str) {
        if let Some(holds) = self.holds.get_mut(user) {
            *holds -= 1;
            if *holds == 0 {
                self.holds.remove(user);
            }
        }
    }

    /// Forgets a window, and its group's count if it was the group's last one.
    pub(crate) fn remove(&mut self, window: &WindowId) {
        let Some(Entry { slot, .. }) = self.windows.remove(window) else {
            return;
        };
        self.by_key.remove(&slot.key);
        if !self.windows.values().any(|entry| entry.slot.group == slot.group) {
            self.counts.remove(&slot.group);
        }
    }
}
