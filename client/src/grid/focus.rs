//! Which cell has the focus and which rows are selected, kept by key while rows come, go and move.

use std::collections::BTreeSet;

use shared::data::{Replica, RowKey};

use super::keyboard::{Position, between};

/// The focused cell and the selected rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Focus {
    /// Where the focused cell is.
    pub position: Position,
    /// The row that it is in; unknown until its row is loaded.
    pub key: Option<RowKey>,
    /// Selected rows.
    pub selected: BTreeSet<RowKey>,
    anchor: Option<u64>,
}

impl Focus {
    /// Moves the focused cell; with `extend` the rows on the way are selected.
    pub fn go(&mut self, to: Position, extend: bool, replica: Option<&Replica>) {
        let from = self.position.row;
        self.position = to;
        self.key = replica
            .and_then(|replica| replica.at(to.row))
            .map(|row| row.key.clone());
        if !extend {
            self.anchor = None;
            self.selected.clear();
            return;
        }
        let anchor = *self.anchor.get_or_insert(from);
        self.selected = replica.map(|replica| keys(replica, anchor, to.row)).unwrap_or_default();
    }

    /// Selects or deselects the focused row.
    pub fn toggle(&mut self) {
        if let Some(key) = self.key.clone() {
            if !self.selected.remove(&key) {
                self.selected.insert(key);
            }
            self.anchor = Some(self.position.row);
        }
    }

    /// Other rows are shown: the focus goes to the first, in the same column.
    pub fn restart(&mut self) {
        let column = self.position.column;
        *self = Self {
            position: Position { row: 0, column },
            ..Self::default()
        };
    }

    /// Selects nothing.
    pub fn clear(&mut self) {
        self.selected.clear();
        self.anchor = None;
    }

    /// The rows that an action is about: the selected ones, else the focused one.
    #[must_use]
    pub fn targets(&self) -> Vec<RowKey> {
        if self.selected.is_empty() {
            self.key.iter().cloned().collect()
        } else {
            self.selected.iter().cloned().collect()
        }
    }

    /// The rows changed: the focus goes where its row went, or stays at its place if the row left.
    pub fn follow(&mut self, replica: &Replica) {
        let row = &mut self.position.row;
        *row = (*row).min(replica.total().saturating_sub(1));
        match self.key.as_ref().and_then(|key| replica.position_of(key)) {
            Some(place) => *row = place,
            None => {
                // Within the window the row is gone for certain; outside of it nothing is known about it.
                if let Some(there) = replica.at(*row) {
                    self.key = Some(there.key.clone());
                }
            }
        }
    }
}

fn keys(replica: &Replica, one: u64, other: u64) -> BTreeSet<RowKey> {
    between(one, other)
        .filter_map(|row| replica.at(row))
        .map(|row| row.key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use shared::data::{Frame, Range, Row, Snapshot, WindowId};

    use super::*;

    fn replica(keys: &[i64]) -> Replica {
        let rows = keys
            .iter()
            .map(|key| Row::new((*key).into(), vec![(*key).into()]))
            .collect();
        let (window, topic) = (WindowId("w".to_owned()), "t".to_owned());
        let total = keys.len() as u64;
        Replica::new(Snapshot {
            window,
            topic,
            version: 1,
            position: 1,
            total,
            range: Range::new(0, 100),
            rows,
        })
    }

    fn reordered(replica: &Replica, keys: &[i64]) -> Replica {
        let mut next = replica.clone();
        let order = Some(keys.iter().map(|key| RowKey::from(*key)).collect());
        let frame = Frame {
            version: 2,
            position: 2,
            total: keys.len() as u64,
            order,
            rows: Vec::new(),
        };
        assert_eq!(next.apply(frame), shared::data::Applied::Ok);
        next
    }

    fn at(row: u64) -> Position {
        Position { row, column: 1 }
    }

    #[test]
    fn the_focus_goes_where_its_row_goes() {
        let before = replica(&[10, 20, 30, 40]);
        let mut focus = Focus::default();
        focus.go(at(1), false, Some(&before));
        focus.follow(&reordered(&before, &[40, 30, 20, 10]));
        assert_eq!((focus.position, focus.key), (at(2), Some(20.into())));
    }

    #[test]
    fn when_its_row_is_gone_the_focus_stays_at_its_place() {
        let before = replica(&[10, 20, 30, 40]);
        let mut focus = Focus::default();
        focus.go(at(3), false, Some(&before));
        focus.follow(&reordered(&before, &[10, 20, 30]));
        assert_eq!(
            (focus.position, focus.key),
            (at(2), Some(30.into())),
            "the last row took its place"
        );
    }

    #[test]
    fn shift_selects_from_where_it_began_in_both_directions() {
        let rows = replica(&[10, 20, 30, 40]);
        let mut focus = Focus::default();
        focus.go(at(1), false, Some(&rows));
        focus.go(at(2), true, Some(&rows));
        focus.go(at(3), true, Some(&rows));
        assert_eq!(focus.targets(), [20.into(), 30.into(), 40.into()]);
        focus.go(at(0), true, Some(&rows));
        assert_eq!(focus.targets(), [10.into(), 20.into()]);
        focus.go(at(2), false, Some(&rows));
        assert_eq!(focus.targets(), [30.into()], "a plain move lets go");
    }
}
