//! Finds out why a WebSocket cannot be opened, which browsers do not tell.

use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RequestInit, RequestRedirect, Response, ResponseType};

/// Whether the server sends this browser away from the application's page: to log in.
///
/// False when the server does not answer at all.
pub(super) async fn is_logged_out() -> bool {
    let request = RequestInit::new();
    request.set_method("HEAD");
    // A redirect is an answer here, not something to follow.
    request.set_redirect(RequestRedirect::Manual);
    let fetching = leptos::prelude::window().fetch_with_str_and_init("/", &request);
    let answer = JsFuture::from(fetching)
        .await
        .ok()
        .and_then(|answer| answer.dyn_into::<Response>().ok());
    answer.is_some_and(|answer| answer.type_() == ResponseType::Opaqueredirect || answer.status() == 401)
}
