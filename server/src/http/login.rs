//! Login and logout: a plain form, no script.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::{
    Form,
    extract::{Extension, FromRequest, Query, Request, State},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{
    App, AppState, ClientAddress, guard,
    html::{escape, page},
    sentence,
};
use crate::{auth::Refusal, connection::CloseWhy, telemetry};

#[derive(Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// Where to go after the login.
    next: Option<String>,
}

#[derive(Deserialize)]
struct Credentials {
    login: String,
    password: String,
    next: Option<String>,
}

/// `GET /login`
pub(super) async fn form(State(app): State<App>, Query(wanted): Query<Wanted>, headers: HeaderMap) -> Response {
    let next = own_path(wanted.next.as_deref());
    match app.identity(&headers).await {
        Some(_) => Redirect::to(next).into_response(),
        None => form_page(&app, StatusCode::OK, "", next, None),
    }
}

/// `POST /login`
pub(super) async fn log_in(
    State(app): State<App>,
    Extension(address): Extension<ClientAddress>,
    request: Request,
) -> Response {
    if !app.policy.is_own_form(request.headers()) {
        return guard::refuse("form", "This form was not sent from a page of this server.");
    }
    let Some(authenticator) = app.authenticator.clone() else {
        return sentence(StatusCode::NOT_FOUND, "There is no login here.");
    };
    let old = app.token(request.headers());
    let read = tokio::time::timeout(
        app.config.connections.handshake,
        Form::<Credentials>::from_request(request, &()),
    );
    let credentials = match read.await {
        Ok(Ok(Form(credentials))) => credentials,
        Ok(Err(refused)) => return refused.into_response(),
        Err(_) => return sentence(StatusCode::REQUEST_TIMEOUT, "The form took too long to arrive."),
    };
    let next = own_path(credentials.next.as_deref());
    let name = credentials.login.trim();
    match authenticator.log_in(name, &credentials.password, address.0).await {
        Ok((token, identity)) => {
            outcome("ok");
            tracing::info!(user = ?identity.authid, role = ?identity.role, address = %address.0, "logged in");
            // A fresh token each time, and the one the browser came with ends: nobody can plant a login beforehand.
            if let Some(old) = old {
                end_login(&app, old).await;
            }
            with_cookie(Redirect::to(next).into_response(), app.cookie.set(&token))
        }
        Err(refusal) => {
            let (status, text) = explain(&refusal);
            tracing::info!(user = ?name, address = %address.0, status = status.as_u16(), "login refused");
            let mut answer = form_page(&app, status, name, next, Some(&text));
            if let Refusal::TooManyTries(wait) = refusal
                && let Ok(seconds) = HeaderValue::from_str(&wait.as_secs().saturating_add(1).to_string())
            {
                answer.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            answer
        }
    }
}

fn explain(refusal: &Refusal) -> (StatusCode, String) {
    match refusal {
        Refusal::WrongCredentials => {
            outcome("wrong");
            (StatusCode::UNAUTHORIZED, "Login name or password is wrong.".into())
        }
        Refusal::TooManyTries(wait) => {
            outcome("throttled");
            let text = format!(
                "Too many tries. Please wait {} seconds.",
                wait.as_secs().saturating_add(1)
            );
            (StatusCode::TOO_MANY_REQUESTS, text)
        }
        Refusal::Busy => {
            outcome("busy");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "Many people log in just now. Please try again in a moment.".into(),
            )
        }
        Refusal::Failed(error) => {
            outcome("failed");
            tracing::error!(%error, "a login could not be checked");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "Logins cannot be checked at the moment. Please try again.".into(),
            )
        }
    }
}

fn outcome(name: &'static str) {
    metrics::counter!(telemetry::LOGINS, "outcome" => name).increment(1);
}

/// `POST /logout`
pub(super) async fn log_out(State(app): State<App>, headers: HeaderMap) -> Response {
    if !app.policy.is_own_form(&headers) {
        return guard::refuse("form", "This form was not sent from a page of this server.");
    }
    if let Some(token) = app.token(&headers)
        && !end_login(&app, token).await
    {
        return sentence(
            StatusCode::SERVICE_UNAVAILABLE,
            "You could not be logged out just now. Please try again.",
        );
    }
    with_cookie(Redirect::to("/login").into_response(), app.cookie.clear())
}

/// Ends a login together with its open sockets.
async fn end_login(app: &AppState, token: crate::auth::TokenHash) -> bool {
    let Some(authenticator) = &app.authenticator else {
        return true;
    };
    let ended = authenticator.log_out(token).await;
    if let Err(error) = &ended {
        tracing::error!(%error, "a login could not be ended");
    }
    app.sockets.close_login(token, CloseWhy::LoggedOut);
    ended.is_ok()
}

fn with_cookie(mut answer: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

/// The address of the login page that leads on to `wanted`.
pub(super) fn login_path(wanted: &str) -> String {
    match own_path(Some(wanted)) {
        "/" => "/login".to_owned(),
        path => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            format!("/login?{}", query.append_pair("next", path).finish())
        }
    }
}

/// A path on this server, whatever was asked for: no other host, no other scheme.
fn own_path(wanted: Option<&str>) -> &str {
    let wanted = wanted.unwrap_or("/");
    let local = wanted.starts_with('/') && !wanted.starts_with("//") && wanted.len() <= 2048;
    let plain = wanted.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if local && plain { wanted } else { "/" }
}

fn form_page(app: &AppState, status: StatusCode, name: &str, next: &str, problem: Option<&str>) -> Response {
    let notice = match problem {
        Some(text) => format!(
            "<p class=\"notice notice-danger\" role=\"alert\">{}</p>\n",
            escape(text)
        ),
        None => String::new(),
    };
    let (name_focus, password_focus) = if name.is_empty() {
        (" autofocus", "")
    } else {
        ("", " autofocus")
    };
    let body = format!(
        "<body class=\"plain\">\n<main class=\"card\">\n<h1>{title}</h1>\n{notice}\
         <form class=\"stack\" method=\"post\" action=\"/login\">\n\
         <input type=\"hidden\" name=\"next\" value=\"{next}\">\n\
         <label class=\"field\"><span class=\"field-label\">Login name</span>\
         <input class=\"input\" name=\"login\" value=\"{name}\" autocomplete=\"username\" autocapitalize=\"none\" \
         spellcheck=\"false\" maxlength=\"200\" required{name_focus}></label>\n\
         <label class=\"field\"><span class=\"field-label\">Password</span>\
         <input class=\"input\" name=\"password\" type=\"password\" autocomplete=\"current-password\" maxlength=\"1024\" \
         required{password_focus}></label>\n\
         <button class=\"button button-primary\" type=\"submit\">Log in</button>\n</form>\n</main>\n</body>",
        title = escape(&app.title),
        next = escape(next),
        name = escape(name),
    );
    page(app, status, "", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_never_leads_to_another_server() {
        for wanted in [
            "//evil.test/",
            "https://evil.test",
            "/\\evil.test",
            "javascript:alert(1)",
            "",
            "/a\nb",
            "/ä",
        ] {
            assert_eq!(own_path(Some(wanted)), "/", "{wanted:?}");
        }
        assert_eq!(own_path(Some("/?open=assessments&key=7")), "/?open=assessments&key=7");
        assert_eq!(login_path("/?a=b c"), "/login");
        assert_eq!(login_path("/?a=b&c"), "/login?next=%2F%3Fa%3Db%26c");
    }
}
