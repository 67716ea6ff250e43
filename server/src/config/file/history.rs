//! `[history]`: which topics clients can catch up with, how much is kept and where.

use serde::Deserialize;
use shared::wamp::{MatchPolicy, Uri, uri::Syntax};

use super::role::Policy;
use crate::{
    error::{Error, Result},
    router::{HistoryLimits, HistoryTopics, RealmHistory},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HistoryPart {
    /// `sqlite:<path>` or `postgres://…`; without it history is in memory.
    database: Option<String>,
    topic_bytes: Option<usize>,
    events: Option<usize>,
    bytes: Option<usize>,
    topic: Vec<TopicPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicPart {
    uri: String,
    #[serde(default, rename = "match")]
    policy: Policy,
    events: usize,
}

impl HistoryPart {
    /// `place` is how errors begin.
    pub(super) fn build(self, place: &str) -> Result<RealmHistory> {
        if self.database.is_some() && self.topic.is_empty() {
            return Err(Error::configuration(format!(
                "{place}: [history] names a database, but no [[history.topic]] says what to keep in it"
            )));
        }
        let mut topics = HistoryTopics::default();
        for part in self.topic {
            let policy = MatchPolicy::from(part.policy);
            let uri = Uri::checked(&part.uri, Syntax::Loose, policy).map_err(|error| {
                let text = format!("{place}: {:?} in [[history.topic]] cannot be a topic", part.uri);
                Error::configuration(text).because(error)
            })?;
            topics = topics.keep(policy, uri, part.events);
        }
        let limits = HistoryLimits::default();
        let limits = HistoryLimits {
            topic_bytes: self.topic_bytes.unwrap_or(limits.topic_bytes),
            events: self.events.unwrap_or(limits.events),
            bytes: self.bytes.unwrap_or(limits.bytes),
            ..limits
        };
        Ok(RealmHistory {
            topics,
            limits,
            store: None,
            database: self.database,
        })
    }
}
