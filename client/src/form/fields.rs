//! The inputs of a form, one for each field that can be edited, and the view of clashes at a field.

use std::{rc::Weak, time::Duration};

use leptos::{ev, prelude::*};
use shared::data::{Field, FieldKind};
use wasm_bindgen::JsCast;

use super::{
    Draft, FormModel,
    draft::{editable, text_of},
    lookups::Lookups,
};
use crate::{
    grid::columns::display,
    parts::{
        Choices, FieldFrame, Select, TextArea, TextInput,
        field::{FieldIds, InputSetup},
    },
};

/// How long typing must rest before a list is searched.
const REST: Duration = Duration::from_millis(200);
/// Texts longer than this take the whole line.
const WIDE: usize = 60;

pub(super) fn inputs(model: &FormModel) -> AnyView {
    let all: Vec<_> = editable(model.fields).map(|field| input(model, field)).collect();
    focus_first();
    all.into_any()
}

fn input(model: &FormModel, field: &'static Field) -> AnyView {
    let (draft, lookups, name) = (model.draft, model.lookups, field.name);
    let value = Memo::new(move |_| {
        draft.with(|draft| {
            draft
                .as_ref()
                .map(|draft| draft.typed(name).to_owned())
                .unwrap_or_default()
        })
    });
    let error =
        Memo::new(move |_| draft.with(|draft| draft.as_ref().and_then(|draft| draft.errors.get(name).cloned())));
    let ids = FieldIds::new("form", name);
    let needed = !field.nullable && model.is_editable();
    let setup = InputSetup {
        ids: ids.clone(),
        name,
        hinted: !field.hint.is_empty(),
        needed,
        read_only: !model.is_editable(),
        value: value.into(),
        on_input: Callback::new(move |text: String| {
            draft.update(|draft| {
                if let Some(draft) = draft {
                    draft.set(name, text);
                }
            });
        }),
        error: error.into(),
    };
    let choices = move |list: &[(String, String)]| {
        let blank = (field.nullable || value.with(String::is_empty)).then(|| (String::new(), String::new()));
        // What is stored is offered even where the list does not have it.
        let stored = value.with(|value| {
            let missing = !value.is_empty() && !list.iter().any(|(key, _)| key == value);
            missing.then(|| (value.clone(), lookups.with(|lookups| lookups.text(name, value))))
        });
        let listed = list.iter().cloned();
        blank.into_iter().chain(stored).chain(listed).collect::<Choices>()
    };
    let (control, wide) = match field.kind {
        FieldKind::Text { multiline: true, .. } => (view! { <TextArea setup=setup /> }, true),
        FieldKind::Text { max_length, .. } => (view! { <TextInput setup=setup /> }, max_length > WIDE),
        FieldKind::Integer { .. } => (view! { <TextInput setup=setup keys="numeric" /> }, false),
        FieldKind::Real => (view! { <TextInput setup=setup keys="decimal" /> }, false),
        FieldKind::Date => (view! { <TextInput setup=setup kind="date" /> }, false),
        FieldKind::Choice(list) => {
            let list: Choices = list
                .iter()
                .map(|choice| (choice.value.to_owned(), choice.label.to_owned()))
                .collect();
            (
                view! { <Select setup=setup choices=Signal::derive(move || choices(&list)) /> },
                false,
            )
        }
        FieldKind::Boolean => {
            let list = vec![
                ("true".to_owned(), "Yes".to_owned()),
                ("false".to_owned(), "No".to_owned()),
            ];
            (
                view! { <Select setup=setup choices=Signal::derive(move || choices(&list)) /> },
                false,
            )
        }
        FieldKind::Lookup { .. } => {
            let list = move || lookups.with(|lookups| choices(lookups.offered(name)));
            (view! { <Select setup=setup choices=Signal::derive(list) /> }, false)
        }
    };
    let searched = model.is_editable() && matches!(field.kind, FieldKind::Lookup { .. });
    let search = searched.then(|| search(model, field));
    view! {
        <FieldFrame ids=ids name=name label=field.label hint=field.hint needed=needed wide=wide error=error>
            <div class="field-slot" on:focusout=move |_| draft.update(|draft| check(draft, name))>
                {search}
                {control}
            </div>
            {clash(draft, lookups, field)}
        </FieldFrame>
    }
    .into_any()
}

/// Leaving a field checks it, but an untouched field of a form just opened is not complained about.
fn check(draft: &mut Option<Draft>, name: &str) {
    if let Some(draft) = draft
        .as_mut()
        .filter(|draft| !draft.typed(name).is_empty() || draft.key.is_some())
    {
        draft.check_field(name);
    }
}

/// Where a lookup has more values than one list shows: a text that the offered ones must contain.
fn search(model: &FormModel, field: &'static Field) -> AnyView {
    let lookups = model.lookups;
    let model = StoredValue::new_local(model.weak());
    let long = Memo::new(move |_| lookups.with(|lookups| lookups.is_long(field.name)));
    let waiting = StoredValue::new_local(None::<TimeoutHandle>);
    let typed = move |event: ev::Event| {
        if let Some(timer) = waiting.try_update_value(Option::take).flatten() {
            timer.clear();
        }
        let text = event_target_value(&event);
        let look_up = move || {
            if let Some(model) = model.try_with_value(Weak::upgrade).flatten() {
                model.look_up(field.name, text.clone());
            }
        };
        waiting.set_value(set_timeout_with_handle(look_up, REST).ok());
    };
    let input = move || {
        long.get().then(|| {
            view! {
                <input
                    class="input field-search"
                    type="search"
                    autocomplete="off"
                    placeholder="Search the list"
                    aria-label=format!("Search in {}", field.label)
                    data-testid=format!("search-{}", field.name)
                    on:input=typed
                />
            }
        })
    };
    input.into_any()
}

fn clash(draft: RwSignal<Option<Draft>>, lookups: RwSignal<Lookups>, field: &'static Field) -> impl IntoView + use<> {
    let clash =
        Memo::new(move |_| draft.with(|draft| draft.as_ref().and_then(|draft| draft.clashes.get(field.name).cloned())));
    let resolve = move |mine: bool| {
        draft.update(|draft| {
            if let Some(draft) = draft {
                draft.resolve(field.name, mine);
            }
        });
    };
    move || {
        let theirs = clash.get()?.theirs;
        let key = text_of(&theirs);
        let text = match field.kind {
            FieldKind::Lookup { .. } => lookups.with(|lookups| lookups.text(field.name, &key)),
            FieldKind::Integer { .. }
            | FieldKind::Text { .. }
            | FieldKind::Date
            | FieldKind::Real
            | FieldKind::Boolean
            | FieldKind::Choice(_) => display(field, &theirs),
        };
        let text = if text.is_empty() {
            "empty".to_owned()
        } else {
            format!("“{text}”")
        };
        Some(view! {
            <div class="clash" role="alert" data-testid=format!("clash-{}", field.name)>
                <span>{format!("Somebody else changed this to {text}.")}</span>
                <span class="clash-values">
                    <button type="button" class="button button-small" on:click=move |_| resolve(true)>"Keep mine"</button>
                    <button type="button" class="button button-small" on:click=move |_| resolve(false)>"Take theirs"</button>
                </span>
            </div>
        })
    }
}

fn focus_first() {
    // After the elements are in the document.
    request_animation_frame(|| focus("[data-testid=form] .input:not([readonly]):not(:disabled)"));
}

pub(super) fn focus_first_error() {
    request_animation_frame(|| focus("[data-testid=form] [aria-invalid=true]"));
}

fn focus(selector: &str) {
    if let Ok(Some(element)) = document().query_selector(selector) {
        drop(element.unchecked_into::<web_sys::HtmlElement>().focus());
    }
}
