//! Questions that need an answer before anything else happens, on the browser's own modal dialog.

use futures::channel::oneshot;
use leptos::{html, prelude::*};

/// A question with two answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The question.
    pub title: String,
    /// What follows from each answer.
    pub text: String,
    /// The word for yes: a verb.
    pub yes: String,
    /// The word for no.
    pub no: String,
    /// Whether yes destroys something.
    pub danger: bool,
}

struct Open {
    question: Question,
    answer: Option<oneshot::Sender<bool>>,
}

/// Asks questions; a cheap copy of it can be kept anywhere below the host.
#[derive(Clone, Copy, Debug)]
pub struct Dialogs {
    open: RwSignal<Option<Open>, LocalStorage>,
}

impl Default for Dialogs {
    fn default() -> Self {
        Self {
            open: RwSignal::new_local(None),
        }
    }
}

impl Dialogs {
    /// Asks, and completes with the answer. Escape, or a newer question, is a no.
    pub async fn ask(&self, question: Question) -> bool {
        let (answer, answered) = oneshot::channel();
        self.open.set(Some(Open {
            question,
            answer: Some(answer),
        }));
        answered.await.unwrap_or(false)
    }

    fn answer(&self, yes: bool) {
        let sender = self
            .open
            .try_update(|open| open.take().and_then(|open| open.answer))
            .flatten();
        if let Some(sender) = sender {
            // Whoever asked may be gone; then nobody minds.
            let _ = sender.send(yes);
        }
    }
}

/// Where the questions of [`Dialogs`] appear.
#[component]
pub fn DialogHost(
    /// What to show.
    dialogs: Dialogs,
) -> AnyView {
    let element = NodeRef::<html::Dialog>::new();
    let question = Memo::new(move |_| {
        dialogs
            .open
            .with(|open| open.as_ref().map(|open| open.question.clone()))
    });
    Effect::new(move |_| {
        let (Some(element), open) = (element.get(), question.with(Option::is_some)) else {
            return;
        };
        if open && !element.open() {
            // Fails only for an element outside the document, which cannot be asked in.
            drop(element.show_modal());
        } else if !open && element.open() {
            element.close();
        }
    });
    let part =
        move |get: fn(&Question) -> String| question.with(|question| question.as_ref().map(get).unwrap_or_default());
    let danger = move || question.with(|question| question.as_ref().is_some_and(|question| question.danger));
    view! {
        <dialog
            class="dialog"
            node_ref=element
            aria-labelledby="dialog-title"
            aria-describedby="dialog-text"
            data-testid="dialog"
            on:cancel=move |event: web_sys::Event| {
                event.prevent_default();
                dialogs.answer(false);
            }
        >
            <h2 class="dialog-title" id="dialog-title">{move || part(|question| question.title.clone())}</h2>
            <p class="dialog-body" id="dialog-text">{move || part(|question| question.text.clone())}</p>
            <div class="dialog-actions">
                <button type="button" class="button" data-testid="dialog-no" on:click=move |_| dialogs.answer(false)>
                    {move || part(|question| question.no.clone())}
                </button>
                <button
                    type="button"
                    class=move || if danger() { "button button-danger" } else { "button button-primary" }
                    data-testid="dialog-yes"
                    on:click=move |_| dialogs.answer(true)
                >
                    {move || part(|question| question.yes.clone())}
                </button>
            </div>
        </dialog>
    }
    .into_any()
}
