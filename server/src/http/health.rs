//! What an operator's tools ask: alive, ready, numbers.

use axum::http::{StatusCode, header};
use axum::{
    Json,
    extract::{Extension, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

use super::{App, ClientAddress, guard};
use crate::telemetry;

/// A check that has not answered by then counts as failed.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Alive {
    status: &'static str,
    version: &'static str,
    build: String,
    uptime_seconds: u64,
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    checks: BTreeMap<String, String>,
}

/// `GET /healthz`: the process runs.
pub(super) async fn alive(State(app): State<App>) -> Response {
    let answer = Alive {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        build: app.client.build().to_owned(),
        uptime_seconds: app.started.elapsed().as_secs(),
    };
    Json(answer).into_response()
}

/// `GET /readyz`: the process can do its work now; 503 while it starts, ends or misses something.
pub(super) async fn ready(State(app): State<App>) -> Response {
    let mut checks = BTreeMap::new();
    let serving = if app.is_serving() {
        Ok(())
    } else {
        Err("not serving".to_owned())
    };
    let mut all_well = serving.is_ok();
    checks.insert("server".to_owned(), serving);
    for (name, check) in &app.ready_checks {
        let answer = tokio::time::timeout(PATIENCE, check())
            .await
            .unwrap_or_else(|_| Err("no answer".to_owned()));
        all_well &= answer.is_ok();
        checks.insert(name.clone(), answer);
    }
    let checks = checks
        .into_iter()
        .map(|(name, answer)| (name, answer.err().unwrap_or_else(|| "ok".to_owned())));
    let (code, status) = if all_well {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "unavailable")
    };
    (
        code,
        Json(Ready {
            status,
            checks: checks.collect(),
        }),
    )
        .into_response()
}

/// `GET /metrics`: Prometheus text, for loopback unless the configuration opens it.
pub(super) async fn metrics(State(app): State<App>, Extension(address): Extension<ClientAddress>) -> Response {
    if !app.config.public_metrics && !address.0.is_loopback() {
        return guard::refuse("metrics", "The numbers of this server are not public.");
    }
    // Sums that would cost each message something are made when somebody asks.
    telemetry::set_queue_bytes(app.realm.stats().queue_bytes);
    let text = telemetry::metrics().render();
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
