//! Who listens to what, and who gets an event.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::wamp::{
    codec::CodecId,
    id::{PublicationId, SessionId, SubscriptionId},
    message::{Disclosed, Event, EventDetails, Message, Publish, PublishOptions},
    payload::Payload,
    uri::{MatchPolicy, Name, Uri},
};

use super::{
    Class, ConnectionId, Outgoing, Output,
    fault::{Fault, Faults},
    meta::ByPolicy,
    pattern::Patterns,
    retained::Kept,
};

/// What the broker needs to know of a session.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) session: SessionId,
    pub(super) connection: ConnectionId,
    pub(super) codec: CodecId,
    pub(super) authid: Name,
    pub(super) authrole: Name,
    /// The same for callees.
    pub(super) disclosed: Disclosed,
    /// May use the meta API, and may hear the meta events.
    pub(super) meta: bool,
}

impl Member {
    pub(super) fn new(session: SessionId, (connection, codec): (ConnectionId, CodecId), who: (Name, Name)) -> Self {
        let (authid, authrole) = who;
        Self {
            session,
            connection,
            codec,
            disclosed: Disclosed::new(Some(session), Some(authid.clone()), Some(authrole.clone())),
            authid,
            authrole,
            meta: false,
        }
    }
}

/// A subscription or registration that a session does not have any more.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) uri: Uri,
    pub(super) policy: MatchPolicy,
    /// Nobody else has it either.
    pub(super) deleted: bool,
}

#[derive(Debug)]
struct Subscription {
    uri: Uri,
    policy: MatchPolicy,
    created: Duration,
    subscribers: BTreeMap<SessionId, Subscriber>,
}

#[derive(Debug)]
struct Subscriber {
    member: Arc<Member>,
    /// Would rather miss events and ask for them than be closed.
    resumable: bool,
    /// Misses events until it subscribes again.
    behind: bool,
}

/// The subscriptions of a realm.
#[derive(Debug, Default)]
pub(super) struct Broker {
    pub(super) faults: Faults,
    last_id: u64,
    index: Patterns<SubscriptionId>,
    subscriptions: BTreeMap<SubscriptionId, Subscription>,
    by_session: BTreeMap<SessionId, BTreeSet<SubscriptionId>>,
}

impl Broker {
    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// How many subscriptions a session has.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// The session's subscription to this topic or pattern.
    pub(super) fn find(&self, session: SessionId, policy: MatchPolicy, topic: &Uri) -> Option<SubscriptionId> {
        let id = self.index.get(policy, topic)?;
        self.by_session
            .get(&session)
            .is_some_and(|own| own.contains(&id))
            .then_some(id)
    }

    /// Adds a subscriber, or lets one that fell behind hear again. Everybody who subscribes to the same gets the same id.
    pub(super) fn subscribe(
        &mut self,
        member: &Arc<Member>,
        policy: MatchPolicy,
        topic: Uri,
        resumable: bool,
        now: Duration,
    ) -> SubscriptionId {
        let id = self.index.get(policy, &topic).unwrap_or_else(|| {
            self.last_id += 1;
            let id = SubscriptionId::wrapped(self.last_id);
            self.index.insert(policy, topic.clone(), id);
            id
        });
        self.subscriptions
            .entry(id)
            .or_insert_with(|| Subscription {
                uri: topic,
                policy,
                created: now,
                subscribers: BTreeMap::new(),
            })
            .subscribers
            .entry(member.session)
            .and_modify(|subscriber| {
                subscriber.resumable |= resumable;
                subscriber.behind = false;
            })
            .or_insert_with(|| Subscriber {
                member: Arc::clone(member),
                resumable,
                behind: false,
            });
        self.by_session.entry(member.session).or_default().insert(id);
        id
    }

    /// A subscriber misses events from now on; false if it does already, or is none.
    pub(super) fn fall_behind(&mut self, session: SessionId, id: SubscriptionId) -> bool {
        let subscription = self.subscriptions.get_mut(&id);
        let subscriber = subscription.and_then(|subscription| subscription.subscribers.get_mut(&session));
        subscriber.is_some_and(|subscriber| !std::mem::replace(&mut subscriber.behind, true))
    }

    /// Ends a session's subscription; none if the session does not have it.
    pub(super) fn unsubscribe(&mut self, session: SessionId, id: SubscriptionId) -> Option<Ended> {
        let own = self.by_session.get_mut(&session)?;
        if !own.remove(&id) {
            return None;
        }
        if own.is_empty() {
            self.by_session.remove(&session);
        }
        let subscription = self.subscriptions.get_mut(&id)?;
        let (uri, policy) = (subscription.uri.clone(), subscription.policy);
        subscription.subscribers.remove(&session);
        let deleted = subscription.subscribers.is_empty();
        if deleted {
            self.subscriptions.remove(&id);
            self.index.remove(policy, &uri);
        }
        Some(Ended { uri, policy, deleted })
    }

    /// Name, policy and moment of creation of a subscription.
    pub(super) fn show(&self, id: SubscriptionId) -> Option<(&Uri, MatchPolicy, Duration)> {
        let subscription = self.subscriptions.get(&id)?;
        Some((&subscription.uri, subscription.policy, subscription.created))
    }

    /// The sessions that have a subscription.
    pub(super) fn subscribers(&self, id: SubscriptionId) -> Option<impl Iterator<Item = SessionId>> {
        Some(self.subscriptions.get(&id)?.subscribers.keys().copied())
    }

    /// All subscriptions by how they match, but those to meta events.
    pub(super) fn list(&self) -> ByPolicy {
        let mut list = ByPolicy::default();
        for (id, subscription) in &self.subscriptions {
            if !subscription.uri.is_within("wamp") {
                list.add(subscription.policy, id.get());
            }
        }
        list
    }

    /// The subscription to exactly this topic or pattern.
    pub(super) fn lookup(&self, policy: MatchPolicy, topic: &Uri) -> Option<SubscriptionId> {
        self.index.get(policy, topic)
    }

    /// All subscriptions that events of a topic go to.
    pub(super) fn matching(&self, topic: &str) -> Vec<SubscriptionId> {
        self.index.matches(topic).collect()
    }

    /// Whether anybody listens to a topic.
    pub(super) fn is_heard(&self, topic: &str) -> bool {
        self.index.matches(topic).next().is_some()
    }

    /// What a session has subscribed to.
    pub(super) fn of_session(&self, session: SessionId) -> impl Iterator<Item = (SubscriptionId, &Uri, MatchPolicy)> {
        let own = self.by_session.get(&session).into_iter().flatten();
        own.filter_map(|id| {
            let subscription = self.subscriptions.get(id)?;
            Some((*id, &subscription.uri, subscription.policy))
        })
    }

    /// Ends all subscriptions of a session.
    pub(super) fn leave(&mut self, session: SessionId) -> Vec<(SubscriptionId, Ended)> {
        if self.faults.has(Fault::ForgetsToUnsubscribe) {
            return Vec::new();
        }
        let own = self.by_session.get(&session).cloned().unwrap_or_default();
        let ended = own.into_iter().map(|id| (id, self.unsubscribe(session, id)));
        ended.filter_map(|(id, ended)| Some((id, ended?))).collect()
    }

    /// Sends the event to whoever may have it: one EVENT per subscription and codec, one publication id.
    pub(super) fn publish(
        &self,
        publisher: &Member,
        publish: &Publish,
        publication: PublicationId,
        is_meta: bool,
        out: &mut Vec<Output>,
    ) {
        let filter = Filter {
            is_meta,
            faults: self.faults,
            ..Filter::of_past(publisher, &publish.options)
        };
        let mut payloads: BTreeMap<CodecId, Option<Payload>> = BTreeMap::new();
        let most = if self.faults.has(Fault::StopsAtFirstSubscription) {
            1
        } else {
            usize::MAX
        };
        for id in self.index.matches(publish.topic.as_str()).take(most) {
            let Some(subscription) = self.subscriptions.get(&id) else {
                continue;
            };
            let mut messages: [Option<Arc<Outgoing>>; CodecId::ALL.len()] = Default::default();
            for subscriber in subscription
                .subscribers
                .values()
                .filter(|subscriber| !subscriber.behind && filter.lets_through(&subscriber.member))
            {
                let member = &subscriber.member;
                let class = if subscriber.resumable {
                    Class::Resumable
                } else {
                    Class::Event
                };
                let Some(message) = messages.get_mut(member.codec as usize) else {
                    continue;
                };
                if message.is_none() {
                    let payload = payloads
                        .entry(member.codec)
                        .or_insert_with(|| publish.payload.transcode(member.codec).ok());
                    // Cannot happen for arguments that a codec accepted; nobody else should suffer if it does.
                    let Some(payload) = payload.clone() else { continue };
                    let details = filter.details(subscription.policy, &publish.topic);
                    let event = Event {
                        subscription: id,
                        publication,
                        details,
                        payload,
                    };
                    *message = Some(Arc::new(Outgoing::new(Message::Event(event))));
                }
                let Some(message) = message else { continue };
                out.push(Output::Send {
                    connection: member.connection,
                    message: Arc::clone(message),
                    class,
                });
            }
        }
    }
}

/// Sends a retained event to somebody who has just subscribed to its topic, if it may have it. That the publisher did
/// not want it back when it was published does not count: who asks for the retained event wants the state.
pub(super) fn send_retained(member: &Member, subscription: SubscriptionId, kept: &Kept, out: &mut Vec<Output>) -> bool {
    let options = PublishOptions {
        exclude_me: Some(false),
        ..kept.publish.options.clone()
    };
    let filter = Filter::of_past(&kept.publisher, &options);
    let Ok(payload) = kept.publish.payload.transcode(member.codec) else {
        return false;
    };
    if !filter.lets_through(member) {
        return false;
    }
    let details = EventDetails {
        retained: true,
        ..filter.details(MatchPolicy::Exact, &kept.publish.topic)
    };
    let event = Event {
        subscription,
        publication: kept.publication,
        details,
        payload,
    };
    out.push(Output::Send {
        connection: member.connection,
        message: Arc::new(Outgoing::new(Message::Event(event))),
        class: Class::Event,
    });
    true
}

/// Whether a reader of history would have got an event live.
pub(super) fn may_have(publisher: &Member, options: &PublishOptions, reader: &Member) -> bool {
    Filter::of_past(publisher, options).lets_through(reader)
}

/// The details of an event that was published before.
pub(super) fn describe(publisher: &Member, options: &PublishOptions, policy: MatchPolicy, topic: &Uri) -> EventDetails {
    Filter::of_past(publisher, options).details(policy, topic)
}

/// The publisher's wishes about receivers.
struct Filter<'a> {
    publisher: &'a Member,
    options: &'a PublishOptions,
    /// There is a list, however empty: it is looked at for each receiver.
    has_lists: bool,
    /// A meta event: only for members that may hear those.
    is_meta: bool,
    faults: Faults,
}

impl<'a> Filter<'a> {
    fn of_past(publisher: &'a Member, options: &'a PublishOptions) -> Self {
        let has_lists = options.exclude.is_some()
            || options.exclude_authid.is_some()
            || options.exclude_authrole.is_some()
            || options.eligible.is_some()
            || options.eligible_authid.is_some()
            || options.eligible_authrole.is_some();
        Self {
            publisher,
            options,
            has_lists,
            is_meta: false,
            faults: Faults::default(),
        }
    }
}

impl Filter<'_> {
    fn lets_through(&self, member: &Member) -> bool {
        let is_publisher = member.session == self.publisher.session;
        let excluded = is_publisher && self.options.exclude_me.unwrap_or(true);
        !excluded && (member.meta || !self.is_meta) && (!self.has_lists || self.is_listed(member))
    }

    /// In every given `eligible` list, where an empty one lets nobody through, and in no `exclude` list.
    fn is_listed(&self, member: &Member) -> bool {
        fn has<T: PartialEq<U>, U: ?Sized>(list: Option<&Vec<T>>, wanted: &U, absent: bool) -> bool {
            list.map_or(absent, |list| list.iter().any(|item| item == wanted))
        }
        let options = self.options;
        let excluded = has(options.exclude.as_ref(), &member.session, false)
            || has(options.exclude_authid.as_ref(), &*member.authid, false)
            || has(options.exclude_authrole.as_ref(), &*member.authrole, false);
        let eligible = options.eligible.as_ref();
        let eligible = if self.faults.has(Fault::TakesEmptyEligibleForNone) {
            eligible.filter(|list| !list.is_empty())
        } else {
            eligible
        };
        let eligible = has(eligible, &member.session, true)
            && has(options.eligible_authid.as_ref(), &*member.authid, true)
            && has(options.eligible_authrole.as_ref(), &*member.authrole, true);
        eligible && !excluded
    }

    fn details(&self, policy: MatchPolicy, topic: &Uri) -> EventDetails {
        let disclosed = self.options.disclose_me.then_some(self.publisher);
        EventDetails {
            publisher: disclosed.map(|publisher| publisher.session),
            publisher_authid: disclosed.map(|publisher| publisher.authid.clone()),
            publisher_authrole: disclosed.map(|publisher| publisher.authrole.clone()),
            topic: (policy != MatchPolicy::Exact).then(|| topic.clone()),
            trace: self.options.trace.clone(),
            passthru: self.options.passthru.clone(),
            ..EventDetails::default()
        }
    }
}
