//! The heading of the grid: names to sort by, widths to drag, and a filter under each name.

use std::{cell::RefCell, rc::Rc, time::Duration};

use leptos::{ev, prelude::*};
use shared::data::FieldKind;
use wasm_bindgen::JsCast;

use super::{
    columns::{Column, order_of},
    filter::EMPTY,
    model::GridModel,
};

/// How long typing must rest before it filters.
const REST: Duration = Duration::from_millis(250);

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
            {filter(model, column)}
            {handle(model, column)}
        </div>
    }
    .into_any()
}

fn filter(model: &Rc<GridModel>, column: Column) -> AnyView {
    let field = column.field;
    let (typed, unclear) = (model.typed, model.unclear);
    let value = Memo::new(move |_| typed.with(|typed| typed.get(field.name).cloned().unwrap_or_default()));
    let active = move || value.with(|value| (!value.is_empty()).then_some("true"));
    let label = format!("Filter {}", field.label);
    let name = format!("filter-{}", field.name);
    let weak = model.weak();
    let set = move |text: &str| {
        if let Some(model) = weak.upgrade() {
            model.set_filter(field.name, text);
        }
    };
    let choices = match field.kind {
        FieldKind::Choice(choices) => Some(
            choices
                .iter()
                .map(|choice| (choice.value.to_owned(), choice.label.to_owned()))
                .collect(),
        ),
        FieldKind::Boolean => Some(vec![
            ("true".to_owned(), "Yes".to_owned()),
            ("false".to_owned(), "No".to_owned()),
        ]),
        FieldKind::Integer { .. }
        | FieldKind::Real
        | FieldKind::Date
        | FieldKind::Text { .. }
        | FieldKind::Lookup { .. } => None,
    };
    if let Some(choices) = choices {
        let choices: Vec<(String, String)> = choices;
        let empty = field.nullable.then(
            || view! { <option value=EMPTY selected=move || value.with(|value| value == EMPTY)>"(empty)"</option> },
        );
        let options = choices.into_iter().map(|(choice, label)| {
            let mine = choice.clone();
            view! { <option value=choice selected=move || value.with(|value| *value == mine)>{label}</option> }
        });
        return view! {
            <div class="grid-filters">
                <select class="input grid-filter" aria-label=label data-testid=name data-active=active on:change=move |event| set(&event_target_value(&event))>
                    <option value="" selected=move || value.with(String::is_empty)>"All"</option>
                    {options.collect_view()}
                    {empty}
                </select>
            </div>
        }
        .into_any();
    }
    let hint = match field.kind {
        FieldKind::Integer { .. } | FieldKind::Real => "2..5",
        FieldKind::Date => "2026-03",
        FieldKind::Text { .. } | FieldKind::Lookup { .. } | FieldKind::Choice(_) | FieldKind::Boolean => "",
    };
    let waiting: RefCell<Option<TimeoutHandle>> = RefCell::default();
    let waiting = Rc::new(waiting);
    let stop = {
        let waiting = waiting.clone();
        move || {
            if let Some(timer) = waiting.take() {
                timer.clear();
            }
        }
    };
    let set = Rc::new(set);
    let (now, later, stopped) = (set.clone(), set, stop.clone());
    let typed_in = move |event: ev::Event| {
        stop();
        let (later, text) = (later.clone(), event_target_value(&event));
        *waiting.borrow_mut() = set_timeout_with_handle(move || later(&text), REST).ok();
    };
    let key = move |event: ev::KeyboardEvent| match event.key().as_str() {
        "Enter" => {
            stopped();
            now(&event_target_value(&event));
        }
        "Escape" if value.with_untracked(|value| !value.is_empty()) => {
            stopped();
            now("");
        }
        _ => {}
    };
    let invalid = move || unclear.with(|unclear| unclear.iter().any(|name| name == field.name).then_some("true"));
    view! {
        <div class="grid-filters">
            <input
                class="input grid-filter"
                type="text"
                autocomplete="off"
                spellcheck="false"
                aria-label=label
                placeholder=hint
                data-testid=name
                data-active=active
                aria-invalid=invalid
                prop:value=move || value.get()
                on:input=typed_in
                on:keydown=key
            />
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
