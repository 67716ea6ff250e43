//! A short word on a coloured ground, for a state at a glance. The word carries the meaning, the colour only helps.

use leptos::prelude::*;

/// What the colour says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Neutral,
    /// Active, or chosen.
    Accent,
    /// Done, or safe.
    Success,
    /// Needs attention.
    Warning,
    /// Failed, or dangerous.
    Danger,
}

impl Tone {
    /// The end of the class names of parts that come in tones.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Accent => "accent",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Danger => "danger",
        }
    }
}

/// A short word on a coloured ground.
#[component]
pub fn Badge(
    /// The word.
    #[prop(into)]
    text: String,
    /// Its colour.
    #[prop(optional)]
    tone: Tone,
) -> AnyView {
    view! { <span class=format!("badge badge-{}", tone.name())>{text}</span> }.into_any()
}
