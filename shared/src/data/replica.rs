//! A window's copy on the client's side: applies frames in order, or says that it cannot.

use std::collections::BTreeMap;

use super::{Frame, Range, Resume, Row, RowKey, Snapshot, WindowId};

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Applied {
    /// The replica is now at the frame's version.
    Ok,
    /// The replica already contained it; nothing changed.
    Stale,
    /// Something is missing before it; nothing changed, and the client asks to resume from [`Replica::version`].
    Gap,
}

impl Applied {
    /// What becomes of a version for one who holds another.
    pub(crate) const fn of(held: u64, next: u64) -> Self {
        if next <= held {
            Self::Stale
        } else if next == held + 1 {
            Self::Ok
        } else {
            Self::Gap
        }
    }
}

/// The rows of one window as a client holds them.
///
/// Invariant: it always equals the window's state at [`Replica::version`]; a frame is applied whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    window: WindowId,
    topic: String,
    version: u64,
    position: u64,
    total: u64,
    range: Range,
    order: Vec<RowKey>,
    rows: BTreeMap<RowKey, Row>,
}

impl Replica {
    /// A replica at a snapshot.
    #[must_use]
    pub fn new(snapshot: Snapshot) -> Self {
        let order = snapshot.rows.iter().map(|row| row.key.clone()).collect();
        let rows = snapshot.rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        Self {
            window: snapshot.window,
            topic: snapshot.topic,
            version: snapshot.version,
            position: snapshot.position,
            total: snapshot.total,
            range: snapshot.range,
            order,
            rows,
        }
    }

    /// Takes one step.
    pub fn apply(&mut self, frame: Frame) -> Applied {
        match Applied::of(self.version, frame.version) {
            Applied::Ok if self.holds_all(&frame) => {}
            Applied::Stale => return Applied::Stale,
            Applied::Ok | Applied::Gap => return Applied::Gap,
        }
        for row in frame.rows {
            self.rows.insert(row.key.clone(), row);
        }
        if let Some(order) = frame.order {
            let mut kept = std::mem::take(&mut self.rows);
            self.rows = order.iter().filter_map(|key| kept.remove_entry(key)).collect();
            self.order = order;
        }
        self.version = frame.version;
        self.position = frame.position;
        self.total = frame.total;
        Applied::Ok
    }

    /// Catches up with the answer to a resume.
    pub fn resume(&mut self, resume: Resume) -> Applied {
        match resume {
            Resume::Snapshot(snapshot) => {
                *self = Self::new(snapshot);
                Applied::Ok
            }
            Resume::Frames(frames) => {
                for frame in frames {
                    if self.apply(frame) == Applied::Gap {
                        return Applied::Gap;
                    }
                }
                Applied::Ok
            }
        }
    }

    /// Whether each key has a row and each row a place after the frame. A server that breaks this is not believed.
    fn holds_all(&self, frame: &Frame) -> bool {
        let brought: BTreeMap<&RowKey, ()> = frame.rows.iter().map(|row| (&row.key, ())).collect();
        match &frame.order {
            Some(order) => order
                .iter()
                .all(|key| brought.contains_key(key) || self.rows.contains_key(key)),
            None => brought.keys().all(|key| self.rows.contains_key(*key)),
        }
    }

    /// The window.
    #[must_use]
    pub fn window(&self) -> &WindowId {
        &self.window
    }
    /// The topic of its frames.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }
    /// The version held.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }
    /// Position in the change log that is contained: an edit saved at or below it is visible here.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }
    /// How many rows match the filter.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
    /// The part of the sorted rows that is shown.
    #[must_use]
    pub fn range(&self) -> Range {
        self.range
    }
    /// The keys shown, in order.
    #[must_use]
    pub fn order(&self) -> &[RowKey] {
        &self.order
    }
    /// The rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().filter_map(|key| self.rows.get(key))
    }
    /// The row with that key, if it is shown.
    #[must_use]
    pub fn get(&self, key: &RowKey) -> Option<&Row> {
        self.rows.get(key)
    }
    /// The row at a place counted from the first row of the whole sorted set, if it is shown.
    #[must_use]
    pub fn at(&self, index: u64) -> Option<&Row> {
        let offset = usize::try_from(index.checked_sub(self.range.start)?).ok()?;
        self.rows.get(self.order.get(offset)?)
    }
    /// The place of a key counted from the first row of the whole sorted set, if it is shown.
    #[must_use]
    pub fn position_of(&self, key: &RowKey) -> Option<u64> {
        let offset = self.order.iter().position(|shown| shown == key)?;
        Some(self.range.start + offset as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Cell;

    fn row(key: i64, text: &str) -> Row {
        Row::new(key.into(), vec![Cell::Integer(key), text.into()])
    }

    fn replica() -> Replica {
        Replica::new(Snapshot {
            window: WindowId("w".into()),
            topic: "coati.window.w".into(),
            version: 5,
            position: 10,
            total: 100,
            range: Range::new(20, 3),
            rows: vec![row(1, "a"), row(2, "b"), row(3, "c")],
        })
    }

    fn frame(version: u64, order: Option<Vec<i64>>, rows: Vec<Row>) -> Frame {
        let order = order.map(|keys| keys.into_iter().map(RowKey::from).collect());
        Frame {
            version,
            position: version * 2,
            total: 99,
            order,
            rows,
        }
    }

    fn texts(replica: &Replica) -> Vec<&str> {
        replica.rows().filter_map(|row| row.cells[1].as_text()).collect()
    }

    #[test]
    fn a_frame_updates_moves_brings_and_removes_rows() {
        let mut replica = replica();
        assert_eq!(replica.apply(frame(6, None, vec![row(2, "B")])), Applied::Ok);
        assert_eq!(texts(&replica), ["a", "B", "c"]);
        assert_eq!(
            replica.apply(frame(7, Some(vec![3, 9, 2]), vec![row(9, "new")])),
            Applied::Ok
        );
        assert_eq!(texts(&replica), ["c", "new", "B"]);
        assert_eq!(replica.get(&1.into()), None);
        assert_eq!(replica.at(21).map(|row| row.key.clone()), Some(9.into()));
        assert_eq!((replica.at(19), replica.at(23)), (None, None));
        assert_eq!(replica.position_of(&2.into()), Some(22));
        assert_eq!((replica.total(), replica.position()), (99, 14));
    }

    #[test]
    fn old_frames_are_ignored_and_missing_ones_are_noticed() {
        let mut replica = replica();
        let before = replica.clone();
        assert_eq!(replica.apply(frame(5, Some(vec![]), vec![])), Applied::Stale);
        assert_eq!(replica.apply(frame(7, Some(vec![]), vec![])), Applied::Gap);
        assert_eq!(replica, before);
    }

    #[test]
    fn a_frame_that_names_rows_nobody_holds_is_a_gap_and_changes_nothing() {
        let mut replica = replica();
        let before = replica.clone();
        assert_eq!(replica.apply(frame(6, Some(vec![1, 2, 77]), vec![])), Applied::Gap);
        assert_eq!(replica.apply(frame(6, None, vec![row(77, "x")])), Applied::Gap);
        assert_eq!(replica, before);
    }

    #[test]
    fn resuming_takes_frames_or_a_snapshot() {
        let mut replica = replica();
        let frames = vec![
            frame(5, None, vec![]),
            frame(6, None, vec![row(1, "A")]),
            frame(7, Some(vec![1]), vec![]),
        ];
        assert_eq!(replica.resume(Resume::Frames(frames)), Applied::Ok);
        assert_eq!((replica.version(), texts(&replica)), (7, vec!["A"]));
        let mut fresh = super::tests::replica();
        fresh.version = 40;
        let snapshot = Snapshot {
            window: fresh.window.clone(),
            topic: fresh.topic.clone(),
            version: 40,
            position: 10,
            total: 100,
            range: fresh.range,
            rows: fresh.rows().cloned().collect(),
        };
        assert_eq!(replica.resume(Resume::Snapshot(snapshot)), Applied::Ok);
        assert_eq!(replica, fresh);
    }
}
