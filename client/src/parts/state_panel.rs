//! What stands where content is missing: still loading, nothing there, or something went wrong.

use leptos::prelude::*;

/// A heading, a sentence and perhaps a way on, in place of content.
#[component]
pub fn StatePanel(
    /// What is the matter, in a few words.
    #[prop(into)]
    title: String,
    /// What it means or what to do.
    #[prop(optional, into)]
    text: String,
    /// Whether something turns while the user waits.
    #[prop(optional)]
    busy: bool,
    /// Name for tests.
    #[prop(optional)]
    name: Option<&'static str>,
    /// Buttons that lead on.
    #[prop(optional)]
    children: Option<Children>,
) -> AnyView {
    view! {
        <div class="state" role="status" data-testid=name>
            {busy.then(|| view! { <span class="spinner" aria-hidden="true"></span> })}
            <p class="state-title">{title}</p>
            {(!text.is_empty()).then(|| view! { <p class="state-text">{text}</p> })}
            {children.map(|children| children())}
        </div>
    }
    .into_any()
}
