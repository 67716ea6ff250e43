//! Logs, one line per event, and the numbers behind `/metrics`.

use std::{io::IsTerminal, sync::OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

/// Open WAMP sessions, by realm.
pub const SESSIONS: &str = "coati_sessions";
/// Open WebSocket connections.
pub const CONNECTIONS: &str = "coati_connections";
/// Bytes in the queues from the router to its peers.
pub const QUEUE_BYTES: &str = "coati_queue_bytes";
/// Peers closed because they read too slowly, by [`PeerKind`].
pub const SLOW_PEERS: &str = "coati_slow_peers_closed_total";
/// Events of resumable subscriptions dropped because their reader was too slow.
pub const EVENTS_DROPPED: &str = "coati_events_dropped_total";
/// Times that a resumable subscription fell behind: one event said so instead of those dropped.
pub const BEHIND: &str = "coati_subscriptions_behind_total";
/// Calls refused because a session made too many.
pub const CALLS_REFUSED: &str = "coati_calls_refused_total";
/// Sessions ended because the peer broke the protocol.
pub const VIOLATIONS: &str = "coati_protocol_violations_total";
/// Requests and sockets refused, by reason.
pub const REFUSED: &str = "coati_http_refused_total";
/// Logins tried, by outcome; those of accounts and those of the router.
pub const LOGINS: &str = "coati_logins_total";
/// Seconds that the last step of the feed took, from noticing a change to having handed out all frames.
pub const FEED_LAG: &str = "coati_feed_lag_seconds";
/// Times that a tree thread was late by more than [`crate::tree_host::STALL`].
pub const TREE_STALLS: &str = "coati_tree_stalls_total";
/// The longest that a tree thread was late, in seconds, since the last reading.
pub const TREE_LATENESS: &str = "coati_tree_lateness_seconds";
/// Times that a component was started again, by component.
pub const COMPONENT_RESTARTS: &str = "coati_component_restarts_total";
/// Events of a durable history that could not be stored.
pub const EVENTS_NOT_STORED: &str = "coati_events_not_stored_total";
/// Running session trees.
pub const TREES: &str = "coati_trees";

/// The target of log lines that say who did what by a token.
pub const AUDIT: &str = "audit";

/// What a peer is: the label `peer` of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    /// A page or somebody who has not joined: whose role has no limits of its own.
    Browser,
    /// A program: its role has limits of its own.
    Component,
    /// A tree of nodes in this process.
    Tree,
}

impl PeerKind {
    const ALL: [Self; 3] = [Self::Browser, Self::Component, Self::Tree];

    /// The value of the label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Component => "component",
            Self::Tree => "tree",
        }
    }
}

/// Sends log lines to standard error, level by `RUST_LOG` (default `info`); those of [`AUDIT`] in any case. A second call
/// does nothing.
pub fn start_logging() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Nobody who looks for something else in the log turns the audit off by that.
    let filter = match format!("{AUDIT}=info").parse() {
        Ok(audit) => filter.add_directive(audit),
        Err(_) => filter,
    };
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    if lines.is_err() {
        tracing::debug!("the program has its own logging");
    }
}

/// The text of `/metrics`. The recorder is the process's, whatever the number of servers in it.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed; /metrics stays empty");
        }
        describe();
        handle
    })
}

/// Bytes in the queues to all peers now.
#[expect(clippy::cast_precision_loss, reason = "sizes of queues are far below 2^52")]
pub(crate) fn set_queue_bytes(bytes: usize) {
    metrics::gauge!(QUEUE_BYTES).set(bytes as f64);
}

fn describe() {
    metrics::describe_gauge!(SESSIONS, "open WAMP sessions, by realm");
    metrics::describe_gauge!(CONNECTIONS, "open WebSocket connections");
    metrics::describe_gauge!(QUEUE_BYTES, "bytes in the queues from the router to its peers");
    metrics::describe_gauge!(
        FEED_LAG,
        "seconds that the last step of the feed took, from noticing a change to having handed out all frames"
    );
    metrics::describe_gauge!(TREES, "running session trees");
    metrics::describe_gauge!(TREE_LATENESS, "longest lateness of a tree thread in the last second");
    metrics::describe_counter!(
        SLOW_PEERS,
        "peers closed because they read too slowly, by what they are"
    );
    metrics::describe_counter!(
        EVENTS_DROPPED,
        "events of resumable subscriptions dropped because their reader was too slow"
    );
    metrics::describe_counter!(BEHIND, "times that a resumable subscription fell behind");
    metrics::describe_counter!(CALLS_REFUSED, "calls refused because a session made too many");
    metrics::describe_counter!(VIOLATIONS, "sessions ended because the peer broke the protocol");
    metrics::describe_counter!(REFUSED, "requests and sockets refused, by reason");
    metrics::describe_counter!(LOGINS, "logins tried, by outcome");
    metrics::describe_counter!(
        COMPONENT_RESTARTS,
        "times that a component was started again, by component"
    );
    metrics::describe_counter!(
        EVENTS_NOT_STORED,
        "events of a durable history that could not be stored"
    );
    metrics::describe_counter!(TREE_STALLS, "times that a tree thread was late");
    // A counter or gauge shows up in the text only once it was touched; zero is an answer too.
    for gauge in [SESSIONS, CONNECTIONS, QUEUE_BYTES, FEED_LAG, TREES, TREE_LATENESS] {
        metrics::gauge!(gauge).set(0.0);
    }
    for peer in PeerKind::ALL {
        metrics::counter!(SLOW_PEERS, "peer" => peer.label()).absolute(0);
    }
    for counter in [
        EVENTS_DROPPED,
        BEHIND,
        CALLS_REFUSED,
        VIOLATIONS,
        TREE_STALLS,
        EVENTS_NOT_STORED,
    ] {
        metrics::counter!(counter).absolute(0);
    }
}
