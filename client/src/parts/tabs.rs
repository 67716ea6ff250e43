//! A row of tabs, moved through by arrow keys as assistive technology expects.

use leptos::{ev, prelude::*};
use wasm_bindgen::JsCast;

/// One tab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tab {
    /// Names it.
    pub id: String,
    /// What people read.
    pub title: String,
    /// Name for tests.
    pub name: String,
}

/// A row of tabs. The panel of a tab is expected to have the id `panel-<id>`.
#[component]
pub fn Tabs(
    /// What the tabs are about, for screen readers.
    #[prop(into)]
    label: String,
    /// The tabs.
    #[prop(into)]
    tabs: Signal<Vec<Tab>>,
    /// Which one is in front.
    #[prop(into)]
    active: Signal<Option<String>>,
    /// What choosing one does.
    on_choose: Callback<String>,
) -> AnyView {
    let key = move |event: ev::KeyboardEvent| {
        let ids: Vec<String> = tabs.with(|tabs| tabs.iter().map(|tab| tab.id.clone()).collect());
        let here = active
            .with(|active| ids.iter().position(|id| Some(id) == active.as_ref()))
            .unwrap_or(0);
        let last = ids.len().saturating_sub(1);
        let there = match event.key().as_str() {
            "ArrowRight" | "ArrowDown" => {
                if here == last {
                    0
                } else {
                    here + 1
                }
            }
            "ArrowLeft" | "ArrowUp" => {
                if here == 0 {
                    last
                } else {
                    here - 1
                }
            }
            "Home" => 0,
            "End" => last,
            _ => return,
        };
        event.prevent_default();
        if let Some(id) = ids.get(there) {
            on_choose.run(id.clone());
            if let Some(element) = document().get_element_by_id(&format!("tab-{id}")) {
                let element: web_sys::HtmlElement = element.unchecked_into();
                drop(element.focus());
            }
        }
    };
    let row = move |tab: Tab| {
        let (id, mine, chosen) = (tab.id.clone(), tab.id.clone(), tab.id.clone());
        let selected = Memo::new(move |_| active.with(|active| active.as_ref() == Some(&mine)));
        view! {
            <button
                type="button"
                class="tab"
                role="tab"
                id=format!("tab-{id}")
                data-testid=tab.name
                aria-controls=format!("panel-{id}")
                aria-selected=move || selected.get().to_string()
                tabindex=move || if selected.get() { "0" } else { "-1" }
                on:click=move |_| on_choose.run(chosen.clone())
            >
                {tab.title}
            </button>
        }
    };
    view! {
        <div class="tabs" role="tablist" aria-label=label on:keydown=key>
            <For each=move || tabs.get() key=|tab| (tab.id.clone(), tab.title.clone()) children=row />
        </div>
    }
    .into_any()
}
