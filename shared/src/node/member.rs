//! A tree's seat in the realm: which nodes are where, who handles what, and the few registrations that stand for all.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    rc::{Rc, Weak},
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{Either, OptionFuture, join, join_all, select},
    lock::Mutex,
};
use rustc_hash::FxHashMap;

pub(crate) mod builtin;
mod events;
mod wills;

pub(crate) use events::{Behind, Entry};
use wills::{flush_wills, leave_will};

use super::{
    Node,
    call::Arguments,
    enter::named,
    fault::{self, Fault},
    frame::{Identity, Who},
    inspect,
    mirror::PeerWatcher,
    stream::{MORE, Parts, Streams},
    task::inside,
};
use crate::{
    error::{Error, ErrorKind, Result},
    path::{ITSELF, Path, is_within},
    platform::PlatformRef,
    wamp::{
        message::{RegisterOptions, SubscribeOptions},
        payload::Payload,
        peer::{Event, Invocation, Peer, Progress, Registration, Subscription},
        uri::{MatchPolicy, Syntax, Uri},
    },
};

/// How many answers about contracts are kept before all are asked for anew.
const VERIFIED_LIMIT: usize = 1024;

/// The shared part of a chain of contexts.
pub(crate) struct Member {
    this: Weak<Self>,
    platform: PlatformRef,
    peer: RefCell<Option<Peer>>,
    /// Who the peer is.
    identity: RefCell<Rc<Identity>>,
    /// Counts peers, so that what was registered with an earlier one is known to be void.
    generation: Cell<u64>,
    /// Ends a reconciliation with an earlier peer, which may never answer.
    superseded: RefCell<Option<oneshot::Sender<()>>>,
    /// Whether any context of the chain ever got a rule around calls: most chains have none.
    wraps: Cell<bool>,
    /// Where the names of traces and events come from.
    trace: Cell<u64>,
    /// All bound nodes by absolute path.
    places: RefCell<FxHashMap<Path, Rc<dyn Node>>>,
    /// Counts changes of places, so that what was found before is known to be there still.
    moves: Cell<u64>,
    /// Counts changes of references and resolvers at any level, so that what was resolved before is known to be true.
    meanings: Cell<u64>,
    /// Paths of bound nodes without a parent.
    roots: RefCell<BTreeSet<String>>,
    /// Procedures that nodes want registered one by one, by path.
    each: RefCell<BTreeMap<String, Vec<String>>>,
    /// Topics of mirrored state whose listeners hear of the end of the session, by path.
    wills: RefCell<BTreeMap<String, Vec<String>>>,
    /// Handlers by topic, in order of connection.
    topics: RefCell<BTreeMap<Rc<str>, Vec<Rc<Entry>>>>,
    next_entry: Cell<u64>,
    /// Who is told of another peer.
    watchers: RefCell<Vec<Weak<dyn PeerWatcher>>>,
    /// Streams of this tree that are read elsewhere.
    pub(super) streams: Streams,
    wires: RefCell<Wires>,
    /// Paths elsewhere that are known to implement a contract, by its fingerprint.
    verified: RefCell<BTreeSet<(String, u64)>>,
    /// Held while registrations are brought in line, so that two such runs do not undo each other.
    gate: Mutex<()>,
}

/// Something that the router must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Calls,
    Events,
    /// Testaments: they stay until the session ends. The last kind.
    Wills,
}

type WireKey = (Kind, String, bool);

#[derive(Default)]
struct Wires {
    generation: u64,
    made: BTreeMap<WireKey, Wire>,
}

/// Ends when dropped, but for a testament.
enum Wire {
    Calls(#[allow(dead_code, reason = "held, never read")] Registration),
    Events(#[allow(dead_code, reason = "held, never read")] Subscription),
    Will,
}

/// What the router refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals(BTreeMap<WireKey, Error>);

impl Refusals {
    /// An error that concerns a root.
    pub(crate) fn of_root(&self, path: &Path) -> Result<()> {
        let keys = root_wires(path.as_str());
        keys.iter()
            .find_map(|key| self.0.get(key))
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    /// An error that concerns a topic.
    pub(crate) fn of_topic(&self, topic: &str) -> Result<()> {
        self.0
            .get(&(Kind::Events, topic.to_owned(), false))
            .map_or(Ok(()), |error| Err(error.clone()))
    }

    fn any(self) -> Result<()> {
        self.0.into_values().next().map_or(Ok(()), Err)
    }
}

/// WAMP prefixes are string prefixes: with the dot, or `a.b` would match `a.bc`.
fn root_wires(root: &str) -> [WireKey; 4] {
    [
        (Kind::Calls, root.to_owned(), false),
        (Kind::Calls, format!("{root}."), true),
        (Kind::Events, root.to_owned(), false),
        (Kind::Events, format!("{root}."), true),
    ]
}

impl Member {
    pub(crate) fn new(platform: PlatformRef, peer: Option<Peer>) -> Rc<Self> {
        let mut seed = [0; 8];
        platform.random(&mut seed);
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            platform,
            generation: Cell::new(1),
            superseded: RefCell::default(),
            wraps: Cell::new(false),
            trace: Cell::new(u64::from_le_bytes(seed)),
            identity: RefCell::new(Identity::of_peer(peer.as_ref())),
            peer: RefCell::new(peer),
            places: RefCell::default(),
            moves: Cell::new(0),
            meanings: Cell::new(0),
            roots: RefCell::default(),
            each: RefCell::default(),
            wills: RefCell::default(),
            topics: RefCell::default(),
            next_entry: Cell::new(1),
            watchers: RefCell::default(),
            streams: Streams::default(),
            wires: RefCell::default(),
            verified: RefCell::default(),
            gate: Mutex::new(()),
        })
    }

    pub(crate) fn platform(&self) -> &PlatformRef {
        &self.platform
    }

    pub(crate) fn peer(&self) -> Option<Peer> {
        self.peer.borrow().clone()
    }

    /// Whether there ever was a peer.
    pub(crate) fn was_joined(&self) -> bool {
        self.generation.get() > 1 || self.peer.borrow().is_some()
    }

    pub(crate) async fn set_peer(&self, peer: Option<Peer>) -> Result<()> {
        *self.identity.borrow_mut() = Identity::of_peer(peer.as_ref());
        *self.peer.borrow_mut() = peer;
        self.generation.set(self.generation.get() + 1);
        self.verified.borrow_mut().clear();
        drop(self.superseded.take());
        let late = self.ask_anew();
        self.tell_watchers(false);
        let refusals = self.reconcile().await;
        if self.peer.borrow().is_some() {
            self.tell_watchers(true);
            self.announce_state();
        }
        late.into_iter().for_each(|entry| drop(self.ask(entry)));
        refusals.any()
    }

    /// Who makes a call from this tree now. Always inlined: handed out as a whole it would be copied right after it was
    /// written, and the copying would wait for the writing.
    #[inline(always)]
    pub(crate) fn who(&self) -> Who {
        Who::calls(self.identity.borrow().clone(), || self.new_number())
    }

    /// A name for an event.
    pub(crate) fn new_name(&self) -> String {
        format!("{:016x}", self.new_number())
    }

    /// Names a chain of calls, or an event. Unique enough, no secret, and cheap: most calls never leave their tree.
    fn new_number(&self) -> u64 {
        let next = self.trace.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.trace.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    /// Whether the node at a path elsewhere is known to implement a contract.
    pub(crate) fn is_verified(&self, path: &Path, fingerprint: u64) -> bool {
        self.verified.borrow().contains(&(path.to_string(), fingerprint))
    }

    /// Remembers that it does.
    pub(crate) fn verify(&self, path: &Path, fingerprint: u64) {
        let mut verified = self.verified.borrow_mut();
        if verified.len() >= VERIFIED_LIMIT {
            verified.clear();
        }
        verified.insert((path.to_string(), fingerprint));
    }

    /// Forgets about a path where something was not as expected.
    pub(crate) fn doubt(&self, path: &Path) {
        self.verified.borrow_mut().retain(|(known, _)| known != path.as_str());
    }

    /// Gives a node its place.
    pub(crate) fn occupy(&self, path: &Path, node: &Rc<dyn Node>, is_root: bool) -> Result<()> {
        let mut places = self.places.borrow_mut();
        if places.contains_key(path.as_str()) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("There is a node at {path} already."),
            ));
        }
        places.insert(path.clone(), node.clone());
        self.moves.set(self.moves.get() + 1);
        if is_root {
            self.roots.borrow_mut().insert(path.to_string());
        }
        Ok(())
    }

    /// Takes a node's place away.
    pub(crate) fn vacate(&self, path: &Path) {
        self.places.borrow_mut().remove(path.as_str());
        self.moves.set(self.moves.get() + 1);
        self.roots.borrow_mut().remove(path.as_str());
        self.each.borrow_mut().remove(path.as_str());
        self.wills.borrow_mut().remove(path.as_str());
    }

    /// Remembers procedures that are to be registered one by one, for others to find them.
    pub(crate) fn offer_each(&self, path: &Path, procedures: Vec<String>) {
        self.each.borrow_mut().insert(path.to_string(), procedures);
    }

    /// The node at a path.
    pub(crate) fn find(&self, path: &str) -> Option<Rc<dyn Node>> {
        self.places.borrow().get(path).cloned()
    }

    /// As long as this is the same, [`Member::find`] gives the same.
    pub(crate) fn moves(&self) -> u64 {
        self.moves.get()
    }

    /// As long as this is the same, queries of a chain without resolvers lead to the same paths.
    pub(crate) fn meanings(&self) -> u64 {
        self.meanings.get()
    }

    /// A reference or a resolver is another one from now on.
    pub(crate) fn change_meanings(&self) {
        if !fault::is(Fault::StaleMeanings) {
            self.meanings.set(self.meanings.get() + 1);
        }
    }

    pub(crate) fn expect_wrappers(&self) {
        self.wraps.set(true);
    }

    pub(crate) fn has_wrappers(&self) -> bool {
        self.wraps.get()
    }

    /// The nodes that were bound without a parent.
    pub(crate) fn roots(&self) -> Vec<Rc<dyn Node>> {
        self.roots.borrow().iter().filter_map(|path| self.find(path)).collect()
    }

    /// How many nodes, roots, topics with handlers, and registrations with subscriptions there are.
    pub(crate) fn records(&self) -> [usize; 4] {
        [
            self.places.borrow().len(),
            self.roots.borrow().len(),
            self.topics.borrow().len(),
            self.wires.borrow().made.range(..wills::first()).count(),
        ]
    }

    /// A call from another session.
    async fn invoked(&self, invocation: Invocation, progress: Progress) -> Result<Payload> {
        let procedure = invocation.procedure.as_str();
        let itself = self.find(procedure).filter(|node| {
            let mut contracts = node.node_contracts().iter();
            contracts.any(|contract| contract.methods.contains(&ITSELF))
        });
        let found = itself.map(|node| (node, ITSELF)).or_else(|| {
            let (path, method) = procedure.rsplit_once('.')?;
            Some((self.find(path)?, method))
        });
        let Some((node, method)) = found else {
            return Err(nobody(procedure));
        };
        if method == MORE {
            return self.streams.grant(&invocation);
        }
        if let Some(question) = inspect::Question::of(method) {
            let answer = inspect::answer(node.clone(), question, invocation.payload, progress);
            return inside(&node, procedure, answer.boxed_local()).await;
        }
        let method = Cow::Owned(method.to_owned());
        let mut arguments = Arguments::wire(invocation.payload);
        if let (true, Some(member)) = (progress.is_wanted(), self.this.upgrade()) {
            let keys = invocation.details.passthru.keys();
            arguments = arguments.with_parts(Parts::Elsewhere {
                name: keys.and_then(|keys| keys.mark.clone()),
                progress,
                member,
            });
        }
        let who = Who::called(invocation.details);
        named(node, method, arguments, Some(who)).await?.into_payload()
    }

    /// What the router must know now: roots that no other root covers, and topics outside of them.
    fn wanted(&self) -> BTreeSet<WireKey> {
        let roots = self.roots.borrow();
        let covered = |text: &str, not: &str| roots.iter().any(|root| root != not && is_within(text, root));
        let outer = roots.iter().filter(|root| !covered(root, root));
        let (topics, each, wills) = (self.topics.borrow(), self.each.borrow(), self.wills.borrow());
        let foreign = topics.keys().filter(|topic| !covered(topic, ""));
        outer
            .flat_map(|root| root_wires(root))
            .chain(foreign.map(|topic| (Kind::Events, topic.to_string(), false)))
            .chain(
                each.values()
                    .flatten()
                    .map(|procedure| (Kind::Calls, procedure.clone(), false)),
            )
            .chain(
                wills
                    .values()
                    .flatten()
                    .map(|topic| (Kind::Wills, topic.clone(), false)),
            )
            .collect()
    }

    /// As [`Member::reconcile`] for one who cannot wait: what must go is gone when this returns, what is missing (such
    /// as a root that another one had covered) follows.
    pub(crate) fn withdraw(&self) {
        let missing = self.prune();
        if let (false, Some(member)) = (missing.is_empty(), self.this.upgrade()) {
            let task = async move { drop(member.reconcile().await) };
            self.platform.spawn_local(task.boxed_local());
        }
    }

    /// Withdraws what is not wanted any more, at once and without waiting; answers what is missing.
    fn prune(&self) -> Vec<WireKey> {
        let wanted = if self.peer.borrow().is_some() {
            self.wanted()
        } else {
            BTreeSet::new()
        };
        let (missing, superfluous) = {
            let mut wires = self.wires.borrow_mut();
            let old = std::mem::replace(&mut wires.generation, self.generation.get());
            let made = std::mem::take(&mut wires.made);
            let is_new = old == wires.generation;
            let forgets = fault::is(Fault::UnbindForgets);
            let (kept, superfluous): (BTreeMap<_, _>, BTreeMap<_, _>) = made
                .into_iter()
                .partition(|(key, _)| is_new && (forgets || key.0 == Kind::Wills || wanted.contains(key)));
            wires.made = kept;
            let missing: Vec<WireKey> = wanted.into_iter().filter(|key| !wires.made.contains_key(key)).collect();
            (missing, superfluous)
        };
        // Outside of the borrow: dropping sends messages.
        drop(superfluous);
        missing
    }

    /// Brings registrations and subscriptions in line with what is bound: all in one go, pipelined.
    pub(crate) async fn reconcile(&self) -> Refusals {
        let _gate = self.gate.lock().await;
        let forgets_wills = self.forgets_wills();
        let missing = self.prune();
        let generation = self.generation.get();
        let mut refusals = Refusals::default();
        let Some(peer) = self.peer() else { return refusals };
        let (sender, superseded) = oneshot::channel::<()>();
        *self.superseded.borrow_mut() = Some(sender);
        // Requests are taken in order: what is made after the flush stays.
        let flush = OptionFuture::from(forgets_wills.then(|| flush_wills(&peer)));
        let requests = join_all(missing.into_iter().map(|key| {
            let peer = peer.clone();
            async move {
                let wire = self.make(&peer, &key).await;
                (key, wire)
            }
        }));
        // A peer whose link is silent may never answer: the next one must not wait for that.
        let requests = pin!(join(flush, requests));
        let Either::Left(((_, made), _)) = select(requests, superseded).await else {
            return refusals;
        };
        for (key, wire) in made {
            match wire {
                Ok(wire) if generation == self.generation.get() => {
                    self.wires.borrow_mut().made.insert(key, wire);
                }
                // There is another peer by now, and whoever set it waits behind the gate to do this again.
                Ok(_) => {}
                // The link is gone: all of this happens again with the next peer.
                Err(error) if error.kind == ErrorKind::Disconnected => {}
                Err(error) => {
                    refusals.0.insert(key, error);
                }
            }
        }
        // What was wanted may have gone meanwhile.
        self.prune();
        refusals
    }

    async fn make(&self, peer: &Peer, (kind, uri, prefix): &WireKey) -> Result<Wire> {
        let policy = if *prefix {
            MatchPolicy::Prefix
        } else {
            MatchPolicy::Exact
        };
        let uri = Uri::checked(uri, Syntax::Strict, policy)?;
        let generation = self.generation.get();
        // What an earlier peer still delivers is void.
        let member = {
            let member = self.this.clone();
            move || member.upgrade().filter(|member| member.generation.get() == generation)
        };
        match kind {
            Kind::Calls => {
                let options = RegisterOptions {
                    policy,
                    ..Default::default()
                };
                let handler = Rc::new(move |invocation: Invocation, progress: Progress| {
                    let member = member();
                    let goes_on = fault::is(Fault::CancelIgnored)
                        || progress.is_wanted() && fault::is(Fault::StreamPouredForNobody);
                    async move {
                        match member {
                            Some(member) if goes_on => {
                                let platform = member.platform.clone();
                                let (sender, answer) = oneshot::channel();
                                let work = async move { drop(sender.send(member.invoked(invocation, progress).await)) };
                                platform.spawn_local(work.boxed_local());
                                answer.await.unwrap_or_else(|_| Err(nobody("")))
                            }
                            Some(member) => member.invoked(invocation, progress).await,
                            None => Err(nobody(invocation.procedure.as_str())),
                        }
                    }
                    .boxed_local()
                });
                peer.register_progressive(&uri, options, handler).await.map(Wire::Calls)
            }
            Kind::Events => {
                let options = SubscribeOptions {
                    policy,
                    resumable: !prefix && self.is_resumable(uri.as_str()),
                    ..Default::default()
                };
                let handler = Rc::new(move |event: Event| {
                    if let Some(member) = member() {
                        member.heard(event);
                    }
                });
                peer.subscribe(&uri, options, handler).await.map(Wire::Events)
            }
            Kind::Wills => {
                leave_will(peer, uri.as_str()).await;
                Ok(Wire::Will)
            }
        }
    }
}

pub(crate) fn nobody(procedure: &str) -> Error {
    Error::new(ErrorKind::NoSuchProcedure, format!("There is no call {procedure}."))
}
