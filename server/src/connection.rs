//! One WebSocket: who may open it, and its life between socket and realm.

use axum::{extract::State, http::StatusCode, response::Response};

use crate::http::{App, sentence};

mod sockets;

pub(crate) use sockets::{CloseWhy, Sockets};

/// `GET /ws`
pub(crate) async fn upgrade(State(_app): State<App>) -> Response {
    sentence(StatusCode::NOT_IMPLEMENTED, "Soon.")
}
