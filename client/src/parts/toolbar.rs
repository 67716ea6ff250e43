//! A line of controls that belong together.

use leptos::prelude::*;

/// A line of controls that belong together.
#[component]
pub fn Toolbar(
    /// What the controls are about, for screen readers.
    #[prop(into)]
    label: String,
    /// The controls.
    children: Children,
) -> AnyView {
    view! { <div class="toolbar" role="toolbar" aria-label=label>{children()}</div> }.into_any()
}
