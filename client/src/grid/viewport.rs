//! Scroll arithmetic of the grid: scroll position to rows and back, for any number of rows under a capped height.
//!
//! Browsers cap the height of an element (Firefox near 17.9 million px, Chromium near 33.5 million). Below the cap one
//! scrolled pixel is one pixel of rows. Above it two positions exist: the *scroll* position that the browser knows, and
//! the *row* position (which pixel of all rows is at the top). A leap, such as a dragged thumb, maps the one to the other
//! by ratio; small steps move both alike, so that no row is skipped; [`Viewport::settle`] brings the scroll position
//! back in line when scrolling has come to rest.

use std::ops::Range;

/// Height of every row in CSS pixels. The style sheet says the same in `--row`.
pub const ROW_HEIGHT: f64 = 32.0;
/// The tallest element that is asked of a browser, in CSS pixels.
pub const HEIGHT_LIMIT: f64 = 16_000_000.0;
/// Windows start and end at multiples of this many rows, so that people who look at the same place share a window.
pub const BLOCK: u64 = 100;
/// The most rows in one window.
pub const WINDOW_LIMIT: u64 = 500;
/// The most row elements in the document.
pub const ELEMENT_LIMIT: usize = 200;
/// Rows drawn beyond either edge of the visible part.
const OVERDRAW: u64 = 8;
/// Rows that must be loaded beyond either edge before another window is asked for.
const MARGIN: u64 = 20;
/// Rows asked for beyond either edge, before rounding to blocks.
const REACH: u64 = 50;
/// Scrolling further than this in one step is a leap, in CSS pixels.
const LEAP: f64 = 3_000.0;

/// Where the grid is scrolled to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Viewport {
    rows: u64,
    height: f64,
    scroll: f64,
    top: f64,
}

impl Default for Viewport {
    fn default() -> Self {
        Self::new(0, 0.0)
    }
}

impl Viewport {
    /// At the top of `rows` rows, seen through `height` CSS pixels (without the header).
    #[must_use]
    pub fn new(rows: u64, height: f64) -> Self {
        Self {
            rows,
            height: height.max(0.0),
            scroll: 0.0,
            top: 0.0,
        }
    }

    /// Number of rows in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Height of the visible part in CSS pixels.
    #[must_use]
    pub fn height(&self) -> f64 {
        self.height
    }

    /// Scroll position to give to the browser, in CSS pixels.
    #[must_use]
    pub fn scroll(&self) -> f64 {
        self.scroll
    }

    /// Height that the scrolled element must have, in CSS pixels.
    #[must_use]
    pub fn canvas_height(&self) -> f64 {
        self.row_extent().min(HEIGHT_LIMIT)
    }

    fn row_extent(&self) -> f64 {
        self.rows as f64 * ROW_HEIGHT
    }

    fn last_top(&self) -> f64 {
        (self.row_extent() - self.height).max(0.0)
    }

    fn last_scroll(&self) -> f64 {
        (self.canvas_height() - self.height).max(0.0)
    }

    /// Whether the scroll position and the row position are two things.
    #[must_use]
    pub fn is_scaled(&self) -> bool {
        self.row_extent() > HEIGHT_LIMIT
    }

    fn top_of(&self, scroll: f64) -> f64 {
        if self.is_scaled() {
            scroll / self.last_scroll() * self.last_top()
        } else {
            scroll
        }
    }

    fn scroll_of(&self, top: f64) -> f64 {
        if self.is_scaled() {
            top / self.last_top() * self.last_scroll()
        } else {
            top
        }
    }

    /// What to add to `row * ROW_HEIGHT` to place a row on the scrolled element, in CSS pixels.
    #[must_use]
    pub fn row_offset(&self) -> f64 {
        self.scroll - self.top
    }

    /// Takes over another number of rows; the row at the top stays where it can.
    pub fn set_rows(&mut self, rows: u64) {
        self.rows = rows;
        self.go(self.top);
    }

    /// Takes over another visible height, in CSS pixels.
    pub fn set_height(&mut self, height: f64) {
        self.height = height.max(0.0);
        self.go(self.top);
    }

    /// The browser reports that it scrolled.
    pub fn scrolled(&mut self, scroll: f64) {
        let scroll = scroll.clamp(0.0, self.last_scroll());
        let step = scroll - self.scroll;
        self.scroll = scroll;
        self.top = if self.is_scaled() && step.abs() < LEAP {
            (self.top + step).clamp(0.0, self.last_top())
        } else if self.last_scroll() - scroll < 1.0 {
            // Browsers round the last position down to device pixels.
            self.last_top()
        } else {
            self.top_of(scroll).clamp(0.0, self.last_top())
        };
    }

    /// To be called when scrolling has come to rest: the scroll position to set, if small steps made it drift.
    pub fn settle(&mut self) -> Option<f64> {
        let scroll = self.scroll_of(self.top);
        let drifted = (scroll - self.scroll).abs() >= 1.0;
        self.scroll = if drifted { scroll } else { self.scroll };
        drifted.then_some(scroll)
    }

    fn go(&mut self, top: f64) {
        self.top = top.clamp(0.0, self.last_top());
        self.scroll = self.scroll_of(self.top);
    }

    /// Puts `row` at the top, or as near as the end allows.
    pub fn show_at_top(&mut self, row: u64) {
        self.go(row as f64 * ROW_HEIGHT);
    }

    /// Moves as little as needed to have all of `row` in sight; true if that moved anything.
    pub fn reveal(&mut self, row: u64) -> bool {
        let start = row.min(self.rows.saturating_sub(1)) as f64 * ROW_HEIGHT;
        let before = self.top;
        if start < self.top {
            self.go(start);
        } else if start + ROW_HEIGHT > self.top + self.height {
            self.go(start + ROW_HEIGHT - self.height);
        }
        self.top != before
    }

    /// Rows that are at least partly in sight.
    #[must_use]
    pub fn visible(&self) -> Range<u64> {
        let first = (self.top / ROW_HEIGHT).floor() as u64;
        let end = ((self.top + self.height) / ROW_HEIGHT).ceil() as u64;
        first.min(self.rows)..end.min(self.rows)
    }

    /// Rows that fit wholly: the step of Page Up and Page Down, at least one.
    #[must_use]
    pub fn page(&self) -> u64 {
        ((self.height / ROW_HEIGHT).floor() as u64).max(1)
    }

    /// How many row elements the document holds, at most [`ELEMENT_LIMIT`].
    #[must_use]
    pub fn elements(&self) -> usize {
        let visible = (self.height / ROW_HEIGHT).ceil() as u64 + 1;
        usize::try_from((visible + 2 * OVERDRAW).min(self.rows)).map_or(ELEMENT_LIMIT, |count| count.min(ELEMENT_LIMIT))
    }

    /// Rows that have an element: those in sight and a few around them, never more than [`Viewport::elements`].
    #[must_use]
    pub fn drawn(&self) -> Range<u64> {
        let count = self.elements() as u64;
        let first = self
            .visible()
            .start
            .saturating_sub(OVERDRAW)
            .min(self.rows - count.min(self.rows));
        first..first + count
    }

    /// The window to ask for, unless `have` still covers what is in sight with a margin.
    #[must_use]
    pub fn wanted(&self, have: Option<&Range<u64>>) -> Option<Range<u64>> {
        let visible = self.visible();
        let near = visible.start.saturating_sub(MARGIN)..(visible.end + MARGIN).min(self.rows);
        // A short window is complete only if it was asked for up to the end of the rows.
        if have.is_some_and(|have| have.start <= near.start && have.end >= near.end) {
            return None;
        }
        let start = visible.start.saturating_sub(REACH) / BLOCK * BLOCK;
        let end = (visible.end + REACH).div_ceil(BLOCK) * BLOCK;
        Some(start..end.min(start + WINDOW_LIMIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = u64> {
        prop_oneof![
            0..50_u64,
            900..1_100_u64,
            400_000..600_000_u64,
            1_000_000..50_000_000_u64
        ]
    }

    proptest! {
        #[test]
        fn both_ends_are_reached_exactly(rows in rows(), height in 40.0..2_000.0_f64) {
            let mut viewport = Viewport::new(rows, height);
            viewport.scrolled(viewport.canvas_height());
            if rows > 4_000 {
                prop_assert_eq!(viewport.visible().end, rows);
            }
            viewport.show_at_top(rows);
            prop_assert_eq!(viewport.visible().end, rows);
            prop_assert!(viewport.settle().is_none());
            viewport.show_at_top(0);
            prop_assert_eq!(viewport.visible().start, 0);
            prop_assert_eq!(viewport.scroll(), 0.0);
        }

        #[test]
        fn whatever_happens_the_rows_in_sight_are_drawn_within_the_canvas(
            rows in rows(), height in 40.0..2_000.0_f64, steps in prop::collection::vec(-1.0..1.0_f64, 1..40)
        ) {
            let mut viewport = Viewport::new(rows, height);
            for (number, step) in steps.into_iter().enumerate() {
                match number % 4 {
                    0 => viewport.scrolled(viewport.canvas_height() * step.abs()),
                    1 => viewport.scrolled(viewport.scroll() + step * 900.0),
                    2 => { viewport.settle(); }
                    _ => { viewport.reveal((rows as f64 * step.abs()) as u64); }
                }
                let (visible, drawn) = (viewport.visible(), viewport.drawn());
                prop_assert!(visible.start >= drawn.start && visible.end <= drawn.end, "{visible:?} {drawn:?}");
                prop_assert!(drawn.end <= rows && drawn.end - drawn.start <= ELEMENT_LIMIT as u64);
                prop_assert!(viewport.scroll() >= 0.0 && viewport.scroll() <= viewport.canvas_height());
                let first = visible.start as f64 * ROW_HEIGHT + viewport.row_offset();
                prop_assert!(rows == 0 || (first - viewport.scroll() <= 0.5 && first + ROW_HEIGHT >= viewport.scroll() - 0.5));
            }
        }

        #[test]
        fn a_small_step_never_skips_a_row(rows in 600_000..50_000_000_u64, place in 0.0..1.0_f64, step in 1.0..600.0_f64) {
            let mut viewport = Viewport::new(rows, 640.0);
            viewport.scrolled(viewport.canvas_height() * place);
            let before = viewport.visible();
            viewport.scrolled(viewport.scroll() + step);
            prop_assert!(viewport.visible().start <= before.end);
        }

        #[test]
        fn settling_keeps_the_rows_where_they_are(rows in rows(), moves in prop::collection::vec(-900.0..900.0_f64, 1..30)) {
            let mut viewport = Viewport::new(rows, 640.0);
            viewport.scrolled(viewport.canvas_height() / 2.0);
            for step in moves {
                viewport.scrolled(viewport.scroll() + step);
            }
            let before = viewport.visible();
            viewport.settle();
            prop_assert_eq!(viewport.visible(), before);
            prop_assert!(viewport.settle().is_none(), "settled once is settled");
        }

        #[test]
        fn a_revealed_row_is_wholly_in_sight(rows in 1..50_000_000_u64, row in 0.0..1.0_f64, from in 0.0..1.0_f64) {
            let mut viewport = Viewport::new(rows, 640.0);
            viewport.scrolled(viewport.canvas_height() * from);
            let row = ((rows - 1) as f64 * row) as u64;
            viewport.reveal(row);
            let start = row as f64 * ROW_HEIGHT + viewport.row_offset() - viewport.scroll();
            prop_assert!(start >= -0.01 && start + ROW_HEIGHT <= 640.01, "row starts at {start}");
            prop_assert!(!viewport.reveal(row), "a row in sight moves nothing");
        }

        #[test]
        fn a_wanted_window_is_made_of_blocks_and_ends_the_wanting(rows in rows(), place in 0.0..1.0_f64, height in 40.0..2_000.0_f64) {
            let mut viewport = Viewport::new(rows, height);
            viewport.scrolled(viewport.canvas_height() * place);
            if let Some(window) = viewport.wanted(None) {
                prop_assert_eq!(window.start % BLOCK, 0);
                prop_assert_eq!(window.end % BLOCK, 0);
                prop_assert!(window.end - window.start <= WINDOW_LIMIT);
                prop_assert_eq!(viewport.wanted(Some(&window)), None);
            } else {
                prop_assert_eq!(rows, 0);
            }
        }
    }

    #[test]
    fn fewer_rows_pull_the_view_up_to_the_new_end() {
        let mut viewport = Viewport::new(1_000, 320.0);
        viewport.show_at_top(900);
        viewport.set_rows(100);
        assert_eq!(viewport.visible(), 90..100);
    }

    #[test]
    fn below_the_cap_a_pixel_is_a_pixel() {
        let mut viewport = Viewport::new(100_000, 640.0);
        viewport.scrolled(1_234_567.0);
        assert_eq!(viewport.row_offset(), 0.0);
        assert_eq!(viewport.visible().start, 1_234_567 / 32);
    }
}
