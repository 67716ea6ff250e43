//! One window's state and its last frames: pure, so that what a client sees can be tested without a database.

use std::collections::{BTreeMap, VecDeque};

use shared::data::{Frame, Range, Resume, Row, RowKey, Snapshot, WindowId};

/// What a read of the database found out about a window.
#[derive(Clone, Debug, Default)]
pub(crate) struct Change {
    /// Position in the change log that was read at.
    pub(crate) position: u64,
    /// How many rows match, if that was counted.
    pub(crate) total: Option<u64>,
    /// The keys of the range, if they were read.
    pub(crate) order: Option<Vec<RowKey>>,
    /// Rows as they are now: those that may have changed, and those new in `order`.
    pub(crate) rows: BTreeMap<RowKey, Row>,
}

/// The state of one window.
///
/// Invariant: `rows` has exactly the keys of `order`; each version differs from the one before by one frame.
#[derive(Debug)]
pub(crate) struct Window {
    id: WindowId,
    topic: String,
    range: Range,
    version: u64,
    position: u64,
    total: u64,
    order: Vec<RowKey>,
    rows: BTreeMap<RowKey, Row>,
    ring: VecDeque<(usize, Frame)>,
    ring_bytes: usize,
    ring_limit: usize,
}

impl Window {
    /// A window as first read.
    pub(crate) fn new(id: WindowId, topic: String, range: Range, ring_limit: usize, change: Change) -> Self {
        let mut window = Self {
            id,
            topic,
            range,
            version: 1,
            position: change.position,
            total: change.total.unwrap_or_default(),
            order: Vec::new(),
            rows: BTreeMap::new(),
            ring: VecDeque::new(),
            ring_bytes: 0,
            ring_limit,
        };
        let order = change.order.unwrap_or_default();
        window.rows = change.rows;
        window.order = order.into_iter().filter(|key| window.rows.contains_key(key)).collect();
        window
    }

    pub(crate) fn range(&self) -> Range {
        self.range
    }
    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }
    pub(crate) fn row(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }

    /// The whole state.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            window: self.id.clone(),
            topic: self.topic.clone(),
            version: self.version,
            position: self.position,
            total: self.total,
            range: self.range,
            rows: self
                .order
                .iter()
                .filter_map(|key| self.rows.get(key))
                .cloned()
                .collect(),
        }
    }

    /// What a client at `version` missed: the frames if they are all kept, else the whole state.
    pub(crate) fn resume(&self, version: u64) -> Resume {
        let first = self.ring.front().map_or(self.version + 1, |(_, frame)| frame.version);
        if version > self.version || version + 1 < first {
            return Resume::Snapshot(self.snapshot());
        }
        let missed = self.ring.iter().filter(|(_, frame)| frame.version > version);
        Resume::Frames(missed.map(|(_, frame)| frame.clone()).collect())
    }

    /// Takes over what was read; the frame that tells clients, unless there is nothing to tell.
    ///
    /// A change that was read at an older position than the window's is ignored: a window never goes back in time.
    pub(crate) fn advance(&mut self, change: Change) -> Option<Frame> {
        if change.position < self.position {
            return None;
        }
        let Change {
            position,
            total,
            order,
            rows: mut read,
        } = change;
        let order = order.map(|order| {
            // A key without a row cannot happen within one snapshot; if it did, no row is better than a broken frame.
            let known = |key: &RowKey| read.contains_key(key) || self.rows.contains_key(key);
            order.into_iter().filter(known).collect::<Vec<_>>()
        });
        let order = order.filter(|order| *order != self.order);
        let mut kept = BTreeMap::new();
        let mut rows = Vec::new();
        for key in order.as_ref().unwrap_or(&self.order) {
            let old = self.rows.remove(key);
            let new = read.remove(key);
            let changed = match (&old, &new) {
                (Some(old), Some(new)) => old.version != new.version,
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if let Some(row) = new.or(old) {
                if changed {
                    rows.push(row.clone());
                }
                kept.insert(key.clone(), row);
            }
        }
        self.rows = kept;
        self.position = position;
        if let Some(order) = &order {
            self.order.clone_from(order);
        }
        let total = total.unwrap_or(self.total);
        if order.is_none() && rows.is_empty() && total == self.total {
            return None;
        }
        self.total = total;
        self.version += 1;
        let frame = Frame {
            version: self.version,
            position,
            total,
            order,
            rows,
        };
        self.remember(frame.clone());
        Some(frame)
    }

    fn remember(&mut self, frame: Frame) {
        let weight = frame.weight();
        self.ring_bytes += weight;
        self.ring.push_back((weight, frame));
        while self.ring_bytes > self.ring_limit {
            let Some((weight, _)) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::data::{Applied, Cell, Replica};

    use super::*;

    fn row(key: i64, text: &str) -> (RowKey, Row) {
        (key.into(), Row::new(key.into(), vec![Cell::Integer(key), text.into()]))
    }

    fn window(keys: &[i64], ring_limit: usize) -> Window {
        let change = Change {
            position: 1,
            total: Some(9),
            order: Some(keys.iter().map(|key| RowKey::from(*key)).collect()),
            rows: keys.iter().map(|key| row(*key, "x")).collect(),
        };
        Window::new(WindowId("w".into()), "t".into(), Range::new(0, 10), ring_limit, change)
    }

    #[test]
    fn nothing_new_makes_no_frame() {
        let mut window = window(&[1, 2], 1000);
        let same = Change {
            position: 2,
            total: Some(9),
            rows: [row(1, "x"), row(7, "other")].into(),
            order: None,
        };
        assert_eq!(window.advance(same), None);
        assert_eq!((window.position, window.snapshot().version), (2, 1));
    }

    #[test]
    fn a_read_from_the_past_is_ignored() {
        let mut window = window(&[1, 2], 1000);
        assert!(
            window
                .advance(Change {
                    position: 5,
                    rows: [row(1, "new")].into(),
                    ..Change::default()
                })
                .is_some()
        );
        assert_eq!(
            window.advance(Change {
                position: 4,
                rows: [row(1, "old")].into(),
                ..Change::default()
            }),
            None
        );
        assert_eq!(window.row(&1.into()), Some(&row(1, "new").1));
    }

    #[test]
    fn resuming_gives_frames_while_they_are_kept_and_then_a_snapshot() {
        let mut window = window(&[1], 400);
        for step in 0..50_u64 {
            let change = Change {
                position: 2 + step,
                rows: [row(1, &step.to_string())].into(),
                ..Change::default()
            };
            assert!(window.advance(change).is_some());
        }
        assert!(window.ring_bytes <= 400);
        assert_eq!(window.resume(51), Resume::Frames(vec![]));
        let Resume::Frames(frames) = window.resume(49) else {
            panic!("frames 50 and 51 are kept")
        };
        assert_eq!(frames.iter().map(|frame| frame.version).collect::<Vec<_>>(), [50, 51]);
        assert!(matches!(window.resume(2), Resume::Snapshot(_)));
        assert!(
            matches!(window.resume(52), Resume::Snapshot(_)),
            "a version from the future is not believed"
        );
    }

    proptest! {
        #[test]
        fn a_replica_that_loses_frames_and_resumes_always_ends_equal(
            steps in proptest::collection::vec((proptest::option::of(proptest::collection::btree_set(0_i64..12, 0..8)), 0_i64..12, 0..4_u8, any::<bool>()), 1..40)
        ) {
            let mut window = window(&[1, 2, 3], 600);
            let mut replica = Replica::new(window.snapshot());
            for (index, (order, key, text, lost)) in steps.into_iter().enumerate() {
                let mut rows: BTreeMap<_, _> = [row(key, &text.to_string())].into();
                let order = order.map(|keys| keys.into_iter().rev().map(RowKey::from).collect::<Vec<_>>());
                for key in order.iter().flatten() {
                    let RowKey::Integer(number) = key else { unreachable!() };
                    if window.row(key).is_none() {
                        rows.entry(key.clone()).or_insert_with(|| row(*number, "fresh").1);
                    }
                }
                let frame = window.advance(Change { position: 2 + index as u64, total: None, order, rows });
                if let Some(frame) = frame && !lost && replica.apply(frame) == Applied::Gap {
                    prop_assert_eq!(replica.resume(window.resume(replica.version())), Applied::Ok);
                    prop_assert_eq!(replica.rows().cloned().collect::<Vec<_>>(), window.snapshot().rows);
                }
            }
            prop_assert_eq!(replica.resume(window.resume(replica.version())), Applied::Ok);
            prop_assert_eq!(replica.rows().cloned().collect::<Vec<_>>(), window.snapshot().rows);
        }
    }
}
