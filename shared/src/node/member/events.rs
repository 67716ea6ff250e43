//! The half of a member that hears and tells: handlers by topic, events of the tree and of others, and their past.

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
};

use futures::{FutureExt, channel::oneshot};

use super::{Member, Refusals};
use crate::{
    error::Result,
    node::{
        Node, RemoteNode,
        call::decode_first,
        detached,
        frame::{current_trace, inside_context},
        member::builtin::REPLAY,
        mirror::PeerWatcher,
        task::inside_now,
    },
    path::{ITSELF, Path, is_within},
    signal::{
        Connection, Deliver, Delivery, Parcel, SignalPort,
        replay::{Input, Latecomer, NAME_LIMIT, Named, catch_up},
    },
    wamp::{
        message::{Passthru, PassthruKeys, PublishOptions, SubscribeOptions},
        payload::Payload,
        peer::Event,
        uri::Uri,
        value::Dynamic,
    },
};

/// One handler of one topic.
pub(crate) struct Entry {
    id: u64,
    /// Shared with the list that it is in.
    topic: Rc<str>,
    node: Weak<dyn Node>,
    /// Whether the node that handles is the one that has the signal: these go first.
    own: bool,
    /// Would rather miss events, and hear that it does, than have the session closed for reading too slowly.
    pub(super) resumable: bool,
    deliver: Deliver,
    /// Few have it: boxed, so that the others are small.
    late: Option<Box<Late>>,
}

/// Fired instead of the events that the router left out.
#[derive(Clone)]
pub(crate) struct Behind;

/// What a handler needs that wants the past of a signal elsewhere.
struct Late {
    place: Path,
    signal: &'static str,
    state: RefCell<Latecomer<Parcel>>,
}

impl Member {
    /// Adds a handler. The caller sees to [`Member::reconcile`].
    pub(crate) fn listen(&self, topic: &str, node: &Rc<dyn Node>, own: bool, deliver: Deliver) -> Connection {
        self.enlist(topic.to_owned(), node, own, false, deliver, None).0
    }

    /// As [`Member::listen`] for a handler that takes [`Behind`], too.
    pub(crate) fn listen_resumable(&self, topic: &str, node: &Rc<dyn Node>, deliver: Deliver) -> Connection {
        self.enlist(topic.to_owned(), node, false, true, deliver, None).0
    }

    /// Adds a handler that wants the past, too: it has had it when this returns if the signal is in this tree. If not,
    /// the caller sees to [`Member::reconcile`], and then to [`Member::ask`] for the entry.
    pub(crate) fn listen_late(
        &self,
        node: &Rc<dyn Node>,
        place: Path,
        signal: &'static str,
        deliver: Deliver,
    ) -> (Connection, Option<Rc<Entry>>) {
        let topic = place.endpoint(signal);
        let here = self.with_signal(&topic, |_, port| {
            catch_up(port, |parcel| {
                self.hand_over(node, &topic, &deliver, parcel, &mut Delivery::default());
            });
        });
        let late = here.is_none().then(|| {
            Box::new(Late {
                place,
                signal,
                state: RefCell::new(Latecomer::new()),
            })
        });
        let (connection, entry) = self.enlist(topic, node, false, false, deliver, late);
        let asks = self.begins_to_ask(&entry);
        (connection, asks.then_some(entry))
    }

    /// Whether a handler of a topic takes [`Behind`].
    pub(super) fn is_resumable(&self, topic: &str) -> bool {
        let topics = self.topics.borrow();
        topics
            .get(topic)
            .is_some_and(|entries| entries.iter().any(|entry| entry.resumable))
    }

    fn enlist(
        &self,
        topic: String,
        node: &Rc<dyn Node>,
        own: bool,
        resumable: bool,
        deliver: Deliver,
        late: Option<Box<Late>>,
    ) -> (Connection, Rc<Entry>) {
        let id = self.next_entry.get();
        self.next_entry.set(id + 1);
        let mut topics = self.topics.borrow_mut();
        let known = topics.get_key_value(topic.as_str()).map(|(known, _)| known.clone());
        let topic = known.unwrap_or_else(|| topic.into());
        let entry = Rc::new(Entry {
            id,
            topic: topic.clone(),
            node: Rc::downgrade(node),
            own,
            resumable,
            deliver,
            late,
        });
        topics.entry(topic.clone()).or_default().push(entry.clone());
        let member = self.this.clone();
        let connection = Connection::new(move || {
            if let Some(member) = member.upgrade() {
                member.deaf(&topic, id);
            }
        });
        (connection, entry)
    }

    fn deaf(&self, topic: &str, id: u64) {
        let mut topics = self.topics.borrow_mut();
        let Some(entries) = topics.get_mut(topic) else { return };
        let position = entries.iter().position(|entry| entry.id == id);
        let gone = position.map(|position| entries.remove(position));
        let is_last = entries.is_empty();
        if is_last {
            topics.remove(topic);
        }
        // Dropping a handler may run code of the application: only when nothing is borrowed.
        drop(topics);
        drop(gone);
        if is_last {
            self.withdraw();
        }
    }

    /// Runs all handlers that this tree has for a topic.
    pub(crate) fn fire(&self, topic: &str, parcel: &Parcel) -> Delivery {
        let entries = self.topics.borrow().get(topic).cloned().unwrap_or_default();
        let (own, others): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.own);
        // Who is connected while the handlers run hears the next event first.
        let direct = self.with_signal(topic, |node, port| (node.clone(), port.direct()));
        let mut delivery = Delivery::default();
        for entry in own {
            self.deliver(&entry, parcel, &mut delivery);
        }
        if let Some((node, direct)) = direct {
            for deliver in direct {
                self.hand_over(&node, topic, &deliver, parcel, &mut delivery);
            }
        }
        for entry in others {
            self.deliver(&entry, parcel, &mut delivery);
        }
        delivery
    }

    /// Lets a signal of this tree keep an event that another node fired.
    pub(crate) fn keep(&self, topic: &str, parcel: &Parcel) {
        self.with_signal(topic, |_, port| port.keep(parcel));
    }

    fn with_signal<R>(&self, topic: &str, run: impl FnOnce(&Rc<dyn Node>, &dyn SignalPort) -> R) -> Option<R> {
        let at = |path: &str, name: &str| {
            let node = self.find(path)?;
            let has = node.node_signals().iter().any(|(known, _)| *known == name);
            has.then_some(node)
        };
        let (node, name) = at(topic, ITSELF).map(|node| (node, ITSELF)).or_else(|| {
            let (path, name) = topic.rsplit_once('.')?;
            Some((at(path, name)?, name))
        })?;
        let signals = node.node_signals();
        let (_, port) = signals.iter().find(|(known, _)| *known == name)?;
        Some(run(&node, *port))
    }

    fn deliver(&self, entry: &Entry, parcel: &Parcel, delivery: &mut Delivery) {
        match &entry.late {
            None => self.deliver_now(entry, parcel, delivery),
            Some(late) => {
                let event = (parcel.mark().cloned(), parcel.clone());
                let now = late.state.borrow_mut().handle(Input::Live(event));
                now.iter().for_each(|parcel| self.deliver_now(entry, parcel, delivery));
            }
        }
    }

    fn deliver_now(&self, entry: &Entry, parcel: &Parcel, delivery: &mut Delivery) {
        // An earlier handler of the same event may have disconnected this one, or unbound its node.
        let topics = self.topics.borrow();
        let all = topics.get(&entry.topic);
        let connected = all.is_some_and(|all| all.iter().any(|known| known.id == entry.id));
        drop(topics);
        let Some(node) = entry.node.upgrade().filter(|_| connected) else {
            return;
        };
        self.hand_over(&node, &entry.topic, &entry.deliver, parcel, delivery);
    }

    fn hand_over(&self, node: &Rc<dyn Node>, topic: &str, deliver: &Deliver, parcel: &Parcel, delivery: &mut Delivery) {
        let context = node.node_core().context();
        let allowed = context.map_or(Ok(()), |context| context.may_hear(topic));
        let outcome = allowed.and_then(|()| inside_now(node, topic, || deliver(parcel)));
        delivery.add(Some(node), topic, outcome);
    }

    /// Tells other sessions.
    pub(crate) fn publish(&self, topic: &str, parcel: &Parcel) {
        let Some(peer) = self.peer() else { return };
        let sent = parcel.payload(peer.codec()).and_then(|payload| {
            let options = PublishOptions {
                trace: current_trace(),
                passthru: Passthru::new(PassthruKeys {
                    mark: parcel.mark().map(ToString::to_string),
                    ..PassthruKeys::default()
                }),
                ..Default::default()
            };
            peer.publish(&Uri::strict(topic)?, payload, options)
        });
        if let Err(error) = sent {
            tracing::debug!(topic, %error, "an event stayed in its tree");
        }
    }

    /// An event from another session. Asynchronous handlers go on by themselves and log their failures.
    pub(super) fn heard(&self, event: Event) {
        if event.details.behind {
            return self.fell_behind(event.topic);
        }
        let keys = event.details.passthru.keys();
        let mark = keys.and_then(|keys| keys.mark.clone().filter(|mark| mark.len() <= NAME_LIMIT));
        let mark = mark.unwrap_or_else(|| event.publication.get().to_string());
        let parcel = Parcel::wire(event.payload).marked(mark);
        self.keep(event.topic.as_str(), &parcel);
        drop(self.fire(event.topic.as_str(), &parcel));
    }

    /// The router has left events out. Sees to it that more come, and only then tells the handlers: what follows after the
    /// answer to what they ask is not missed.
    fn fell_behind(&self, topic: Uri) {
        let (Some(peer), member) = (self.peer(), self.this.clone()) else {
            return;
        };
        let task = async move {
            let options = resumable();
            // The subscription is there already and goes on; this handle adds nothing to it.
            match peer.subscribe(&topic, options, Rc::new(|_| {})).await {
                Ok(_again) => {
                    if let Some(member) = member.upgrade() {
                        drop(member.fire(topic.as_str(), &Parcel::local(Behind)));
                    }
                }
                Err(error) => tracing::debug!(%topic, %error, "a subscription does not go on"),
            }
        };
        self.platform.spawn_local(task.boxed_local());
    }

    /// Whether a handler must ask for the past: then it holds events back from now on.
    fn begins_to_ask(&self, entry: &Entry) -> bool {
        let Some(late) = &entry.late else { return false };
        let is_ours = self.roots.borrow().iter().any(|root| is_within(&entry.topic, root));
        let asks = self.peer().is_some() && !is_ours;
        if asks {
            late.state.borrow_mut().handle(Input::Asks(self.generation.get()));
        }
        asks
    }

    /// From now on `watcher` is told of another session, for as long as there is somebody to tell.
    pub(crate) fn watch_peer(&self, watcher: Weak<dyn PeerWatcher>) {
        let mut watchers = self.watchers.borrow_mut();
        watchers.retain(|known| known.strong_count() > 0);
        watchers.push(watcher);
    }

    pub(super) fn tell_watchers(&self, attached: bool) {
        let watchers = self.watchers.borrow().clone();
        let alive = watchers.iter().filter_map(Weak::upgrade);
        alive.for_each(|watcher| watcher.peer_changed(attached));
    }

    /// Tells the state that others may show: they may have missed something.
    pub(super) fn announce_state(&self) {
        let nodes: Vec<Rc<dyn Node>> = self.places.borrow().values().cloned().collect();
        for core in nodes.iter().map(|node| node.node_core()) {
            if let (Some(sources), Some(context)) = (core.mirrored(), core.context()) {
                sources.announce(&context);
            }
        }
    }

    /// With another peer, all who want the past ask again, for what they have missed.
    pub(super) fn ask_anew(&self) -> Vec<Rc<Entry>> {
        let all: Vec<Rc<Entry>> = self.topics.borrow().values().flatten().cloned().collect();
        all.into_iter().filter(|entry| self.begins_to_ask(entry)).collect()
    }

    /// Asks for the past of a signal elsewhere, and delivers it. The subscription must be there already. Goes on
    /// whether or not anybody waits.
    pub(crate) fn ask(&self, entry: Rc<Entry>) -> Option<oneshot::Receiver<()>> {
        let node = entry.node.upgrade()?;
        let context = node.node_core().context()?;
        let (member, number) = (self.this.clone(), self.generation.get());
        Some(detached(&context.clone(), async move {
            let Some(late) = &entry.late else { return };
            let remote = RemoteNode::new(context.clone(), late.place.clone());
            let answer = remote.call_payload(REPLAY, &(late.signal,)).await;
            let past = answer.and_then(|answer| inside_context(&context, || past_of(&answer)));
            let Some(member) = member.upgrade() else { return };
            let input = match past {
                Ok(past) => Input::Told(number, past),
                Err(error) => {
                    tracing::debug!(topic = &*entry.topic, %error, "a signal's past stays unknown");
                    Input::Refused(number)
                }
            };
            let now = late.state.borrow_mut().handle(input);
            for parcel in now {
                member.deliver_now(&entry, &parcel, &mut Delivery::default());
            }
        }))
    }

    /// Brings the subscriptions in line, then asks for the past of a signal if there is an entry that wants it.
    pub(crate) async fn reconcile_late(&self, entry: Option<Rc<Entry>>) -> Refusals {
        let refusals = self.reconcile().await;
        if let Some(answered) = entry.and_then(|entry| self.ask(entry)) {
            let _ = answered.await;
        }
        refusals
    }
}

/// The options of a subscription that may fall behind.
pub(super) fn resumable() -> SubscribeOptions {
    SubscribeOptions {
        resumable: true,
        ..SubscribeOptions::default()
    }
}

/// What a node answers about the past of its signal: names and values, the oldest first.
fn past_of(answer: &Payload) -> Result<Vec<Named<Parcel>>> {
    let past: Vec<(String, Dynamic)> = decode_first(answer)?;
    let parcels = past.into_iter().map(|(name, value)| {
        let parcel = Parcel::wire(Payload::encode(answer.codec(), &(value,))?).marked(name);
        Ok((parcel.mark().cloned(), parcel))
    });
    parcels.collect()
}
