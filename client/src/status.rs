//! What the user sees of the connection: a word in the bar, or a page when it is over.

use leptos::{prelude::*, reactive::signal::ArcRwSignal};

use crate::{
    connection::{Ending, LinkState},
    parts::{Button, ButtonKind},
};

/// The state of the connection in a word.
#[component]
pub fn Status(
    /// The state.
    state: ArcRwSignal<LinkState>,
) -> AnyView {
    let name = {
        let state = state.clone();
        move || match state.get() {
            LinkState::Connecting => "connecting",
            LinkState::Live => "live",
            LinkState::Offline => "offline",
            LinkState::Ended => "ended",
        }
    };
    let word = move || match state.get() {
        LinkState::Connecting => "Connecting…",
        LinkState::Live => "Live",
        LinkState::Offline => "Offline",
        LinkState::Ended => "Ended",
    };
    view! {
        <span class="status" role="status" aria-live="polite" data-testid="status" data-state=name>
            <span class="status-dot" aria-hidden="true"></span>
            <span>{word}</span>
        </span>
    }
    .into_any()
}

/// What covers the page when there will be no other session.
#[component]
pub fn EndingPage(
    /// Why.
    ending: Ending,
) -> AnyView {
    let (name, title, text, label) = match ending {
        Ending::Outdated => (
            "outdated",
            "There is a new version",
            "The program on the server was updated. Reload this page to go on with the new version.",
            "Reload",
        ),
        Ending::LoggedOut => ("logged-out", "You are logged out", "Log in again to go on.", "Log in"),
        Ending::Moved => (
            "moved",
            "This session goes on elsewhere",
            "It was opened in another tab or window. Reload this page to have it here again.",
            "Reload",
        ),
    };
    let go = move || {
        let location = window().location();
        // Either fails only where navigation is forbidden, and then there is nothing else to do.
        let _ = if ending == Ending::LoggedOut {
            location.assign("/login")
        } else {
            location.reload()
        };
    };
    view! {
        <div class="blocker blocker-over">
            <div class="card" role="alertdialog" aria-modal="true" aria-labelledby="ending-title" aria-describedby="ending-text" data-testid=name>
                <h1 id="ending-title">{title}</h1>
                <div class="stack">
                    <p id="ending-text">{text}</p>
                    <Button label=label name="reload" kind=ButtonKind::Primary on_press=go />
                </div>
            </div>
        </div>
    }
    .into_any()
}
