//! Forms made from field metadata, with the checks of the server, a guard for unsaved input and a view of clashes.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use leptos::{ev, prelude::*, task::spawn_local};
use shared::{
    data::{Field, FieldKind, Rights, Row, RowKey, visible_index},
    error::{Error, ErrorKind},
};
use wasm_bindgen::JsCast;

pub mod draft;
mod fields;
mod lookups;

pub use draft::Draft;

use draft::text_of;
use lookups::Lookups;

use crate::{
    grid::RowSource,
    parts::{Button, ButtonKind, Dialogs, Question},
};

/// A form without its elements: the draft and what is happening to it.
pub struct FormModel {
    this: Weak<Self>,
    source: Rc<dyn RowSource>,
    fields: &'static [Field],
    /// What the form offers.
    pub allowed: Rights,
    /// What has been typed; none when no form is open.
    pub draft: RwSignal<Option<Draft>>,
    /// Whether the answer of the server is awaited.
    pub saving: RwSignal<bool>,
    lookups: RwSignal<Lookups>,
    owner: Owner,
    /// Where the focus was when the form was opened.
    before: RefCell<Option<web_sys::HtmlElement>>,
}

impl FormModel {
    /// A closed form for rows of a source.
    #[must_use]
    pub fn new(source: Rc<dyn RowSource>, fields: &'static [Field], allowed: Rights) -> Rc<Self> {
        let owner = Owner::new();
        let make = |this: &Weak<Self>| Self {
            this: this.clone(),
            source,
            fields,
            allowed,
            draft: RwSignal::new(None),
            saving: RwSignal::new(false),
            lookups: RwSignal::default(),
            owner: owner.clone(),
            before: RefCell::default(),
        };
        owner.with(|| Rc::new_cyclic(make))
    }

    /// Opens the form on a row, or on a new one.
    pub fn open(&self, row: Option<&Row>) {
        if self.draft.with_untracked(Option::is_none) {
            let focused = document()
                .active_element()
                .map(JsCast::unchecked_into::<web_sys::HtmlElement>);
            *self.before.borrow_mut() = focused;
        }
        let draft = row.map_or_else(|| Draft::create(self.fields), |row| Draft::edit(self.fields, row));
        self.fetch_lookups();
        row.into_iter().for_each(|row| self.learn(row));
        self.draft.set(Some(draft));
        self.saving.set(false);
    }

    /// Closes the form, whatever was typed.
    pub fn close(&self) {
        self.draft.set(None);
        if let Some(before) = self.before.take() {
            drop(before.focus());
        }
    }

    /// Whether something typed is not saved.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        self.draft
            .with_untracked(|draft| draft.as_ref().is_some_and(Draft::is_dirty))
    }

    /// The row that is open, if it is not a new one.
    #[must_use]
    pub fn key(&self) -> Option<RowKey> {
        self.draft
            .with_untracked(|draft| draft.as_ref().and_then(|draft| draft.key.clone()))
    }

    /// Somebody changed a row that may be the open one.
    pub fn follow(&self, row: &Row) {
        let concerned = self.draft.with_untracked(|draft| {
            let mut after = draft.clone();
            if let Some(after) = &mut after {
                after.follow(row);
            }
            after != *draft
        });
        if concerned {
            self.learn(row);
            self.change(|draft| draft.follow(row));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Draft)) {
        // The view that shows the form may be gone when an answer comes.
        self.draft.try_update(|draft| draft.as_mut().map(change));
    }

    /// Whether what is open may be changed.
    fn is_editable(&self) -> bool {
        if self.key().is_some() {
            self.allowed.update
        } else {
            self.allowed.insert
        }
    }

    fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    fn lookup_fields(&self) -> impl Iterator<Item = &'static Field> + use<> {
        draft::editable(self.fields).filter(|field| matches!(field.kind, FieldKind::Lookup { .. }))
    }

    fn fetch_lookups(&self) {
        self.lookups.update(Lookups::forget);
        self.lookup_fields()
            .for_each(|field| self.look_up(field.name, String::new()));
    }

    /// Offers the values of a lookup field that contain `search`.
    fn look_up(&self, field: &'static str, search: String) {
        let asking = self.source.lookup(field.to_owned(), search);
        let lookups = self.lookups;
        spawn_local(async move {
            // Without the list the stored value is still shown; saving works.
            if let Ok(items) = asking.await {
                lookups.try_update(|lookups| lookups.offer(field, items));
            }
        });
    }

    /// The texts of the keys in a row: they are offered even where a list does not have them.
    fn learn(&self, row: &Row) {
        for field in self.lookup_fields() {
            let FieldKind::Lookup { text, .. } = field.kind else {
                continue;
            };
            let cell = |name| row.cells.get(visible_index(self.fields, name)?);
            if let Some((key, text)) = cell(field.name).zip(cell(text)) {
                self.lookups
                    .update(|lookups| lookups.name(field.name, text_of(key), text.to_string()));
            }
        }
    }

    /// Checks and saves; the row's key if it was saved.
    async fn save(&self) -> Option<RowKey> {
        if !self.is_editable()
            || self.saving.get_untracked()
            || !self
                .draft
                .try_update(|draft| draft.as_mut().is_some_and(Draft::check))?
        {
            return None;
        }
        let changes = self.draft.with_untracked(|draft| draft.as_ref().map(Draft::changes))?;
        if changes.updated.iter().all(|update| update.fields.is_empty()) && changes.inserted.is_empty() {
            return self.key();
        }
        self.send(changes).await
    }

    async fn send(&self, changes: shared::data::ChangeSet) -> Option<RowKey> {
        self.saving.set(true);
        let outcome = self.source.save(changes).await;
        self.saving.try_set(false);
        match outcome {
            Ok(outcome) => self
                .draft
                .try_update(|draft| draft.as_mut().and_then(|draft| draft.take(&outcome)))?,
            Err(error) => {
                self.change(|draft| refuse(draft, &error));
                None
            }
        }
    }
}

impl Drop for FormModel {
    fn drop(&mut self) {
        self.owner.cleanup();
    }
}

/// Shows an error at the fields that it names, else above them.
fn refuse(draft: &mut Draft, error: &Error) {
    let named = error
        .details
        .iter()
        .filter(|(name, _)| !draft.typed(name).is_empty() || draft.errors.contains_key(*name));
    let named: Vec<_> = named.map(|(name, message)| (name.clone(), message.clone())).collect();
    draft.errors.extend(named);
    draft.notice = Some(match error.kind {
        ErrorKind::Disconnected | ErrorKind::Timeout => {
            "The server could not be reached. Your input is kept; save again when the connection is back.".to_owned()
        }
        ErrorKind::NoSuchProcedure
        | ErrorKind::NotAuthorized
        | ErrorKind::InvalidArgument
        | ErrorKind::WrongContract
        | ErrorKind::Canceled
        | ErrorKind::Busy
        | ErrorKind::Conflict
        | ErrorKind::NotFound
        | ErrorKind::Refused
        | ErrorKind::ClientOutdated
        | ErrorKind::Protocol
        | ErrorKind::Internal
        | ErrorKind::Application => error.to_string(),
    });
}

/// Asks before unsaved input is thrown away; true if there is none or the user agrees.
pub async fn may_leave(form: &FormModel, dialogs: Dialogs) -> bool {
    if !form.is_dirty() {
        return true;
    }
    let question = Question {
        title: "Discard your changes?".to_owned(),
        text: "What you typed has not been saved.".to_owned(),
        yes: "Discard".to_owned(),
        no: "Keep editing".to_owned(),
        danger: true,
    };
    dialogs.ask(question).await
}

/// The form on the screen, while it is open.
#[component]
pub fn DataForm(
    /// What it shows.
    model: Rc<FormModel>,
    /// What one row is called, such as "Assessment".
    #[prop(into)]
    noun: String,
    /// Asks the questions.
    dialogs: Dialogs,
    /// Called with the key of a saved row.
    on_saved: Callback<RowKey>,
    /// Called with the key of a deleted row.
    on_deleted: Callback<RowKey>,
) -> AnyView {
    let (draft, saving) = (model.draft, model.saving);
    let held = StoredValue::new_local(model.clone());
    let key = Memo::new(move |_| draft.with(|draft| draft.as_ref().and_then(|draft| draft.key.clone())));
    let title = {
        let noun = noun.clone();
        move || {
            key.with(|key| {
                key.as_ref()
                    .map_or_else(|| format!("New {}", noun.to_lowercase()), |key| format!("{noun} {key}"))
            })
        }
    };
    let dirty = Memo::new(move |_| draft.with(|draft| draft.as_ref().is_some_and(Draft::is_dirty)));
    let notice = Memo::new(move |_| draft.with(|draft| draft.as_ref().and_then(|draft| draft.notice.clone())));
    let gone = Memo::new(move |_| draft.with(|draft| draft.as_ref().is_some_and(|draft| draft.gone)));
    let save = move || {
        let model = held.get_value();
        spawn_local(async move {
            match model.save().await {
                Some(key) => on_saved.run(key),
                None => fields::focus_first_error(),
            }
        });
    };
    let cancel = move || {
        let model = held.get_value();
        spawn_local(async move {
            if may_leave(&model, dialogs).await {
                model.close();
            }
        });
    };
    let delete = {
        let noun = noun.to_lowercase();
        move || {
            let (model, noun) = (held.get_value(), noun.clone());
            spawn_local(async move {
                if let Some(key) = delete(&model, dialogs, &noun).await {
                    on_deleted.run(key);
                }
            });
        }
    };
    let keys = move |event: ev::KeyboardEvent| {
        let command = event.ctrl_key() || event.meta_key();
        match event.key().as_str() {
            "Escape" => cancel(),
            "s" | "Enter" if command => save(),
            _ => return,
        }
        event.prevent_default();
    };
    guard_page(model.draft);
    let allowed = model.allowed;
    let editable = Memo::new(move |_| {
        if key.with(Option::is_some) {
            allowed.update
        } else {
            allowed.insert
        }
    });
    let leave = Signal::derive(move || if editable.get() { "Cancel" } else { "Close" }.to_owned());
    view! {
        <form
            class="form"
            data-testid="form"
            novalidate=true
            aria-label=noun
            on:keydown=keys
            on:submit=move |event| {
                event.prevent_default();
                save();
            }
        >
            <div class="form-head">
                <h2>{title}</h2>
                <span class="form-state" aria-live="polite">{move || dirty.get().then_some("Unsaved changes")}</span>
            </div>
            <div class="form-fields">
                {move || notice.get().map(|text| view! { <p class="notice notice-danger form-wide" role="alert" data-testid="form-notice">{text}</p> })}
                {move || {
                    // Another row is another set of inputs, so that nothing of the row before stays in them.
                    key.track();
                    held.with_value(|model| fields::inputs(model))
                }}
            </div>
            <div class="form-actions">
                <Show when=move || editable.get()>
                    <button type="submit" class="button button-primary" data-testid="save" disabled=move || saving.get() || gone.get()>
                        {move || if saving.get() { "Saving…" } else { "Save" }}
                    </button>
                </Show>
                <Button label=leave name="cancel" on_press=cancel />
                <span class="toolbar-gap"></span>
                <Show when=move || allowed.delete && key.with(Option::is_some)>
                    <Button label="Delete" name="delete" kind=ButtonKind::Danger disabled=Signal::derive(move || saving.get() || gone.get()) on_press=delete.clone() />
                </Show>
            </div>
        </form>
    }
    .into_any()
}

async fn delete(model: &FormModel, dialogs: Dialogs, noun: &str) -> Option<RowKey> {
    let key = model.key()?;
    let question = Question {
        title: format!("Delete {noun} {key}?"),
        text: "It is removed for everybody. This cannot be undone.".to_owned(),
        yes: "Delete".to_owned(),
        no: "Keep it".to_owned(),
        danger: true,
    };
    if !dialogs.ask(question).await {
        return None;
    }
    let changes = model
        .draft
        .with_untracked(|draft| draft.as_ref().and_then(Draft::deletion))?;
    model.send(changes).await
}

/// While something is unsaved, the browser asks before the page is left.
fn guard_page(draft: RwSignal<Option<Draft>>) {
    let handle = window_event_listener(ev::beforeunload, move |event: web_sys::BeforeUnloadEvent| {
        if draft.try_with_untracked(|draft| draft.as_ref().is_some_and(Draft::is_dirty)) == Some(true) {
            event.prevent_default();
        }
    });
    on_cleanup(move || handle.remove());
}
