//! Event history: what was published to certain topics, kept so that who was away can catch up.
//!
//! Clients ask by `wamp.subscription.get_events` (WAMP specification, advanced profile, "Event History"). Whoever may
//! subscribe may ask; an event shows to whom it would have been sent. Events published with lists of sessions
//! (`eligible`, `exclude`) are not kept, as the specification wants: session ids mean nothing later.
//!
//! **No silent gap.** Who asks for the events after a publication gets all of them, page by page, or the error
//! `wamp.error.history_unavailable`, never a part: the publication has to be in the history still, and nothing that
//! came after it may have been let go.
//!
//! **Durable.** The router keeps its history in memory, bounded. If [`HistoryConfig::durable`] says so, each change comes
//! out as [`Output::Store`] for the shell to write down; a publisher that asked for an acknowledgement then gets it when
//! the shell has said [`Input::Stored`](super::Input::Stored), so an acknowledged event survives the process.

mod answer;
mod kept;
mod text;

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

use crate::wamp::{
    id::{PublicationId, RequestId, SessionId},
    message::{Message, Publish, PublishOptions, Published, code},
    payload::Payload,
    uri::{MatchPolicy, Uri, error},
    value::Dynamic,
};

use super::{
    Action, Output, Router,
    broker::Member,
    calls::{refusal, reply},
    meta::{Arguments, missing},
    pattern::Patterns,
    requests::Refusal,
};
pub(super) use kept::History;
use kept::{Gone, Recall};

/// An event as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Its place among all events of the history, counted up.
    pub number: u64,
    /// Its publication.
    pub publication: PublicationId,
    /// When it was published, as Unix time.
    pub time: Duration,
    /// The topic.
    pub topic: Uri,
    /// The session that published it.
    pub session: SessionId,
    /// The user of that session.
    pub authid: String,
    /// The role of that session.
    pub authrole: String,
    /// What the publisher wanted, such as who may have it.
    pub options: PublishOptions,
    /// The arguments.
    pub payload: Payload,
}

/// What changed in a durable history with one publication.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The number of the event that was published.
    pub number: u64,
    /// The event; none if it is too large to be kept.
    pub event: Option<Arc<Recorded>>,
    /// The numbers of events that were let go.
    pub evicted: Vec<u64>,
    /// The highest number that was ever let go.
    pub forgotten: u64,
}

/// How much history is kept, in one realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Bytes of one topic: arguments, names and options. How many events is said for each topic.
    pub topic_bytes: usize,
    /// Events in all.
    pub events: usize,
    /// Bytes in all.
    pub bytes: usize,
    /// Events in one answer.
    pub answer_events: usize,
    /// Bytes of arguments in one answer; a single event is given however large it is.
    pub answer_bytes: usize,
}

impl Default for HistoryLimits {
    fn default() -> Self {
        Self {
            topic_bytes: 1 << 20,
            events: 16_384,
            bytes: 16 << 20,
            answer_events: 1_000,
            answer_bytes: 256 << 10,
        }
    }
}

/// The topics whose events are kept.
#[derive(Debug, Default)]
pub struct HistoryTopics(Patterns<usize>);

impl HistoryTopics {
    /// Keeps the last `events` of each topic that the name or pattern matches. Where several match, it goes as with
    /// registrations: an exact name before the longest prefix before wildcards.
    #[must_use]
    pub fn keep(mut self, policy: MatchPolicy, topic: Uri, events: usize) -> Self {
        self.0.insert(policy, topic, events);
        self
    }

    /// Whether nothing is kept at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many events of a topic are kept; none if it has no history.
    fn most(&self, topic: &str) -> Option<usize> {
        // The router's own events are nobody's to catch up with.
        let reserved = topic == "wamp" || topic.starts_with("wamp.");
        self.0.best(topic).filter(|most| *most > 0 && !reserved)
    }
}

/// What history a realm has.
#[derive(Debug, Default)]
pub struct HistoryConfig {
    /// Of which topics.
    pub topics: HistoryTopics,
    /// How much.
    pub limits: HistoryLimits,
    /// Whether changes come out as [`Output::Store`].
    pub durable: bool,
    /// What was stored before, by number.
    pub kept: Vec<Recorded>,
    /// The highest number that was ever let go.
    pub forgotten: u64,
}

/// How many levels arguments lie deep in the answer to a question about history: frame, arguments, event.
const ANSWER_LEVELS: usize = 2;

/// Who waits to hear that an event is stored.
#[derive(Debug)]
pub(super) struct Waiting {
    member: Arc<Member>,
    request: RequestId,
    publication: PublicationId,
}

/// Acknowledgements that wait until their events are stored, by the events' numbers. Bounded by what the shell lets
/// wait.
pub(super) type Unstored = BTreeMap<u64, Waiting>;

impl Router {
    /// Keeps an event if its topic has a history. The number under which the shell stores it, if it does.
    pub(super) fn record(
        &mut self,
        publisher: &Arc<Member>,
        publish: &Publish,
        publication: PublicationId,
        out: &mut Vec<Output>,
    ) -> Option<u64> {
        let most = self.history.most(publish.topic.as_str())?;
        let options = &publish.options;
        if options.exclude.is_some() || options.eligible.is_some() {
            return None;
        }
        // In an answer the arguments lie deeper than in an event; what no client could read there is not kept.
        let payload = &publish.payload;
        let items = [payload.args(), payload.kwargs()];
        let readable = items
            .iter()
            .all(|item| item.is_empty() || payload.codec().may_nest(item, ANSWER_LEVELS));
        let most = if readable { most } else { 0 };
        let change = self.history.record(
            publisher,
            Recorded {
                number: 0,
                publication,
                time: milliseconds(self.config.epoch.saturating_add(self.now)),
                topic: publish.topic.clone(),
                session: publisher.session,
                authid: publisher.authid.to_string(),
                authrole: publisher.authrole.to_string(),
                options: PublishOptions {
                    acknowledge: false,
                    retain: false,
                    forward_for: None,
                    ..options.clone()
                },
                payload: publish.payload.detached(),
            },
            most,
        );
        let number = change.number;
        self.history.is_durable().then(|| {
            out.push(Output::Store(Box::new(change)));
            number
        })
    }

    /// Acknowledges a publication, at once or when it is stored.
    pub(super) fn acknowledge(
        &mut self,
        member: &Arc<Member>,
        request: RequestId,
        publication: PublicationId,
        stored_as: Option<u64>,
        out: &mut Vec<Output>,
    ) {
        match stored_as {
            None => reply(member, Message::Published(Published { request, publication }), out),
            Some(number) => {
                let member = Arc::clone(member);
                let waiting = Waiting {
                    member,
                    request,
                    publication,
                };
                self.unstored.insert(number, waiting);
            }
        }
    }

    /// The shell has written down the changes with these numbers, or has failed to.
    pub(super) fn stored(&mut self, numbers: &RangeInclusive<u64>, kept: bool, out: &mut Vec<Output>) {
        while let Some((&number, _)) = self.unstored.range(numbers.clone()).next() {
            let Some(waiting) = self.unstored.remove(&number) else {
                return;
            };
            let Waiting {
                member,
                request,
                publication,
            } = waiting;
            if self.joined(member.session).is_none() {
                continue; // the connection may be another session's by now
            }
            let answer = if kept {
                Message::Published(Published { request, publication })
            } else {
                let text = "The event was sent, but could not be stored.";
                refusal(&member, code::PUBLISH, request, error::HISTORY_UNAVAILABLE, text)
            };
            reply(&member, answer, out);
        }
    }

    /// `wamp.subscription.get_events(subscription, limit=, reverse=, topic=, …_time=, …_publication=)`: the events as
    /// arguments, and `more` if there are more than one answer holds.
    pub(super) fn get_events(&self, member: &Member, arguments: &Arguments) -> Result<Payload, Refusal> {
        let id = arguments.subscription()?;
        let Some((uri, policy, _)) = self.broker.show(id) else {
            return Err((error::NO_SUCH_SUBSCRIPTION, format!("There is no subscription {id}.")));
        };
        // Who is subscribed may be: what is not allowed any more is taken away.
        if self.broker.find(member.session, policy, uri).is_none() {
            self.permit(member, Action::Subscribe, uri, policy)?;
        }
        let has_history = match policy {
            MatchPolicy::Exact => self.history.most(uri.as_str()).is_some(),
            MatchPolicy::Prefix | MatchPolicy::Wildcard => !self.history.has_no_topics(),
        };
        if !has_history {
            return Err((error::HISTORY_UNAVAILABLE, format!("No history is kept of '{uri}'.")));
        }
        let limits = self.history.limits();
        let limit = match arguments.get(1, "limit").map(Dynamic::as_integer) {
            None => limits.answer_events,
            Some(Some(limit)) if limit > 0 => usize::try_from(limit).unwrap_or(usize::MAX).min(limits.answer_events),
            Some(_) => return Err(missing("limit", "a number above 0")),
        };
        let recall = Recall {
            topic: uri.clone(),
            policy,
            only: match arguments.named("topic").map(Dynamic::as_str) {
                None => None,
                Some(Some(topic)) => Some(topic),
                Some(None) => return Err(missing("topic", "text")),
            },
            reverse: match arguments.named("reverse") {
                None => false,
                Some(Dynamic::Boolean(reverse)) => *reverse,
                Some(_) => return Err(missing("reverse", "true or false")),
            },
            limit,
            from_time: time(arguments, "from_time")?,
            after_time: time(arguments, "after_time")?,
            before_time: time(arguments, "before_time")?,
            until_time: time(arguments, "until_time")?,
            from_publication: publication(arguments, "from_publication")?,
            after_publication: publication(arguments, "after_publication")?,
            before_publication: publication(arguments, "before_publication")?,
            until_publication: publication(arguments, "until_publication")?,
        };
        let page = self.history.recall(&recall, member).map_err(|gone| {
            let text = match gone {
                Gone::Unknown(publication) => format!("Publication {publication} is not in the history."),
                Gone::Gap => "Not all events since that publication are in the history any more.".to_owned(),
            };
            (error::HISTORY_UNAVAILABLE, text)
        })?;
        answer::encode(member.codec, id, policy, &page)
    }
}

/// As precise as dates are shown.
fn milliseconds(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn publication(arguments: &Arguments, name: &str) -> Result<Option<PublicationId>, Refusal> {
    let Some(value) = arguments.named(name) else {
        return Ok(None);
    };
    let id = value.as_integer().and_then(|number| u64::try_from(number).ok());
    let id = id.and_then(PublicationId::new);
    id.map(Some).ok_or_else(|| missing(name, "a publication id"))
}

fn time(arguments: &Arguments, name: &str) -> Result<Option<Duration>, Refusal> {
    let Some(value) = arguments.named(name) else {
        return Ok(None);
    };
    let time = value
        .as_str()
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok());
    let time = time.ok_or_else(|| missing(name, "a date and time as in RFC 3339"))?;
    // What lies before 1970 is before everything.
    let nanoseconds = time.timestamp_subsec_nanos().min(999_999_999);
    Ok(Some(
        u64::try_from(time.timestamp()).map_or(Duration::ZERO, |seconds| Duration::new(seconds, nanoseconds)),
    ))
}
