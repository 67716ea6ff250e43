//! The page around the views: bar, tabs of open contexts, connection state, and what covers all when it is over.

use std::rc::Rc;

use leptos::{prelude::*, reactive::signal::ArcRwSignal};

use crate::{
    connection::LinkState,
    parts::{Button, DialogHost, StatePanel, Tab, Tabs, ToastHost},
    session::{OpenContext, Session},
    status::{EndingPage, Status},
    view::Desk,
};

/// Everything on the page.
#[component]
pub fn Desktop(
    /// Name of the application.
    #[prop(into)]
    title: String,
    /// Whose contexts are shown.
    session: Rc<Session>,
    /// State of the connection.
    link: ArcRwSignal<LinkState>,
) -> AnyView {
    let desk = Desk::default();
    let (contexts, started, ending, trouble) = (
        session.contexts.clone(),
        session.started.clone(),
        session.ending.clone(),
        session.trouble.clone(),
    );
    let chosen = RwSignal::new(None::<String>);
    let held = StoredValue::new_local(session);
    let ordered = Memo::new(move |_| {
        let mut all = contexts.get();
        held.with_value(|session| all.sort_by_key(|open| session.place(&open.name)));
        all
    });
    let active = Memo::new(move |_| {
        ordered.with(|all| {
            let chosen = chosen.get().filter(|name| all.iter().any(|open| open.name == *name));
            chosen.or_else(|| all.first().map(|open| open.name.clone()))
        })
    });
    let tabs = {
        let tab = |open: &OpenContext| Tab {
            id: open.name.clone(),
            title: open.title.clone(),
            name: format!("tab-{}", open.view),
        };
        Signal::derive(move || ordered.with(|all| all.iter().map(tab).collect::<Vec<_>>()))
    };
    let base = {
        let started = started.clone();
        move || started.with(|started| started.as_ref().map(|started| started.base.clone()))
    };
    let who = {
        let started = started.clone();
        move || started.with(|started| started.as_ref().map(|started| started.login.clone()))
    };
    {
        let trouble = trouble.clone();
        Effect::new(move |_| {
            // Without any page the trouble stands in its place.
            if let Some(error) = trouble.get().filter(|_| ordered.with_untracked(|all| !all.is_empty())) {
                desk.toasts.warn(format!("A page could not be opened: {error}"));
            }
        });
    }
    let known = Memo::new(move |_| started.with(Option::is_some));
    let panel = move || match active.get() {
        Some(name) => {
            let view = held.with_value(|session| session.view(&name));
            let content = view.map(|view| view.render(desk));
            view! { <div class="panel" role="tabpanel" id=format!("panel-{name}") aria-labelledby=format!("tab-{name}")>{content}</div> }.into_any()
        }
        None => match trouble.get() {
            Some(error) => view! {
                <div class="blocker">
                    <StatePanel title="This page could not be opened" text=error.to_string() name="trouble">
                        <Button label="Try again" on_press=move || held.with_value(|session| session.retry()) />
                    </StatePanel>
                </div>
            }
            .into_any(),
            None => view! { <div class="blocker"><StatePanel title="Connecting" busy=true name="starting" /></div> }
                .into_any(),
        },
    };
    view! {
        <div class="app" data-base=base>
            <header class="app-bar">
                <span class="brand">{title}</span>
                <Tabs label="Open pages" tabs=tabs active=active on_choose=Callback::new(move |name| chosen.set(Some(name))) />
                <Status state=link />
                <span class="app-user wide-only" data-testid="user">{who}</span>
                <Show when=move || known.get()>
                    <form class="app-logout" method="post" action="/logout">
                        <button type="submit" class="button button-quiet button-small" data-testid="logout">"Log out"</button>
                    </form>
                </Show>
            </header>
            <main class="app-main">{panel}</main>
            <DialogHost dialogs=desk.dialogs />
            <ToastHost toasts=desk.toasts />
            {move || ending.get().map(|ending| view! { <EndingPage ending=ending /> })}
        </div>
    }
    .into_any()
}
