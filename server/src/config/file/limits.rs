//! `[limits]`: what connections may use.

use std::time::Duration;

use serde::Deserialize;

use super::values::Seconds;
use crate::config::Config;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsPart {
    connections: Option<usize>,
    per_address: Option<usize>,
    requests_per_address: Option<usize>,
    message: Option<usize>,
    queue_bytes: Option<usize>,
    queue_messages: Option<usize>,
    handshake_seconds: Option<Seconds>,
    ping_seconds: Option<Seconds>,
    pong_seconds: Option<Seconds>,
}

impl LimitsPart {
    /// Overrides what is said here.
    pub(super) fn apply(&self, config: &mut Config) {
        let limits = &mut config.connections;
        let set = |setting: &mut usize, value: Option<usize>| *setting = value.unwrap_or(*setting);
        set(&mut limits.total, self.connections);
        set(&mut limits.per_address, self.per_address);
        set(&mut limits.requests_per_address, self.requests_per_address);
        set(&mut limits.component_message, self.message);
        set(&mut limits.queue.bytes, self.queue_bytes);
        set(&mut limits.queue.frames, self.queue_messages);
        let set = |setting: &mut Duration, value: Option<Seconds>| *setting = value.map_or(*setting, |value| value.0);
        set(&mut limits.handshake, self.handshake_seconds);
        set(&mut limits.ping_after, self.ping_seconds);
        set(&mut limits.pong_within, self.pong_seconds);
    }
}
