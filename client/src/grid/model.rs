//! What a grid knows beside its elements: query, scroll, focus, and which row each element shows.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::{Rc, Weak},
    sync::Arc,
};

use leptos::prelude::*;
use shared::{
    data::{Field, Query, Range, Replica, Row, RowKey, Sorter},
    error::{Error, Result},
    platform::PlatformRef,
};

use super::{
    columns::{self, Column},
    filter,
    focus::Focus,
    keyboard::{Bounds, Position, Step},
    live::LiveWindow,
    source::RowSource,
    viewport::{ELEMENT_LIMIT, ROW_HEIGHT, Viewport},
};

/// What a grid is made from.
pub struct GridSetup {
    /// What the rows are, for people.
    pub label: String,
    /// The fields of the entity, in the order of a row's cells.
    pub fields: &'static [Field],
    /// Where the rows come from.
    pub source: Rc<dyn RowSource>,
    /// Spawns and waits.
    pub platform: PlatformRef,
    /// The order to begin with.
    pub sorters: Vec<Sorter>,
}

/// What one row element shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Slot {
    /// Number of the row; none for an element that is not needed.
    pub index: Option<u64>,
    /// Place on the canvas in CSS pixels.
    pub top: f64,
    /// The row; none while it is loading.
    pub row: Option<Arc<Row>>,
    /// The column that has the focus.
    pub focused: Option<usize>,
    /// Whether the row is selected.
    pub selected: bool,
    /// Whether somebody changed the row a moment ago.
    pub fresh: bool,
}

/// What the grid as a whole shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Rows that match; none before the first answer.
    pub total: Option<u64>,
    /// First and last row in sight, from 1; 0 and 0 without rows.
    pub visible: (u64, u64),
    /// Selected rows.
    pub selected: usize,
    /// Whether rows are being fetched.
    pub behind: bool,
    /// What keeps rows from being fetched, for people.
    pub error: Option<String>,
}

/// A grid without its elements. It outlives them: what is scrolled to, focused and filtered stays when a tab is hidden.
pub struct GridModel {
    this: Weak<Self>,
    /// What the rows are, for people.
    pub label: String,
    /// The fields of the entity.
    pub fields: &'static [Field],
    live: Rc<LiveWindow>,
    /// Owns the signals.
    owner: Owner,
    pub(super) slots: Vec<RwSignal<Slot>>,
    pub(super) elements: RwSignal<usize>,
    pub(super) columns: RwSignal<Vec<Column>>,
    pub(super) sorters: RwSignal<Vec<Sorter>>,
    pub(super) typed: RwSignal<BTreeMap<String, String>>,
    pub(super) unclear: RwSignal<Vec<String>>,
    /// The focused row, for detail views; none without rows.
    pub current: RwSignal<Option<RowKey>>,
    /// Counts the changes of the rows at hand, for what is shown of them outside the grid.
    pub changes: RwSignal<u64>,
    /// Counts and states for bars around the grid.
    pub summary: RwSignal<Summary>,
    viewport: Cell<Viewport>,
    focus: RefCell<Focus>,
    query: RefCell<Query>,
    scroller: RefCell<Option<web_sys::HtmlElement>>,
    canvas: RefCell<Option<web_sys::HtmlElement>>,
}

impl GridModel {
    /// A grid that asks for its first rows when it is first drawn.
    #[must_use]
    pub fn new(setup: GridSetup) -> Rc<Self> {
        let owner = Owner::new();
        Rc::new_cyclic(|this: &Weak<Self>| {
            let weak = this.clone();
            let changed = move || {
                if let Some(this) = weak.upgrade() {
                    this.refresh();
                    this.changes.update(|count| *count += 1);
                }
            };
            let live = LiveWindow::new(setup.source, setup.platform, changed);
            let query = Query {
                sorters: setup.sorters.clone(),
                ..Query::default()
            };
            owner.with(|| Self {
                this: this.clone(),
                label: setup.label,
                fields: setup.fields,
                live,
                slots: (0..ELEMENT_LIMIT).map(|_| RwSignal::new(Slot::default())).collect(),
                elements: RwSignal::new(0),
                columns: RwSignal::new(columns::columns(setup.fields)),
                sorters: RwSignal::new(setup.sorters),
                typed: RwSignal::default(),
                unclear: RwSignal::default(),
                current: RwSignal::new(None),
                changes: RwSignal::new(0),
                summary: RwSignal::new(Summary {
                    behind: true,
                    ..Summary::default()
                }),
                viewport: Cell::default(),
                focus: RefCell::default(),
                query: RefCell::new(query),
                scroller: RefCell::default(),
                canvas: RefCell::default(),
                owner: owner.clone(),
            })
        })
    }

    /// Where the rows come from.
    #[must_use]
    pub fn source(&self) -> Rc<dyn RowSource> {
        self.live.source().clone()
    }

    /// What is shown: filter and order.
    #[must_use]
    pub fn query(&self) -> Query {
        self.query.borrow().clone()
    }

    /// The link was lost and is back: gets the same rows again; scroll, focus and filter stay.
    pub fn renew(&self) {
        self.live.renew();
    }

    /// The link is lost: the rows at hand stay, nothing comes until [`GridModel::renew`].
    pub fn unlink(&self) {
        self.live.unlink();
    }

    /// Lets go of the rows. The grid can be drawn again later.
    pub fn stop(&self) {
        self.live.stop();
    }

    /// The row of that key, if it is loaded.
    #[must_use]
    pub fn row(&self, key: &RowKey) -> Option<Row> {
        self.live
            .with(|held| held.and_then(|(_, replica)| replica.get(key).cloned()))
    }

    /// The rows that an action is about: the selected ones, else the focused one.
    #[must_use]
    pub fn targets(&self) -> Vec<RowKey> {
        self.focus.borrow().targets()
    }

    /// Brings the row of that key into sight and focuses it; false if the filter hides it.
    ///
    /// # Errors
    /// Those of [`RowSource::position`].
    pub async fn go_to(&self, key: RowKey) -> Result<bool> {
        let known = self
            .live
            .with(|held| held.and_then(|(_, replica)| replica.position_of(&key)));
        let row = match known {
            Some(row) => Some(row),
            None => {
                let asking = self.source().position(self.query(), key.clone());
                asking.await?
            }
        };
        let Some(row) = row else { return Ok(false) };
        let column = self.focus.borrow().position.column;
        self.focus_cell(Position { row, column }, false);
        self.focus.borrow_mut().key = Some(key);
        self.refresh();
        Ok(true)
    }

    /// Sorts as after a click on the heading of `field`.
    pub fn toggle_sort(&self, field: &str, additive: bool) {
        self.sorters
            .update(|sorters| *sorters = columns::toggled(sorters, field, additive));
        self.requery();
    }

    /// Takes over what was typed into the filter of `field`; blank means no filter.
    pub fn set_filter(&self, field: &str, typed: &str) {
        self.typed.update(|all| {
            if typed.trim().is_empty() {
                all.remove(field);
            } else {
                all.insert(field.to_owned(), typed.to_owned());
            }
        });
        self.requery();
    }

    /// Takes all filters away.
    pub fn clear_filters(&self) {
        self.typed.set(BTreeMap::new());
        self.requery();
    }

    fn requery(&self) {
        let (filter, unclear) = self.typed.with_untracked(|typed| {
            let (filter, unclear) = filter::combined(self.fields, typed);
            (filter, unclear.into_iter().map(str::to_owned).collect::<Vec<_>>())
        });
        self.unclear.set(unclear);
        let query = Query {
            filter,
            sorters: self.sorters.get_untracked(),
        };
        if *self.query.borrow() == query {
            return;
        }
        *self.query.borrow_mut() = query;
        self.focus.borrow_mut().restart();
        self.move_view(|viewport| viewport.show_at_top(0));
        self.refresh();
    }

    /// Sets the width of a column, in CSS pixels.
    pub(super) fn resize(&self, field: &str, width: f64) {
        self.columns.update(|columns| {
            if let Some(column) = columns.iter_mut().find(|column| column.field.name == field) {
                column.width = width.clamp(columns::NARROWEST, columns::WIDEST);
                column.stretch = 0;
            }
        });
    }

    /// The elements are there.
    pub(super) fn attach(&self, scroller: web_sys::HtmlElement, canvas: web_sys::HtmlElement) {
        *self.scroller.borrow_mut() = Some(scroller);
        *self.canvas.borrow_mut() = Some(canvas);
        self.refresh();
        self.push_scroll();
    }

    /// The elements are gone.
    pub(super) fn detach(&self) {
        self.scroller.borrow_mut().take();
        self.canvas.borrow_mut().take();
    }

    pub(super) fn resized(&self, height: f64) {
        let mut viewport = self.viewport.get();
        // A hidden tab has no height; its scroll position is to be kept.
        if height <= 0.0 || (viewport.height() - height).abs() < 0.5 {
            return;
        }
        viewport.set_height(height);
        self.viewport.set(viewport);
        self.refresh();
        self.push_scroll();
    }

    pub(super) fn scrolled(&self, scroll: f64) {
        let mut viewport = self.viewport.get();
        viewport.scrolled(scroll);
        self.viewport.set(viewport);
        self.refresh();
    }

    /// Scrolling has come to rest.
    pub(super) fn settle(&self) {
        let mut viewport = self.viewport.get();
        if viewport.settle().is_some() {
            self.viewport.set(viewport);
            self.refresh();
            self.push_scroll();
        }
    }

    fn move_view(&self, change: impl FnOnce(&mut Viewport)) {
        let mut viewport = self.viewport.get();
        change(&mut viewport);
        self.viewport.set(viewport);
        self.push_scroll();
    }

    fn push_scroll(&self) {
        if let Some(scroller) = &*self.scroller.borrow() {
            let scroll = self.viewport.get().scroll();
            // Setting is only needed, and only free of surprises for a moving scroll bar, where it differs.
            if (f64::from(scroller.scroll_top()) - scroll).abs() >= 1.0 {
                scroller.set_scroll_top(scroll.round() as i32);
            }
        }
    }

    /// Moves the focused cell by a key.
    pub(super) fn step(&self, step: Step, extend: bool) {
        let viewport = self.viewport.get();
        let columns = self.columns.with_untracked(Vec::len);
        let bounds = Bounds {
            rows: viewport.rows(),
            columns,
            page: viewport.page(),
        };
        let to = self.focus.borrow().position.moved(step, bounds);
        self.focus_cell(to, extend);
    }

    /// Focuses a cell and brings it into sight.
    pub(super) fn focus_cell(&self, to: Position, extend: bool) {
        self.live
            .with(|held| self.focus.borrow_mut().go(to, extend, held.map(|(_, replica)| replica)));
        self.move_view(|viewport| {
            viewport.reveal(to.row);
        });
        self.refresh();
        self.push_scroll();
        self.reveal_column(to.column);
    }

    /// Scrolls sideways until the column is in sight. The headings are measured: rows may not be drawn yet.
    fn reveal_column(&self, column: usize) {
        let Some(scroller) = self.scroller.borrow().clone() else {
            return;
        };
        let headings = scroller.get_elements_by_class_name("grid-column");
        let Some(heading) = u32::try_from(column).ok().and_then(|place| headings.item(place)) else {
            return;
        };
        let (cell, sight) = (heading.get_bounding_client_rect(), scroller.get_bounding_client_rect());
        let right = sight.left() + f64::from(scroller.client_width());
        let way = if cell.left() < sight.left() || cell.width() > sight.width() {
            cell.left() - sight.left()
        } else {
            (cell.right() - right).max(0.0)
        };
        if way.abs() >= 1.0 {
            scroller.set_scroll_left(scroller.scroll_left() + way.round() as i32);
        }
    }

    pub(super) fn focused(&self) -> Position {
        self.focus.borrow().position
    }

    pub(super) fn toggle_selected(&self) {
        self.focus.borrow_mut().toggle();
        self.refresh();
    }

    /// True if there was something to deselect.
    pub(super) fn clear_selected(&self) -> bool {
        let had = !self.focus.borrow().selected.is_empty();
        self.focus.borrow_mut().clear();
        self.refresh();
        had
    }

    /// The focused row, if it is loaded.
    #[must_use]
    pub fn focused_row(&self) -> Option<Row> {
        let index = self.focused().row;
        self.live
            .with(|held| held.and_then(|(_, replica)| replica.at(index).cloned()))
    }

    /// The rows in question as text for the clipboard.
    pub(super) fn as_text(&self) -> String {
        let targets = self.targets();
        let columns = self.columns.get_untracked();
        self.live.with(|held| {
            let rows = held.into_iter().flat_map(|(_, replica)| replica.rows());
            columns::as_text(&columns, rows.filter(|row| targets.contains(&row.key)))
        })
    }

    /// Brings elements, counts and the wished-for window in line with rows, scroll and focus.
    pub(super) fn refresh(&self) {
        let mut viewport = self.viewport.get();
        let query = self.query.borrow().clone();
        let have = self.live.with(|held| {
            let (held_query, replica) = held?;
            if viewport.rows() != replica.total() {
                viewport.set_rows(replica.total());
            }
            if *held_query != query {
                return None;
            }
            self.focus.borrow_mut().follow(replica);
            let range = replica.range();
            Some(range.start..range.start + u64::from(range.length))
        });
        let moved = (viewport.scroll() - self.viewport.get().scroll()).abs() >= 1.0;
        self.viewport.set(viewport);
        if self.scroller.borrow().is_some()
            && let Some(wanted) = viewport.wanted(have.as_ref())
        {
            let length = u32::try_from(wanted.end - wanted.start).unwrap_or(Range::MAX_LENGTH);
            self.live.show(query, Range::new(wanted.start, length));
        } else if let Some(have) = have {
            // Back where the rows at hand are: what was wished for on the way is no longer needed.
            let length = u32::try_from(have.end - have.start).unwrap_or(Range::MAX_LENGTH);
            self.live.show(query, Range::new(have.start, length));
        }
        self.draw(&viewport);
        if moved {
            self.push_scroll();
        }
    }

    fn draw(&self, viewport: &Viewport) {
        if let Some(canvas) = &*self.canvas.borrow() {
            // Not through a signal: the height must be there before the scroll position is set. It cannot fail here.
            let _ =
                web_sys::HtmlElement::style(canvas).set_property("height", &format!("{}px", viewport.canvas_height()));
        }
        let count = viewport.elements();
        let focus = self.focus.borrow();
        self.live.with(|held| {
            let replica = held.map(|(_, replica)| replica);
            let mut used = vec![false; count];
            for index in viewport.drawn() {
                let place = (index % count as u64) as usize;
                used[place] = true;
                self.fill(place, index, replica, viewport, &focus);
            }
            for (place, _) in used.iter().enumerate().filter(|(_, used)| !**used) {
                update(self.slots[place], Slot::default());
            }
        });
        if self.elements.get_untracked() != count {
            self.elements.set(count);
        }
        if self.current.with_untracked(|current| *current != focus.key) {
            self.current.set(focus.key.clone());
        }
        let visible = viewport.visible();
        let summary = Summary {
            total: self.live.with(|held| held.map(|(_, replica)| replica.total())),
            visible: if visible.is_empty() {
                (0, 0)
            } else {
                (visible.start + 1, visible.end)
            },
            selected: focus.selected.len(),
            behind: self.live.is_behind(),
            error: self.live.error().as_ref().map(sentence),
        };
        if self.summary.with_untracked(|before| *before != summary) {
            self.summary.set(summary);
        }
    }

    fn fill(&self, place: usize, index: u64, replica: Option<&Replica>, viewport: &Viewport, focus: &Focus) {
        let row = replica.and_then(|replica| replica.at(index));
        let slot = self.slots[place];
        let (row, fresh) = slot.with_untracked(|before| match (row, &before.row) {
            (Some(row), Some(shown)) if row.key == shown.key && row.version == shown.version => {
                (Some(shown.clone()), before.fresh)
            }
            (Some(row), Some(shown)) if row.key == shown.key => (Some(Arc::new(row.clone())), true),
            (Some(row), _) => (Some(Arc::new(row.clone())), false),
            (None, _) => (None, false),
        });
        let next = Slot {
            index: Some(index),
            top: index as f64 * ROW_HEIGHT + viewport.row_offset(),
            focused: (focus.position.row == index).then_some(focus.position.column),
            selected: row.as_ref().is_some_and(|row| focus.selected.contains(&row.key)),
            row,
            fresh,
        };
        update(slot, next);
    }

    /// The element that shows the focused row, if one does.
    pub(super) fn focused_element(&self) -> Option<usize> {
        let count = self.elements.get_untracked() as u64;
        let row = self.focused().row;
        (count > 0 && self.viewport.get().drawn().contains(&row)).then(|| (row % count) as usize)
    }

    /// A handle for closures that may outlive the grid.
    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }
}

impl Drop for GridModel {
    fn drop(&mut self) {
        self.live.stop();
        self.owner.cleanup();
    }
}

fn update(slot: RwSignal<Slot>, next: Slot) {
    if slot.with_untracked(|before| *before != next) {
        slot.set(next);
    }
}

fn sentence(error: &Error) -> String {
    error.to_string()
}
