//! A button with a word on it.

use leptos::prelude::*;

/// How loud a button is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ButtonKind {
    /// One among several.
    #[default]
    Plain,
    /// What most users want next; at most one on a screen.
    Primary,
    /// Destroys something.
    Danger,
    /// Part of a bar or a heading.
    Quiet,
}

impl ButtonKind {
    fn class(self) -> &'static str {
        match self {
            Self::Plain => "button",
            Self::Primary => "button button-primary",
            Self::Danger => "button button-danger",
            Self::Quiet => "button button-quiet",
        }
    }
}

/// A button with a word on it.
#[component]
pub fn Button(
    /// The word.
    #[prop(into)]
    label: Signal<String>,
    /// What pressing it does.
    on_press: impl FnMut() + 'static,
    /// How loud it is.
    #[prop(optional)]
    kind: ButtonKind,
    /// Whether it cannot be pressed now.
    #[prop(optional, into)]
    disabled: Signal<bool>,
    /// Name for tests.
    #[prop(optional)]
    name: Option<&'static str>,
    /// A sentence about it, shown on hover.
    #[prop(optional)]
    title: Option<&'static str>,
) -> AnyView {
    let mut on_press = on_press;
    view! {
        <button type="button" class=kind.class() title=title data-testid=name disabled=move || disabled.get() on:click=move |_| on_press()>
            {move || label.get()}
        </button>
    }
    .into_any()
}
