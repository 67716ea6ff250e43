//! The inputs of the filter row: a choice where there are few values, else a text that filters when typing rests.

use std::{cell::RefCell, rc::Rc, time::Duration};

use leptos::{ev, prelude::*};
use shared::data::FieldKind;

use super::{columns::Column, filter::EMPTY, model::GridModel};

/// How long typing must rest before it filters.
const REST: Duration = Duration::from_millis(250);

/// The input under the heading of a column.
pub(super) fn filter(model: &Rc<GridModel>, column: Column) -> AnyView {
    let owned = |(value, label): (&str, &str)| (value.to_owned(), label.to_owned());
    let choices: Vec<(String, String)> = match column.field.kind {
        FieldKind::Choice(choices) => choices
            .iter()
            .map(|choice| owned((choice.value, choice.label)))
            .collect(),
        FieldKind::Boolean => [("true", "Yes"), ("false", "No")].map(owned).to_vec(),
        FieldKind::Integer { .. } | FieldKind::Real => {
            return text(model, column, "e.g. 2..5", "Such as 5, >5, 2..5 or (empty)");
        }
        FieldKind::Date => {
            return text(
                model,
                column,
                "e.g. 2026-03",
                "Such as 2026, 2026-03, >2026-03-15, 2026-01..2026-03 or (empty)",
            );
        }
        FieldKind::Text { .. } | FieldKind::Lookup { .. } => {
            return text(model, column, "", "Text that is contained, or (empty)");
        }
    };
    choice(model, column, choices)
}

/// What both kinds of input have in common.
struct Setup {
    label: String,
    name: String,
    value: Memo<String>,
    set: Rc<dyn Fn(&str)>,
}

fn setup(model: &Rc<GridModel>, column: Column) -> Setup {
    let (typed, field) = (model.typed, column.field);
    let value = Memo::new(move |_| typed.with(|typed| typed.get(field.name).cloned().unwrap_or_default()));
    let weak = model.weak();
    let set = move |text: &str| {
        if let Some(model) = weak.upgrade() {
            model.set_filter(field.name, text);
        }
    };
    Setup {
        label: format!("Filter {}", field.label),
        name: format!("filter-{}", field.name),
        value,
        set: Rc::new(set),
    }
}

fn choice(model: &Rc<GridModel>, column: Column, mut choices: Vec<(String, String)>) -> AnyView {
    let Setup {
        label,
        name,
        value,
        set,
    } = setup(model, column);
    choices.insert(0, (String::new(), "All".to_owned()));
    if column.field.nullable {
        choices.push((EMPTY.to_owned(), EMPTY.to_owned()));
    }
    let options = choices.into_iter().map(|(choice, label)| {
        let mine = choice.clone();
        // The property, not the attribute: that one counts only until the user has chosen.
        view! { <option value=choice prop:selected=move || value.with(|value| *value == mine)>{label}</option> }
    });
    view! {
        <div class="grid-filters">
            <select
                class="input grid-filter"
                aria-label=label
                data-testid=name
                data-active=move || value.with(|value| (!value.is_empty()).then_some("true"))
                on:change=move |event| set(&event_target_value(&event))
            >
                {options.collect_view()}
            </select>
        </div>
    }
    .into_any()
}

fn text(model: &Rc<GridModel>, column: Column, hint: &'static str, help: &'static str) -> AnyView {
    let Setup {
        label,
        name,
        value,
        set,
    } = setup(model, column);
    let (unclear, field) = (model.unclear, column.field.name);
    let waiting: Rc<RefCell<Option<TimeoutHandle>>> = Rc::default();
    let stop = {
        let waiting = waiting.clone();
        move || {
            if let Some(timer) = waiting.take() {
                timer.clear();
            }
        }
    };
    let (now, stopped) = (set.clone(), stop.clone());
    let typed_in = move |event: ev::Event| {
        stop();
        let (set, text) = (set.clone(), event_target_value(&event));
        *waiting.borrow_mut() = set_timeout_with_handle(move || set(&text), REST).ok();
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
    view! {
        <div class="grid-filters">
            <input
                class="input grid-filter"
                type="text"
                autocomplete="off"
                spellcheck="false"
                aria-label=label
                placeholder=hint
                title=help
                data-testid=name
                data-active=move || value.with(|value| (!value.is_empty()).then_some("true"))
                aria-invalid=move || unclear.with(|unclear| unclear.iter().any(|name| name == field).then_some("true"))
                prop:value=move || value.get()
                on:input=typed_in
                on:keydown=key
            />
        </div>
    }
    .into_any()
}
