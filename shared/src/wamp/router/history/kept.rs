//! The events of a realm's history in memory: bounded per topic and in all, the oldest go first.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

use crate::wamp::{
    codec::CodecId,
    id::PublicationId,
    message::EventDetails,
    uri::{MatchPolicy, Name, Uri},
};

use super::{Change, HistoryConfig, HistoryLimits, HistoryTopics, Recorded};
use crate::wamp::router::{
    ConnectionId,
    broker::{Member, describe, may_have},
};

/// What an event costs beside its bytes.
const OVERHEAD: usize = 256;

/// What somebody wants to know.
#[derive(Debug)]
pub(super) struct Recall<'a> {
    /// The topic or pattern of the subscription.
    pub(super) topic: Uri,
    pub(super) policy: MatchPolicy,
    /// Only events of this topic.
    pub(super) only: Option<&'a str>,
    /// The latest first.
    pub(super) reverse: bool,
    pub(super) limit: usize,
    pub(super) from_time: Option<Duration>,
    pub(super) after_time: Option<Duration>,
    pub(super) before_time: Option<Duration>,
    pub(super) until_time: Option<Duration>,
    pub(super) from_publication: Option<PublicationId>,
    pub(super) after_publication: Option<PublicationId>,
    pub(super) before_publication: Option<PublicationId>,
    pub(super) until_publication: Option<PublicationId>,
}

/// Why an answer would have a hole.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gone {
    /// This publication is not in the history.
    Unknown(PublicationId),
    /// Events since then were let go.
    Gap,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) events: Vec<&'a Kept>,
    /// There are more than the limits allow.
    pub(super) more: bool,
}

/// An event and who published it, as the broker wants to know it.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) event: Arc<Recorded>,
    publisher: Arc<Member>,
    size: usize,
}

impl Kept {
    /// The details that a live event would have had.
    pub(super) fn details(&self, policy: MatchPolicy) -> EventDetails {
        describe(&self.publisher, &self.event.options, policy, &self.event.topic)
    }
}

#[derive(Debug, Default)]
struct Topic {
    numbers: VecDeque<u64>,
    bytes: usize,
}

/// The history of a realm.
#[derive(Debug, Default)]
pub(in crate::wamp::router) struct History {
    topics: HistoryTopics,
    limits: HistoryLimits,
    durable: bool,
    /// The last number that was given.
    last: u64,
    /// The highest number that was let go.
    forgotten: u64,
    kept: BTreeMap<u64, Kept>,
    numbers: BTreeMap<PublicationId, u64>,
    by_topic: BTreeMap<Uri, Topic>,
    bytes: usize,
}

impl History {
    pub(in crate::wamp::router) fn new(config: HistoryConfig) -> Self {
        let HistoryConfig {
            topics,
            limits,
            durable,
            mut kept,
            forgotten,
        } = config;
        let mut this = Self {
            topics,
            limits,
            durable,
            last: forgotten,
            forgotten,
            ..Self::default()
        };
        kept.sort_by_key(|event| event.number);
        for event in kept {
            // The configuration may have changed since it was stored: what has no history any more is not shown.
            let Some(most) = this.most(event.topic.as_str()) else {
                continue;
            };
            let who = (Name::from(&event.authid), Name::from(&event.authrole));
            let publisher = Arc::new(Member::new(event.session, (ConnectionId(0), CodecId::Msgpack), who));
            this.last = this.last.max(event.number);
            this.insert(publisher, Arc::new(event));
            this.evict(most);
        }
        this
    }

    pub(in crate::wamp::router) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) const fn limits(&self) -> HistoryLimits {
        self.limits
    }

    pub(super) const fn is_durable(&self) -> bool {
        self.durable
    }

    /// How many events of a topic are kept; none if it has no history.
    pub(super) fn most(&self, topic: &str) -> Option<usize> {
        self.topics.most(topic)
    }

    pub(in crate::wamp::router) fn has_no_topics(&self) -> bool {
        self.topics.is_empty()
    }

    /// Keeps an event under the next number, of at most `most` of its topic.
    pub(super) fn record(&mut self, publisher: &Arc<Member>, mut event: Recorded, most: usize) -> Change {
        self.last += 1;
        event.number = self.last;
        let event = Arc::new(event);
        self.insert(Arc::clone(publisher), Arc::clone(&event));
        let evicted = self.evict(most);
        Change {
            number: self.last,
            event: self.kept.contains_key(&self.last).then_some(event),
            evicted,
            forgotten: self.forgotten,
        }
    }

    fn insert(&mut self, publisher: Arc<Member>, event: Arc<Recorded>) {
        let described = publisher
            .codec
            .value_to_bytes(&event.options)
            .map_or(0, |bytes| bytes.len());
        let names = event.topic.as_str().len() + event.authid.len() + event.authrole.len();
        let size = event.payload.size() + names + described + OVERHEAD;
        let topic = self.by_topic.entry(event.topic.clone()).or_default();
        topic.numbers.push_back(event.number);
        topic.bytes += size;
        self.bytes += size;
        self.numbers.insert(event.publication, event.number);
        self.kept.insert(event.number, Kept { event, publisher, size });
    }

    /// After an event was added: lets the oldest go that there is no room for, first of its topic, then of all.
    fn evict(&mut self, most: usize) -> Vec<u64> {
        let mut evicted = Vec::new();
        let Some(topic) = self.kept.last_key_value().map(|(_, kept)| kept.event.topic.clone()) else {
            return evicted;
        };
        while let Some(oldest) = self.by_topic.get(&topic).and_then(|topic| {
            let is_over = topic.numbers.len() > most || topic.bytes > self.limits.topic_bytes;
            topic.numbers.front().copied().filter(|_| is_over)
        }) {
            self.remove(oldest, &mut evicted);
        }
        while self.kept.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.kept.keys().next().copied() else {
                break;
            };
            self.remove(oldest, &mut evicted);
        }
        evicted
    }

    fn remove(&mut self, number: u64, evicted: &mut Vec<u64>) {
        let Some(kept) = self.kept.remove(&number) else { return };
        self.bytes -= kept.size;
        self.numbers.remove(&kept.event.publication);
        self.forgotten = self.forgotten.max(number);
        evicted.push(number);
        if let Some(topic) = self.by_topic.get_mut(&kept.event.topic) {
            // The oldest of all is the oldest of its topic too.
            topic.numbers.pop_front();
            topic.bytes -= kept.size;
            if topic.numbers.is_empty() {
                self.by_topic.remove(&kept.event.topic);
            }
        }
    }

    /// The events that somebody wants and may have.
    pub(super) fn recall(&self, recall: &Recall<'_>, reader: &Member) -> Result<Page<'_>, Gone> {
        let range = self.range(recall)?;
        let mut page = Page {
            events: Vec::new(),
            more: false,
        };
        if range.is_empty() {
            return Ok(page);
        }
        let exact = match recall.policy {
            MatchPolicy::Exact => Some(recall.topic.as_str()),
            MatchPolicy::Prefix | MatchPolicy::Wildcard => recall.only,
        };
        let candidates: Box<dyn DoubleEndedIterator<Item = &Kept>> = match exact {
            Some(topic) => {
                let numbers = self.by_topic.get(topic).into_iter().flat_map(|topic| &topic.numbers);
                let numbers = numbers.filter(move |number| range.contains(number));
                Box::new(numbers.filter_map(|number| self.kept.get(number)))
            }
            None => Box::new(self.kept.range(range).map(|(_, kept)| kept)),
        };
        let candidates: Box<dyn Iterator<Item = &Kept>> = if recall.reverse {
            Box::new(candidates.rev())
        } else {
            Box::new(candidates)
        };
        let mut bytes = 0;
        for kept in candidates.filter(|kept| recall.wants(&kept.event)) {
            if !may_have(&kept.publisher, &kept.event.options, reader) {
                continue;
            }
            bytes += kept.size;
            let is_full = page.events.len() >= recall.limit || bytes > self.limits.answer_bytes;
            if is_full && !page.events.is_empty() {
                page.more = true;
                break;
            }
            page.events.push(kept);
        }
        Ok(page)
    }

    /// The numbers between the publications that were named.
    fn range(&self, recall: &Recall<'_>) -> Result<RangeInclusive<u64>, Gone> {
        let number = |publication: Option<PublicationId>| {
            let known = publication.map(|id| self.numbers.get(&id).copied().ok_or(Gone::Unknown(id)));
            known.transpose()
        };
        let from = number(recall.from_publication)?;
        let after = number(recall.after_publication)?;
        let until = number(recall.until_publication)?;
        let before = number(recall.before_publication)?;
        for start in [from, after].into_iter().flatten() {
            // Topics let go of their oldest first: of the start's own topic nothing is gone that came after it.
            let of_same_topic = recall.policy == MatchPolicy::Exact
                && self
                    .kept
                    .get(&start)
                    .is_some_and(|kept| kept.event.topic == recall.topic);
            if start < self.forgotten && !of_same_topic {
                return Err(Gone::Gap);
            }
        }
        let first = from.unwrap_or(0).max(after.map_or(0, |number| number + 1));
        let last = until
            .unwrap_or(u64::MAX)
            .min(before.map_or(u64::MAX, |number| number - 1));
        Ok(first..=last)
    }
}

impl Recall<'_> {
    fn wants(&self, event: &Recorded) -> bool {
        self.topic.matches(self.policy, event.topic.as_str())
            && self.only.is_none_or(|only| event.topic == *only)
            && self.from_time.is_none_or(|time| event.time >= time)
            && self.after_time.is_none_or(|time| event.time > time)
            && self.before_time.is_none_or(|time| event.time < time)
            && self.until_time.is_none_or(|time| event.time <= time)
    }
}
