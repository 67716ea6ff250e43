//! The last events of topics, kept for those who subscribe later: bounded per topic, per publisher and in all.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::wamp::{
    id::{PublicationId, SessionId},
    message::Publish,
    uri::Uri,
};

use super::broker::Member;

/// How much is retained. What is over a limit pushes the oldest out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Events of one topic: events for certain receivers only are kept beside each other, one for everybody replaces
    /// them all.
    pub per_topic: usize,
    /// Bytes of the events of one publishing session; how many they may be is in [`Limits`](super::Limits).
    pub session_bytes: usize,
    /// Events in all.
    pub events: usize,
    /// Bytes in all: arguments, topics and options.
    pub bytes: usize,
}

impl Default for RetentionLimits {
    fn default() -> Self {
        Self {
            per_topic: 4,
            session_bytes: 1 << 20,
            events: 16_384,
            bytes: 16 << 20,
        }
    }
}

/// What an event costs beside its bytes.
const OVERHEAD: usize = 256;

/// A retained event.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) publisher: Arc<Member>,
    pub(super) publish: Publish,
    pub(super) publication: PublicationId,
    size: usize,
}

/// The retained events of one publishing session.
#[derive(Debug, Default)]
struct Own {
    numbers: BTreeSet<u64>,
    bytes: usize,
}

/// The retained events of a realm.
#[derive(Debug, Default)]
pub(super) struct Retained {
    limits: RetentionLimits,
    last: u64,
    /// In the order of publication.
    kept: BTreeMap<u64, Kept>,
    by_topic: BTreeMap<Uri, VecDeque<u64>>,
    by_session: BTreeMap<SessionId, Own>,
    bytes: usize,
}

impl Retained {
    pub(super) fn new(limits: RetentionLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps an event, and lets go of what it replaces and of what there is no room for.
    /// `most` is how many the publisher may have.
    pub(super) fn keep(&mut self, publisher: &Arc<Member>, publish: &Publish, publication: PublicationId, most: usize) {
        let of_topic = self.by_topic.get(&publish.topic).cloned().unwrap_or_default();
        let options = &publish.options;
        let is_for_some = options.exclude.is_some()
            || options.exclude_authid.is_some()
            || options.exclude_authrole.is_some()
            || options.eligible.is_some()
            || options.eligible_authid.is_some()
            || options.eligible_authrole.is_some();
        let stay = if is_for_some {
            self.limits.per_topic.saturating_sub(1)
        } else {
            0
        };
        let replaced = of_topic.len().saturating_sub(stay);
        for number in of_topic.into_iter().take(replaced) {
            self.remove(number);
        }
        let described = publisher.codec.size_of_details(options);
        let size = publish.payload.size() + publish.topic.as_str().len() + described + OVERHEAD;
        if size > self.limits.bytes.min(self.limits.session_bytes) || self.limits.events.min(most) == 0 {
            return;
        }
        self.last += 1;
        let number = self.last;
        self.by_topic
            .entry(publish.topic.clone())
            .or_default()
            .push_back(number);
        let own = self.by_session.entry(publisher.session).or_default();
        own.numbers.insert(number);
        own.bytes += size;
        self.bytes += size;
        let session = publisher.session;
        let publisher = Arc::clone(publisher);
        // A copy of its own: the arguments as they came hold on to the whole frame.
        let publish = Publish {
            payload: publish.payload.detached(),
            ..publish.clone()
        };
        self.kept.insert(
            number,
            Kept {
                publisher,
                publish,
                publication,
                size,
            },
        );
        while let Some(oldest) = self.by_session.get(&session).and_then(|own| {
            let is_over = own.numbers.len() > most || own.bytes > self.limits.session_bytes;
            own.numbers.first().copied().filter(|_| is_over)
        }) {
            self.remove(oldest);
        }
        while self.kept.len() > self.limits.events || self.bytes > self.limits.bytes {
            let Some(oldest) = self.kept.keys().next().copied() else {
                return;
            };
            self.remove(oldest);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(kept) = self.kept.remove(&number) else { return };
        self.bytes -= kept.size;
        if let Some(of_topic) = self.by_topic.get_mut(&kept.publish.topic) {
            of_topic.retain(|other| *other != number);
            if of_topic.is_empty() {
                self.by_topic.remove(&kept.publish.topic);
            }
        }
        if let Some(own) = self.by_session.get_mut(&kept.publisher.session) {
            own.numbers.remove(&number);
            own.bytes -= kept.size;
            if own.numbers.is_empty() {
                self.by_session.remove(&kept.publisher.session);
            }
        }
    }

    /// The events of a topic, the latest first.
    pub(super) fn of(&self, topic: &Uri) -> impl Iterator<Item = &Kept> {
        let numbers = self.by_topic.get(topic).into_iter().flatten().rev();
        numbers.filter_map(|number| self.kept.get(number))
    }
}
