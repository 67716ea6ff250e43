//! Short messages at the edge of the screen that go away by themselves, except bad news.

use std::time::Duration;

use leptos::prelude::*;

use super::badge::Tone;

/// How long good news stays.
const STAY: Duration = Duration::from_secs(5);
/// The most messages at a time; older ones make room.
const MOST: usize = 4;

#[derive(Clone, Debug, PartialEq)]
struct Toast {
    number: u64,
    text: String,
    tone: Tone,
}

/// Shows messages; a cheap copy of it can be kept anywhere below the host.
#[derive(Clone, Copy, Debug)]
pub struct Toasts {
    list: RwSignal<Vec<Toast>>,
    count: StoredValue<u64>,
}

impl Default for Toasts {
    fn default() -> Self {
        Self {
            list: RwSignal::new(Vec::new()),
            count: StoredValue::new(0),
        }
    }
}

impl Toasts {
    /// Shows good or neutral news for a few seconds.
    pub fn tell(&self, text: impl Into<String>) {
        let number = self.add(text.into(), Tone::Accent);
        let this = *self;
        set_timeout(move || this.remove(number), STAY);
    }

    /// Shows bad news until the user puts it away.
    pub fn warn(&self, text: impl Into<String>) {
        self.add(text.into(), Tone::Danger);
    }

    fn add(&self, text: String, tone: Tone) -> u64 {
        let number = self.count.try_get_value().unwrap_or_default() + 1;
        self.count.set_value(number);
        self.list.update(|list| {
            // Good news is about the last thing done; bad news stays until it is read.
            list.retain(|toast| toast.text != text && (tone == Tone::Danger || toast.tone == Tone::Danger));
            if list.len() >= MOST {
                list.remove(0);
            }
            list.push(Toast { number, text, tone });
        });
        number
    }

    fn remove(&self, number: u64) {
        self.list.try_update(|list| list.retain(|toast| toast.number != number));
    }
}

/// Where the messages of [`Toasts`] appear.
#[component]
pub fn ToastHost(
    /// What to show.
    toasts: Toasts,
) -> AnyView {
    let row = move |toast: Toast| {
        view! {
            <div class=format!("toast toast-{}", toast.tone.name()) data-testid="toast">
                <span class="toast-text">{toast.text}</span>
                <button type="button" class="button button-quiet button-small" on:click=move |_| toasts.remove(toast.number)>
                    "Dismiss"
                </button>
            </div>
        }
    };
    view! {
        <div class="toasts" role="log" aria-live="polite">
            <For each=move || toasts.list.get() key=|toast| toast.number children=row />
        </div>
    }
    .into_any()
}
