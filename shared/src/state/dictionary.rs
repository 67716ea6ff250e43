//! State by name that grows and shrinks: readers depend on one key, on the set of keys, or on everything.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use super::{StateCell, Value, from_json, to_json};
use crate::{
    error::Result,
    wamp::{codec::CodecId, payload::Payload},
};

/// Values by name. Clones are the same dictionary.
///
/// Whoever reads a key is told when that key changes, appears or goes; whoever reads [`Dictionary::keys`] when a key
/// appears or goes; whoever reads [`Dictionary::entries`] of both. Setting an equal value tells nobody.
pub struct Dictionary<T>(Arc<Inner<T>>);

struct Inner<T> {
    /// One for each key that is there or was asked for.
    cells: Mutex<BTreeMap<String, Value<Option<T>>>>,
    keys: Value<BTreeSet<String>>,
    all: Value<u64>,
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Dictionary<T> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            cells: Mutex::default(),
            keys: Value::default(),
            all: Value::default(),
        }))
    }

    fn cell(&self, key: &str) -> Value<Option<T>> {
        let mut cells = self.0.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.entry(key.to_owned()).or_insert_with(|| Value::new(None)).clone()
    }

    /// What stands under a key, if anything does.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<T> {
        self.cell(key).get()
    }

    /// Puts a value under a key.
    pub fn set(&self, key: &str, value: T) {
        let cell = self.cell(key);
        let old = cell.get_untracked();
        if old.as_ref() == Some(&value) {
            return;
        }
        cell.set(Some(value));
        if old.is_none() {
            self.0.keys.update(|keys| {
                keys.insert(key.to_owned());
            });
        }
        self.0.all.update(|changes| *changes += 1);
    }

    /// Takes a key out; answers what stood there.
    pub fn remove(&self, key: &str) -> Option<T> {
        let cell = self.cell(key);
        let old = cell.get_untracked()?;
        cell.set(None);
        self.0.keys.update(|keys| {
            keys.remove(key);
        });
        self.0.all.update(|changes| *changes += 1);
        Some(old)
    }

    /// The keys, sorted.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.0.keys.with(|keys| keys.iter().cloned().collect())
    }

    /// All keys and values, sorted by key.
    #[must_use]
    pub fn entries(&self) -> Vec<(String, T)> {
        self.0.all.track();
        let cells = self.0.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let present = cells.iter();
        present
            .filter_map(|(key, cell)| Some((key.clone(), cell.get_untracked()?)))
            .collect()
    }
}

impl<T> Clone for Dictionary<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone + PartialEq + Send + Sync + 'static> Default for Dictionary<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The same dictionary, not an equal one.
impl<T> PartialEq for Dictionary<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> fmt::Debug for Dictionary<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Dictionary")
    }
}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq + Send + Sync + 'static> StateCell for Dictionary<T> {
    fn read_json(&self) -> Result<String> {
        let entries: BTreeMap<String, T> = self.entries().into_iter().collect();
        to_json(&entries)
    }

    fn write_json(&self, json: &str) -> Result<()> {
        let new: BTreeMap<String, T> = from_json(json)?;
        for key in self.keys().into_iter().filter(|key| !new.contains_key(key)) {
            self.remove(&key);
        }
        for (key, value) in new {
            self.set(&key, value);
        }
        Ok(())
    }

    fn track(&self) {
        self.0.all.track();
    }

    fn encode_update(&self, codec: CodecId, epoch: &str, version: u64) -> Result<Payload> {
        let entries: BTreeMap<String, T> = self.entries().into_iter().collect();
        Payload::encode(codec, &((epoch, version, [entries]),))
    }
}
