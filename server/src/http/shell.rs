//! The shell page: plain HTML that works before any WASM has arrived.

use axum::http::StatusCode;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Redirect, Response},
};

use super::{
    App,
    assets::Client,
    html::{escape, page as html_page},
    login::login_path,
    sentence,
};

/// `GET /`
pub(super) async fn page(State(app): State<App>, request: Request) -> Response {
    let mut user = None;
    if app.authenticator.is_some() {
        user = app.identity(request.headers()).await;
        if user.is_none() {
            let wanted = request.uri().path_and_query().map_or("/", |path| path.as_str());
            return Redirect::to(&login_path(wanted)).into_response();
        }
    }
    if matches!(app.client, Client::None) {
        return sentence(
            StatusCode::OK,
            "This is a WAMP router without pages; its socket is at /ws.",
        );
    }
    let Some(start) = app.client.start() else {
        let body = "<body class=\"plain\"><main class=\"card\"><h1>No client</h1>\
             <p class=\"notice notice-danger\" role=\"alert\">No client was found: this server was built without one. \
             Run <code>make run</code>.</p></main></body>";
        return html_page(&app, StatusCode::SERVICE_UNAVAILABLE, "", body);
    };
    let meta = |name: &str, content: &str| format!("<meta name=\"{name}\" content=\"{}\">\n", escape(content));
    let mut head = meta("coati-realm", app.realm.name().as_str()) + &meta("coati-build", app.client.build());
    if let Some(user) = &user {
        head += &meta("coati-user", &user.authid);
        head += &meta("coati-role", &user.role);
    }
    // The browser fetches script and WASM side by side instead of one after the other.
    head += &format!("<link rel=\"modulepreload\" href=\"{}\">\n", escape(&start.script));
    head += &format!(
        "<link rel=\"preload\" as=\"fetch\" type=\"application/wasm\" crossorigin href=\"{}\">\n",
        escape(&start.wasm)
    );
    head += &format!("<script type=\"module\" src=\"{}\"></script>\n", escape(&start.module));
    let body = "<body><div id=\"app\"><noscript><p class=\"notice notice-danger\" role=\"alert\">This program needs \
         JavaScript and WebAssembly.</p></noscript><p class=\"boot\" role=\"status\">Loading…</p></div></body>";
    html_page(&app, StatusCode::OK, &head, body)
}
