//! Inputs with their label, hint and error sentence, joined for screen readers.

use leptos::prelude::*;

/// The ids that join an input to its label, hint and error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldIds {
    /// Id of the input.
    pub input: String,
    /// Id of the hint.
    pub hint: String,
    /// Id of the error.
    pub error: String,
}

impl FieldIds {
    /// Ids for the field `name` of the form `form`.
    #[must_use]
    pub fn new(form: &str, name: &str) -> Self {
        Self {
            input: format!("{form}-{name}"),
            hint: format!("{form}-{name}-hint"),
            error: format!("{form}-{name}-error"),
        }
    }
}

/// Label, hint and error sentence around an input.
#[component]
pub fn FieldFrame(
    /// Joins the texts to the input.
    ids: FieldIds,
    /// The field's name, for tests.
    name: &'static str,
    /// What people call it.
    #[prop(into)]
    label: String,
    /// A sentence that explains it.
    #[prop(optional, into)]
    hint: String,
    /// Whether it must have a value.
    #[prop(optional)]
    needed: bool,
    /// Whether it takes the whole line.
    #[prop(optional)]
    wide: bool,
    /// What is wrong with its value.
    #[prop(into)]
    error: Signal<Option<String>>,
    /// The input.
    children: Children,
) -> AnyView {
    let has_hint = !hint.is_empty();
    view! {
        <div class=if wide { "field form-wide" } else { "field" }>
            <label class="field-label" for=ids.input>
                {label}
                {needed.then(|| view! { <span class="field-needed" aria-hidden="true">" *"</span> })}
            </label>
            {children()}
            {has_hint.then(|| view! { <span class="field-hint" id=ids.hint>{hint}</span> })}
            <span class="field-error" id=ids.error data-testid=format!("error-{name}") aria-live="polite" hidden=move || error.with(Option::is_none)>
                {move || error.get().unwrap_or_default()}
            </span>
        </div>
    }
    .into_any()
}

/// What all inputs have in common.
#[derive(Clone, Debug)]
pub struct InputSetup {
    /// Joins the input to its texts.
    pub ids: FieldIds,
    /// The field's name.
    pub name: &'static str,
    /// Whether there is a hint.
    pub hinted: bool,
    /// Whether it must have a value.
    pub needed: bool,
    /// Whether it can be changed.
    pub read_only: bool,
    /// What it holds.
    pub value: Signal<String>,
    /// What changing it does.
    pub on_input: Callback<String>,
    /// What is wrong with its value.
    pub error: Signal<Option<String>>,
}

impl InputSetup {
    fn described_by(&self) -> String {
        let FieldIds { hint, error, .. } = &self.ids;
        if self.hinted {
            format!("{hint} {error}")
        } else {
            error.clone()
        }
    }

    fn invalid(&self) -> impl Fn() -> &'static str + Copy + Send + 'static {
        let error = self.error;
        move || if error.with(Option::is_some) { "true" } else { "false" }
    }
}

/// One line of text, a number or a day.
#[component]
pub fn TextInput(
    /// What it holds and what it does.
    setup: InputSetup,
    /// The kind of input: `text`, `date`.
    #[prop(default = "text")]
    kind: &'static str,
    /// Which keys a touch screen offers.
    #[prop(optional)]
    keys: Option<&'static str>,
) -> AnyView {
    let (described, invalid) = (setup.described_by(), setup.invalid());
    let InputSetup {
        ids,
        name,
        needed,
        read_only,
        value,
        on_input,
        ..
    } = setup;
    view! {
        <input
            class="input"
            type=kind
            inputmode=keys
            id=ids.input
            autocomplete="off"
            data-testid=format!("field-{name}")
            aria-required=needed.then_some("true")
            aria-describedby=described
            aria-invalid=invalid
            readonly=read_only
            prop:value=move || value.get()
            on:input=move |event| on_input.run(event_target_value(&event))
        />
    }
    .into_any()
}

/// Several lines of text.
#[component]
pub fn TextArea(
    /// What it holds and what it does.
    setup: InputSetup,
) -> AnyView {
    let (described, invalid) = (setup.described_by(), setup.invalid());
    let InputSetup {
        ids,
        name,
        needed,
        read_only,
        value,
        on_input,
        ..
    } = setup;
    view! {
        <textarea
            class="input"
            rows="4"
            id=ids.input
            data-testid=format!("field-{name}")
            aria-required=needed.then_some("true")
            aria-describedby=described
            aria-invalid=invalid
            readonly=read_only
            prop:value=move || value.get()
            on:input=move |event| on_input.run(event_target_value(&event))
        ></textarea>
    }
    .into_any()
}

/// Values and labels of a [`Select`].
pub type Choices = Vec<(String, String)>;

/// One of several values.
#[component]
pub fn Select(
    /// What it holds and what it does.
    setup: InputSetup,
    /// The values it offers, each with its label.
    #[prop(into)]
    choices: Signal<Choices>,
) -> AnyView {
    let (described, invalid) = (setup.described_by(), setup.invalid());
    let InputSetup {
        ids,
        name,
        needed,
        read_only,
        value,
        on_input,
        ..
    } = setup;
    view! {
        <select
            class="input"
            id=ids.input
            data-testid=format!("field-{name}")
            aria-required=needed.then_some("true")
            aria-describedby=described
            aria-invalid=invalid
            disabled=read_only
            on:change=move |event| on_input.run(event_target_value(&event))
        >
            {move || {
                // Options and the choice among them change together: a select forgets a value that it does not offer.
                let chosen = value.get();
                let option = |(value, label): (String, String)| {
                    let selected = value == chosen;
                    view! { <option value=value selected=selected>{label}</option> }
                };
                choices.get().into_iter().map(option).collect_view()
            }}
        </select>
    }
    .into_any()
}
