//! Runs Coati nodes in a browser: connection, session, views, data grid and forms.

use std::rc::Rc;

use leptos::prelude::*;
use shared::{
    intent::Intent,
    platform::default_platform,
    wamp::{message::Coati, peer::Join, uri::Uri},
};
use wasm_bindgen::JsCast;

pub mod browse;
mod claim;
pub mod connection;
pub mod desktop;
pub mod form;
pub mod grid;
pub mod parts;
pub mod session;
pub mod status;
pub mod stopped;
pub mod view;

pub use browse::BrowseView;
pub use connection::{Ending, LinkState, Timing};
pub use session::Session;
pub use view::{Desk, View, Views};

use connection::Connector;
use desktop::{Desktop, DesktopProps};

/// Version of the conventions on top of WAMP that this client follows.
const PROTOCOL: u32 = 1;

/// What an application starts with.
pub struct StartOptions {
    /// Name of the application, for the bar.
    pub title: &'static str,
    /// Fingerprint of all contracts; a server with another one is answered by an offer to reload.
    pub contracts: String,
    /// The views that controllers may ask for.
    pub views: Views,
    /// The contexts to open first.
    pub home: Vec<Intent>,
    /// The figures of reconnecting.
    pub timing: Timing,
}

/// Takes over the page: connects to the server that it came from and shows the application.
///
/// To be called once, from the application's `#[wasm_bindgen(start)]`. The page says the realm and the build in its
/// `meta` elements `coati-realm` and `coati-build`.
pub fn start(options: StartOptions) {
    stopped::watch();
    let platform = default_platform();
    let session = Session::new(platform.clone(), options.views, options.home);
    let coati = Coati {
        protocol: PROTOCOL,
        build: meta("coati-build").unwrap_or_default(),
        contracts: options.contracts,
    };
    let realm = Uri::unchecked(meta("coati-realm").unwrap_or_default());
    let join = Join {
        agent: Some(format!("coati-client/{}", env!("CARGO_PKG_VERSION"))),
        coati: Some(coati),
        ..Join::new(realm)
    };
    let connector = Connector::start(platform, address(), join, options.timing, session.clone());
    let (title, link) = (options.title, connector.state.clone());
    let place = document()
        .get_element_by_id("app")
        .and_then(|place| place.dyn_into::<web_sys::HtmlElement>().ok());
    let place = place.or_else(|| document().body());
    if let Some(place) = place {
        place.set_text_content(None);
        let page = move || {
            Desktop(DesktopProps {
                title: title.to_owned(),
                session,
                link,
            })
        };
        leptos::mount::mount_to(place, page).forget();
    }
    keep(connector);
}

thread_local! {
    static RUNNING: std::cell::RefCell<Option<Rc<Connector>>> = const { std::cell::RefCell::new(None) };
}

/// Keeps the connection for as long as the page is there.
fn keep(connector: Rc<Connector>) {
    RUNNING.with(|running| *running.borrow_mut() = Some(connector));
}

fn meta(name: &str) -> Option<String> {
    document()
        .query_selector(&format!("meta[name={name}]"))
        .ok()??
        .get_attribute("content")
}

/// Where the server that this page came from takes WebSockets.
fn address() -> String {
    let location = window().location();
    let secure = location.protocol().is_ok_and(|protocol| protocol == "https:");
    let scheme = if secure { "wss" } else { "ws" };
    format!("{scheme}://{}/ws", location.host().unwrap_or_default())
}
