//! The heading of the grid: names to sort by, widths to drag, and a filter under each name.

use std::rc::Rc;

use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

use super::{
    columns::{Column, order_of},
    filter_row,
    model::GridModel,
};

/// The heading of all columns.
pub(super) fn header(model: &Rc<GridModel>) -> AnyView {
    let cells: Vec<_> = model
        .columns
        .get_untracked()
        .into_iter()
        .enumerate()
        .map(|(number, column)| heading(model, number, column))
        .collect();
    view! {
        <div class="grid-head" role="rowgroup">
            <div class="grid-line" role="row" aria-rowindex="1">{cells}</div>
        </div>
    }
    .into_any()
}

fn heading(model: &Rc<GridModel>, number: usize, column: Column) -> AnyView {
    let name = column.field.name;
    let sorters = model.sorters;
    let order = Memo::new(move |_| sorters.with(|sorters| order_of(sorters, name)));
    let several = move || sorters.with(|sorters| sorters.len() > 1);
    let sign = move || {
        order.get().map(|(place, descending)| {
            let arrow = if descending { "▼" } else { "▲" };
            if several() {
                format!("{arrow}\u{2009}{place}")
            } else {
                arrow.to_owned()
            }
        })
    };
    let aria_sort = move || match order.get() {
        Some((_, true)) => "descending",
        Some((_, false)) => "ascending",
        None => "none",
    };
    let weak = model.weak();
    let sort = move |event: ev::MouseEvent| {
        if let Some(model) = weak.upgrade() {
            model.toggle_sort(name, event.shift_key());
        }
    };
    view! {
        <div
            class=if column.is_number() { "grid-column grid-number" } else { "grid-column" }
            role="columnheader"
            aria-colindex=number + 1
            aria-sort=aria_sort
        >
            <button type="button" class="grid-sort" data-testid=format!("sort-{name}") title="Sort. Hold Shift to sort by several columns." on:click=sort>
                <span class="grid-sort-label">{column.field.label}</span>
                <span class="grid-order" aria-hidden="true">{sign}</span>
            </button>
            {filter_row::filter(model, column)}
            {handle(model, column)}
        </div>
    }
    .into_any()
}

/// The edge that drags a column's width; a double click is left to the heading.
fn handle(model: &Rc<GridModel>, column: Column) -> AnyView {
    let weak = model.weak();
    let name = column.field.name;
    let grabbed = RwSignal::new(None::<(f64, f64)>);
    let down = move |event: ev::PointerEvent| {
        event.prevent_default();
        let Some(target) = event
            .current_target()
            .map(|target| target.unchecked_into::<web_sys::Element>())
        else {
            return;
        };
        let width = target
            .parent_element()
            .map_or(0.0, |cell| cell.get_bounding_client_rect().width());
        grabbed.set(Some((f64::from(event.client_x()), width)));
        // Without capture the drag ends when the pointer leaves the edge, which is only less comfortable.
        let _ = target.set_pointer_capture(event.pointer_id());
    };
    let drag = move |event: ev::PointerEvent| {
        if let (Some((start, width)), Some(model)) = (grabbed.get_untracked(), weak.upgrade()) {
            let way = f64::from(event.client_x()) - start;
            model.resize(name, width + if super::is_right_to_left() { -way } else { way });
        }
    };
    view! {
        <span class="grid-handle" aria-hidden="true" on:pointerdown=down on:pointermove=drag on:pointerup=move |_| grabbed.set(None) on:pointercancel=move |_| grabbed.set(None)></span>
    }
    .into_any()
}
