//! What keys do in the grid: key press to command, command to new position; no browser types.

use std::ops::RangeInclusive;

/// A key press, as the browser names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press<'a> {
    /// `KeyboardEvent.key`.
    pub key: &'a str,
    /// Control, or Command on a Mac.
    pub control: bool,
    /// Shift.
    pub shift: bool,
    /// Alt; such presses belong to the browser.
    pub alt: bool,
}

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Move the focused cell; with `extend` the selection grows to it.
    Move {
        /// Where to.
        step: Step,
        /// Shift was held.
        extend: bool,
    },
    /// Open the focused row.
    Open,
    /// Select or deselect the focused row.
    Toggle,
    /// Select nothing.
    Clear,
    /// Copy the selected rows as text.
    Copy,
    /// Ask to delete the selected rows.
    Delete,
}

/// Where the focused cell moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// One column towards the start of the line.
    Back,
    /// One column towards the end of the line.
    Forward,
    /// The first column.
    FirstColumn,
    /// The last column.
    LastColumn,
    /// One page up.
    PageUp,
    /// One page down.
    PageDown,
    /// The very first cell.
    Start,
    /// The very last cell.
    End,
}

/// The command of a key press; none for keys that the grid leaves to the browser.
#[must_use]
pub fn command(press: Press<'_>, right_to_left: bool) -> Option<Command> {
    if press.alt {
        return None;
    }
    let step = match (press.key, press.control) {
        ("ArrowUp", false) => Step::Up,
        ("ArrowDown", false) => Step::Down,
        ("ArrowUp", true) | ("Home", true) => Step::Start,
        ("ArrowDown", true) | ("End", true) => Step::End,
        ("ArrowLeft", false) if right_to_left => Step::Forward,
        ("ArrowRight", false) if right_to_left => Step::Back,
        ("ArrowLeft", false) => Step::Back,
        ("ArrowRight", false) => Step::Forward,
        ("Home", false) => Step::FirstColumn,
        ("End", false) => Step::LastColumn,
        ("PageUp", _) => Step::PageUp,
        ("PageDown", _) => Step::PageDown,
        ("Enter" | "F2", false) => return Some(Command::Open),
        (" ", _) => return Some(Command::Toggle),
        ("Escape", _) => return Some(Command::Clear),
        ("c" | "C", true) => return Some(Command::Copy),
        ("Delete", false) => return Some(Command::Delete),
        _ => return None,
    };
    Some(Command::Move {
        step,
        extend: press.shift,
    })
}

/// A cell by its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Row number from 0.
    pub row: u64,
    /// Number among the visible columns, from 0.
    pub column: usize,
}

/// How far the focused cell can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Number of rows.
    pub rows: u64,
    /// Number of visible columns.
    pub columns: usize,
    /// Rows of a page.
    pub page: u64,
}

impl Position {
    /// Where a step leads; never outside the bounds.
    #[must_use]
    pub fn moved(self, step: Step, bounds: Bounds) -> Self {
        let last_row = bounds.rows.saturating_sub(1);
        let last_column = bounds.columns.saturating_sub(1);
        let mut to = self;
        match step {
            Step::Up => to.row = to.row.saturating_sub(1),
            Step::Down => to.row = to.row.saturating_add(1),
            Step::Back => to.column = to.column.saturating_sub(1),
            Step::Forward => to.column = to.column.saturating_add(1),
            Step::FirstColumn => to.column = 0,
            Step::LastColumn => to.column = last_column,
            Step::PageUp => to.row = to.row.saturating_sub(bounds.page),
            Step::PageDown => to.row = to.row.saturating_add(bounds.page),
            Step::Start => to = Self { row: 0, column: 0 },
            Step::End => {
                to = Self {
                    row: last_row,
                    column: last_column,
                }
            }
        }
        Self {
            row: to.row.min(last_row),
            column: to.column.min(last_column),
        }
    }
}

/// The rows between two, whichever comes first.
#[must_use]
pub fn between(one: u64, other: u64) -> RangeInclusive<u64> {
    one.min(other)..=one.max(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn press(key: &str) -> Press<'_> {
        Press {
            key,
            control: false,
            shift: false,
            alt: false,
        }
    }

    const BOUNDS: Bounds = Bounds {
        rows: 1_000,
        columns: 5,
        page: 20,
    };

    #[test]
    fn control_home_and_end_are_the_corners() {
        let middle = Position { row: 500, column: 2 };
        for (key, corner) in [
            ("Home", Position { row: 0, column: 0 }),
            ("End", Position { row: 999, column: 4 }),
        ] {
            let Some(Command::Move { step, extend }) = command(
                Press {
                    control: true,
                    ..press(key)
                },
                false,
            ) else {
                panic!("{key} moves")
            };
            assert!(!extend);
            assert_eq!(middle.moved(step, BOUNDS), corner);
        }
    }

    #[test]
    fn plain_home_and_end_stay_in_the_row() {
        let middle = Position { row: 500, column: 2 };
        assert_eq!(
            middle.moved(Step::FirstColumn, BOUNDS),
            Position { row: 500, column: 0 }
        );
        assert_eq!(middle.moved(Step::LastColumn, BOUNDS), Position { row: 500, column: 4 });
    }

    #[test]
    fn left_is_forward_where_text_runs_from_right_to_left() {
        assert_eq!(command(press("ArrowLeft"), true), command(press("ArrowRight"), false));
        assert_eq!(command(press("ArrowRight"), true), command(press("ArrowLeft"), false));
    }

    #[test]
    fn enter_and_f2_open_and_letters_are_left_alone() {
        assert_eq!(command(press("Enter"), false), Some(Command::Open));
        assert_eq!(command(press("F2"), false), Some(Command::Open));
        assert_eq!(command(press("a"), false), None);
        assert_eq!(command(press("Tab"), false), None);
        assert_eq!(
            command(
                Press {
                    alt: true,
                    ..press("ArrowLeft")
                },
                false
            ),
            None,
            "alt + left is the browser's back"
        );
    }

    #[test]
    fn shift_extends() {
        let pressed = command(
            Press {
                shift: true,
                ..press("ArrowDown")
            },
            false,
        );
        assert_eq!(
            pressed,
            Some(Command::Move {
                step: Step::Down,
                extend: true
            })
        );
    }

    proptest! {
        #[test]
        fn no_sequence_of_steps_leaves_the_grid(
            rows in 0..100_u64, columns in 0..6_usize, page in 1..30_u64, steps in prop::collection::vec(0..10_u8, 0..60)
        ) {
            let bounds = Bounds { rows, columns, page };
            let mut position = Position::default();
            for step in steps {
                let step = [Step::Up, Step::Down, Step::Back, Step::Forward, Step::FirstColumn, Step::LastColumn,
                    Step::PageUp, Step::PageDown, Step::Start, Step::End][usize::from(step)];
                position = position.moved(step, bounds);
                prop_assert!(position.row < rows.max(1) && position.column < columns.max(1));
            }
        }
    }
}
