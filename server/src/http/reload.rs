//! Live reload while developing: the script that listens to cargo-leptos. A release has neither route nor script.

use axum::http::header;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};

use super::App;

/// The port to announce to pages: only under `cargo leptos watch`, which sets these variables.
pub(crate) fn port_of_watcher() -> Option<u16> {
    std::env::var_os("LEPTOS_WATCH")?;
    let port = std::env::var("LEPTOS_RELOAD_EXTERNAL_PORT").or_else(|_| std::env::var("LEPTOS_RELOAD_PORT"));
    Some(port.ok().and_then(|port| port.parse().ok()).unwrap_or(3001))
}

/// `GET /dev/reload.js`
pub(super) async fn script(State(app): State<App>) -> Response {
    let port = app.reload_port.unwrap_or_default();
    let text = format!("const port = {port};\n{}", include_str!("reload.js"));
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], text).into_response()
}
