//! The data grid: millions of rows through a window of a few dozen elements, live, by keyboard and by mouse.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use leptos::{ev, html, prelude::*};
use shared::data::{Row, RowKey};
use wasm_bindgen::{JsCast, closure::Closure};

use crate::parts::{Button, StatePanel};

mod body;
pub mod columns;
pub mod cursor;
pub mod filter;
mod filter_row;
pub mod focus;
mod header;
pub mod keyboard;
pub mod live;
pub mod model;
pub mod source;
pub mod viewport;

pub use cursor::{CursorAt, CursorSource};
pub use model::{GridModel, GridSetup, Summary};
pub use source::{Hold, Later, RowSource};

use keyboard::{Command, Position, Press};

/// How long the scroll position must rest before it is brought in line.
const REST: Duration = Duration::from_millis(150);

thread_local! {
    static GRIDS: Cell<u32> = const { Cell::new(0) };
}

/// A grid on the screen. The model is made by the view that owns it and outlives the elements.
#[component]
pub fn DataGrid(
    /// What it shows.
    model: Rc<GridModel>,
    /// Double click or Enter on a row.
    on_open: Callback<Row>,
    /// The Delete key, with the rows it is about.
    #[prop(optional)]
    on_delete: Option<Callback<Vec<RowKey>>>,
) -> AnyView {
    let id = GRIDS.with(|count| {
        count.set(count.get() + 1);
        format!("grid{}", count.get())
    });
    let (scroller, canvas) = (NodeRef::<html::Div>::new(), NodeRef::<html::Div>::new());
    follow_elements(&model, scroller, canvas);

    let columns = model.columns;
    let tracks = Memo::new(move |_| columns.with(|columns| self::columns::template(columns)));
    let summary = model.summary;
    let held = StoredValue::new_local(model.clone());
    let active = {
        let id = id.clone();
        move || {
            // Depends on the counts, which change with every move of the focus out of sight, and on the current row.
            summary.track();
            held.with_value(|model| {
                model.current.track();
                model
                    .focused_element()
                    .map(|place| body::cell_id(&id, place, model.focused().column))
            })
        }
    };
    let scrolled = on_scroll(&model);
    let keys = on_key(&model, on_open, on_delete);
    let press = {
        let model = model.weak();
        move |event: ev::MouseEvent| {
            if let (Some(model), Some(at)) = (model.upgrade(), cell_of(&event)) {
                model.focus_cell(at, event.shift_key());
                if event.ctrl_key() || event.meta_key() {
                    model.toggle_selected();
                }
            }
        }
    };
    let open = {
        let model = model.weak();
        move |event: ev::MouseEvent| {
            let row = model
                .upgrade()
                .filter(|_| cell_of(&event).is_some())
                .and_then(|model| model.focused_row());
            if let Some(row) = row {
                on_open.run(row);
            }
        }
    };
    view! {
        <div class="grid">
            {move || summary.with(|summary| summary.behind.then(|| view! { <div class="grid-busy" aria-hidden="true"></div> }))}
            <div
                class="grid-scroll"
                role="grid"
                tabindex="0"
                data-testid="grid"
                node_ref=scroller
                aria-label=model.label.clone()
                aria-multiselectable="true"
                aria-colcount=columns.with_untracked(Vec::len)
                aria-rowcount=move || summary.with(|summary| summary.total.map_or(-1, |total| total as i64 + 1))
                aria-busy=move || summary.with(|summary| if summary.behind { "true" } else { "false" })
                aria-activedescendant=active
                style=("--columns", move || tracks.with(|(tracks, _)| tracks.clone()))
                style=("--width", move || tracks.with(|(_, least)| format!("{least}px")))
                on:scroll=scrolled
                on:keydown=keys
            >
                {header::header(&model)}
                <div class="grid-canvas" role="rowgroup" node_ref=canvas on:mousedown=press on:dblclick=open>
                    {body::rows(&model, &id)}
                </div>
            </div>
            {move || overlay(held)}
            {foot(&model)}
        </div>
    }
    .into_any()
}

/// An observer of sizes and what it calls.
type Observing = (web_sys::ResizeObserver, Closure<dyn FnMut()>);

/// Tells the model of its elements and their size, and of their end.
fn follow_elements(model: &Rc<GridModel>, scroller: NodeRef<html::Div>, canvas: NodeRef<html::Div>) {
    let observer: StoredValue<Option<Observing>, LocalStorage> = StoredValue::new_local(None);
    let weak = StoredValue::new_local(model.weak());
    Effect::new(move |_| {
        let (Some(scroller), Some(canvas)) = (scroller.get(), canvas.get()) else {
            return;
        };
        let Some(model) = weak.with_value(std::rc::Weak::upgrade) else {
            return;
        };
        let head = canvas.previous_element_sibling();
        let measured = {
            let (model, scroller) = (model.weak(), scroller.clone());
            move || {
                if let Some(model) = model.upgrade() {
                    let head = head.as_ref().map_or(0, web_sys::Element::client_height);
                    model.resized(f64::from(scroller.client_height() - head));
                }
            }
        };
        measured();
        model.attach(scroller.clone().unchecked_into(), canvas.unchecked_into());
        let watch = Closure::<dyn FnMut()>::new(measured);
        if let Ok(observing) = web_sys::ResizeObserver::new(watch.as_ref().unchecked_ref()) {
            observing.observe(&scroller);
            observer.set_value(Some((observing, watch)));
        }
    });
    on_cleanup(move || {
        if let Some((observing, _)) = observer.try_update_value(Option::take).flatten() {
            observing.disconnect();
        }
        if let Some(model) = weak.try_with_value(std::rc::Weak::upgrade).flatten() {
            model.detach();
        }
    });
}

fn on_scroll(model: &Rc<GridModel>) -> impl Fn(ev::Event) + 'static {
    let model = model.weak();
    let resting: Rc<RefCell<Option<TimeoutHandle>>> = Rc::default();
    move |event| {
        let Some(target) = event.current_target() else { return };
        let scroller: web_sys::Element = target.unchecked_into();
        if let Some(model) = model.upgrade() {
            model.scrolled(f64::from(scroller.scroll_top()));
        }
        if let Some(timer) = resting.take() {
            timer.clear();
        }
        let model = model.clone();
        let settle = move || {
            if let Some(model) = model.upgrade() {
                model.settle();
            }
        };
        *resting.borrow_mut() = set_timeout_with_handle(settle, REST).ok();
    }
}

fn on_key(
    model: &Rc<GridModel>,
    on_open: Callback<Row>,
    on_delete: Option<Callback<Vec<RowKey>>>,
) -> impl Fn(ev::KeyboardEvent) + 'static {
    let model = model.weak();
    move |event| {
        let Some(model) = model.upgrade() else { return };
        let inside = event.target() != event.current_target();
        let key = event.key();
        let press = Press {
            key: &key,
            control: event.ctrl_key() || event.meta_key(),
            shift: event.shift_key(),
            alt: event.alt_key(),
        };
        if inside {
            // From a heading or a filter, the arrow goes down into the rows; all else is the heading's own.
            let select = event
                .target()
                .is_some_and(|target| target.has_type::<web_sys::HtmlSelectElement>());
            if key == "ArrowDown"
                && !select
                && let Some(grid) = event.current_target()
            {
                event.prevent_default();
                drop(grid.unchecked_into::<web_sys::HtmlElement>().focus());
            }
            return;
        }
        let Some(command) = keyboard::command(press, is_right_to_left()) else {
            return;
        };
        match command {
            Command::Move { step, extend } => model.step(step, extend),
            Command::Open => {
                if let Some(row) = model.focused_row() {
                    on_open.run(row);
                }
            }
            Command::Toggle => model.toggle_selected(),
            // What the grid has no use for may close a form beside it.
            Command::Clear if !model.clear_selected() => return,
            Command::Clear => {}
            Command::Copy => copy(&model.as_text()),
            Command::Delete => match on_delete.filter(|_| !model.targets().is_empty()) {
                Some(on_delete) => on_delete.run(model.targets()),
                None => return,
            },
        }
        event.prevent_default();
    }
}

fn copy(text: &str) {
    // Where the browser refuses (no permission, no secure context) nothing is copied, as for any page.
    let _ = window().navigator().clipboard().write_text(text);
}

/// The cell that a mouse event is about.
fn cell_of(event: &ev::MouseEvent) -> Option<Position> {
    let target: web_sys::Element = event.target()?.dyn_into().ok()?;
    let row = target
        .closest(".grid-row")
        .ok()??
        .get_attribute("data-index")?
        .parse()
        .ok()?;
    let cell = target
        .closest("[role=gridcell]")
        .ok()??
        .get_attribute("aria-colindex")?
        .parse::<usize>()
        .ok()?;
    Some(Position {
        row,
        column: cell.saturating_sub(1),
    })
}

pub(crate) fn is_right_to_left() -> bool {
    document()
        .document_element()
        .and_then(|page| page.get_attribute("dir"))
        .is_some_and(|direction| direction == "rtl")
}

/// What stands over the rows when there are none to see.
fn overlay(held: StoredValue<Rc<GridModel>, LocalStorage>) -> Option<AnyView> {
    let (summary, typed) = held.with_value(|model| (model.summary, model.typed));
    let state = Memo::new(move |_| summary.with(|summary| (summary.error.clone(), summary.total, summary.behind)));
    let panel = match state.get() {
        (Some(error), ..) => view! {
            <StatePanel title="The rows could not be loaded" text=error name="grid-error">
                <Button label="Try again" name="grid-retry" on_press=move || held.with_value(|model| model.renew()) />
            </StatePanel>
        },
        (None, None, _) => view! { <StatePanel title="Loading" busy=true name="grid-loading" /> },
        (None, Some(0), false) if typed.with(|typed| !typed.is_empty()) => view! {
            <StatePanel title="No row matches" text="Nothing has all the properties in the filters." name="grid-empty">
                <Button label="Clear filters" name="clear-filters" on_press=move || held.with_value(|model| model.clear_filters()) />
            </StatePanel>
        },
        (None, Some(0), false) => view! { <StatePanel title="Nothing here yet" name="grid-empty" /> },
        (None, Some(_), _) => return None,
    };
    Some(view! { <div class="grid-over">{panel}</div> }.into_any())
}

fn foot(model: &Rc<GridModel>) -> AnyView {
    let summary = model.summary;
    let counts = move || {
        summary.with(|summary| match (summary.total, summary.visible) {
            (None, _) => "Loading…".to_owned(),
            (Some(0), _) => "No rows".to_owned(),
            (Some(total), (first, last)) => format!("{}–{} of {}", grouped(first), grouped(last), grouped(total)),
        })
    };
    let selected = move || {
        summary.with(|summary| (summary.selected > 0).then(|| format!("{} selected", grouped(summary.selected as u64))))
    };
    view! {
        <div class="grid-foot">
            <span data-testid="grid-count">{counts}</span>
            <span aria-live="polite">{selected}</span>
        </div>
    }
    .into_any()
}

/// A number with its thousands set apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(super::grouped(number), text);
        }
    }
}
