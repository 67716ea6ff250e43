//! The screen most contexts need: a heading, a grid of rows and a form beside it for the one being edited.

use std::{cell::OnceCell, rc::Rc};

use leptos::{prelude::*, task::spawn_local};
use shared::{
    data::{ChangeSet, Delete, Field, Rights, Row, RowKey, Sorter},
    platform::PlatformRef,
    prelude::{NodeExt, node},
    session_root::SessionStarted,
};

use crate::{
    form::{DataForm, FormModel, may_leave},
    grid::{CursorAt, CursorSource, DataGrid, GridModel, GridSetup, RowSource, grouped},
    parts::{Button, ButtonKind, Dialogs, Question, Toasts},
    view::{Desk, View},
};

/// Where a controller that [`BrowseView`] can work with has its cursor.
const ROWS: &str = "#controller.rows";

/// What a [`BrowseView`] shows.
#[derive(Clone, Copy, Debug)]
pub struct BrowseOptions {
    /// What the rows are, such as "Assessments".
    pub title: &'static str,
    /// What one row is, such as "Assessment".
    pub noun: &'static str,
    /// The fields of the entity, in the order of a row's cells.
    pub fields: &'static [Field],
    /// Whether the user may make, change and delete rows.
    pub editable: bool,
}

/// The view of a controller with a cursor at `rows`: a grid and a form over it.
#[node(new = with)]
pub struct BrowseView {
    options: BrowseOptions,
    allowed: fn(&str) -> Rights,
    model: OnceCell<Rc<BrowseModel>>,
}

impl BrowseView {
    /// A view that is not bound yet, which offers whatever `options` say.
    #[must_use]
    pub fn new(options: BrowseOptions) -> Rc<Self> {
        Self::allowing(options, |_| Rights::ALL)
    }

    /// A view that is not bound yet, which offers what the user's role may do. This is for the eye only: the server
    /// refuses what is not allowed.
    #[must_use]
    pub fn allowing(options: BrowseOptions, allowed: fn(&str) -> Rights) -> Rc<Self> {
        Self::with(options, allowed, OnceCell::new())
    }

    /// Grid and form; none before the first pairing.
    #[must_use]
    pub fn model(&self) -> Option<Rc<BrowseModel>> {
        self.model.get().cloned()
    }

    fn model_at(self: &Rc<Self>) -> Option<Rc<BrowseModel>> {
        let context = self.node_context()?;
        let platform = context.platform();
        let make = || {
            let role = context
                .get::<SessionStarted>()
                .map(|started| started.role.clone())
                .unwrap_or_default();
            let source = CursorSource::new(CursorAt::new(self, ROWS), platform.clone());
            let BrowseOptions {
                title,
                noun,
                fields,
                editable,
            } = self.options;
            let (title, noun, sorters) = (title.to_owned(), noun.to_owned(), Vec::new());
            let allowed = if editable { (self.allowed)(&role) } else { Rights::NONE };
            BrowseModel::new(BrowseSetup {
                title,
                noun,
                fields,
                source,
                platform,
                sorters,
                allowed,
            })
        };
        Some(self.model.get_or_init(make).clone())
    }
}

impl View for BrowseView {
    fn render(self: Rc<Self>, desk: Desk) -> AnyView {
        match self.model_at() {
            Some(model) => view! { <Browse model=model dialogs=desk.dialogs toasts=desk.toasts /> }.into_any(),
            None => ().into_any(),
        }
    }

    fn on_paired(&self) {
        if let Some(model) = self.model.get() {
            model.renew();
        }
    }

    fn on_lost(&self) {
        if let Some(model) = self.model.get() {
            model.grid.unlink();
        }
    }
}

/// What a [`Browse`] screen is made from.
pub struct BrowseSetup {
    /// What the rows are, such as "Assessments".
    pub title: String,
    /// What one row is, such as "Assessment".
    pub noun: String,
    /// The fields of the entity, in the order of a row's cells.
    pub fields: &'static [Field],
    /// Where the rows come from.
    pub source: Rc<dyn RowSource>,
    /// Spawns and waits.
    pub platform: PlatformRef,
    /// The order to begin with.
    pub sorters: Vec<Sorter>,
    /// What the form offers.
    pub allowed: Rights,
}

/// A grid and a form without their elements; kept by the view node, so that hiding a tab loses nothing.
pub struct BrowseModel {
    title: String,
    noun: String,
    /// The grid.
    pub grid: Rc<GridModel>,
    /// The form.
    pub form: Rc<FormModel>,
}

impl BrowseModel {
    /// A screen that has asked for nothing yet.
    #[must_use]
    pub fn new(setup: BrowseSetup) -> Rc<Self> {
        let BrowseSetup {
            title,
            noun,
            fields,
            source,
            platform,
            sorters,
            allowed,
        } = setup;
        let form = FormModel::new(source.clone(), fields, allowed);
        let grid = GridModel::new(GridSetup {
            label: title.clone(),
            fields,
            source,
            platform,
            sorters,
        });
        Rc::new(Self {
            title,
            noun,
            grid,
            form,
        })
    }

    /// The link was lost and is back.
    pub fn renew(&self) {
        self.grid.renew();
    }
}

/// The screen.
#[component]
pub fn Browse(
    /// What it shows.
    model: Rc<BrowseModel>,
    /// Asks the questions.
    dialogs: Dialogs,
    /// Tells the news.
    toasts: Toasts,
) -> AnyView {
    let held = StoredValue::new_local(model.clone());
    let open = move |row: Option<Row>| {
        let model = held.get_value();
        spawn_local(async move {
            if may_leave(&model.form, dialogs).await {
                model.form.open(row.as_ref());
            }
        });
    };
    // What others change in the row that is open reaches the form with the rows of the grid.
    let (summary, changes) = (model.grid.summary, model.grid.changes);
    Effect::new(move |_| {
        changes.track();
        held.with_value(|model| {
            if let Some(row) = model.form.key().and_then(|key| model.grid.row(&key)) {
                model.form.follow(&row);
            }
        });
    });
    let noun = model.noun.clone();
    let on_saved = move |key: RowKey| {
        let (model, noun) = (held.get_value(), noun.clone());
        let new = model.form.key().is_none();
        model.form.close();
        toasts.tell(format!("{noun} {key} saved."));
        if new {
            spawn_local(async move {
                // A new row may be anywhere in the order: show it. If the filter hides it, say so.
                if model.grid.go_to(key).await == Ok(false) {
                    toasts.tell(format!("The new {} does not match the filters.", noun.to_lowercase()));
                }
            });
        }
    };
    let deleted = model.noun.clone();
    let on_deleted = move |key: RowKey| {
        held.with_value(|model| model.form.close());
        toasts.tell(format!("{deleted} {key} deleted."));
    };
    let count = move || summary.with(|summary| summary.total.map(grouped));
    let (draft, allowed, form_noun) = (model.form.draft, model.form.allowed, model.noun.clone());
    let shown = Memo::new(move |_| draft.with(Option::is_some));
    let on_open = Callback::new(move |row: Row| open(Some(row)));
    let on_delete = Callback::new(move |keys: Vec<RowKey>| {
        let model = held.get_value();
        spawn_local(async move {
            if allowed.delete {
                delete(&model, keys, dialogs, toasts).await;
            }
        });
    });
    let (saved, deleted) = (Callback::new(on_saved), Callback::new(on_deleted));
    view! {
        <section class="view" aria-label=model.title.clone()>
            <div class="view-head">
                <h1>{model.title.clone()}</h1>
                <span class="view-count" data-testid="total">{count}</span>
                <span class="toolbar-gap"></span>
                {allowed.insert.then(|| view! {
                    <Button label=format!("New {}", model.noun.to_lowercase()) name="new" kind=ButtonKind::Primary on_press=move || open(None) />
                })}
            </div>
            <div class="view-body">
                <DataGrid model=model.grid.clone() on_open=on_open on_delete=on_delete />
                {move || shown.get().then(|| {
                    let (form, noun) = (held.with_value(|model| model.form.clone()), form_noun.clone());
                    view! {
                        <div class="view-side">
                            <DataForm model=form noun=noun dialogs=dialogs on_saved=saved on_deleted=deleted />
                        </div>
                    }
                })}
            </div>
        </section>
    }
    .into_any()
}

/// Asks, and deletes the rows of those keys that are loaded, all or none.
async fn delete(model: &BrowseModel, keys: Vec<RowKey>, dialogs: Dialogs, toasts: Toasts) {
    let noun = model.noun.to_lowercase();
    let rows = keys.iter().filter_map(|key| model.grid.row(key));
    let deleted: Vec<_> = rows
        .map(|row| Delete {
            key: row.key,
            version: row.version,
        })
        .collect();
    let title = match deleted.as_slice() {
        [] => return,
        [one] => format!("Delete {noun} {}?", one.key),
        several => format!("Delete {} rows?", several.len()),
    };
    let question = Question {
        title,
        text: "This cannot be undone.".to_owned(),
        yes: "Delete".to_owned(),
        no: "Keep".to_owned(),
        danger: true,
    };
    if !dialogs.ask(question).await {
        return;
    }
    let count = deleted.len();
    let saving = model.grid.source().save(ChangeSet {
        deleted,
        ..ChangeSet::default()
    });
    match saving.await {
        Ok(outcome) if outcome.is_saved() => toasts.tell(format!("{count} deleted.")),
        Ok(outcome) => toasts.warn(match outcome.invalid.first() {
            Some(error) => error.message.clone(),
            None => "Nothing was deleted: somebody else changed a row meanwhile.".to_owned(),
        }),
        Err(error) => toasts.warn(error.to_string()),
    }
}
