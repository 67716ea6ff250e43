//! What a node inherits from above: a live chain of contexts with the session, references, typed values and rules.

use std::{
    any::{Any, TypeId},
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    rc::Rc,
    time::Duration,
};

use super::{enter::CallInfo, member::Member};
use crate::{
    contract::Running,
    error::Result,
    path::{Path, PathResolver},
    platform::PlatformRef,
    state::init_executor,
    wamp::peer::Peer,
};

/// A rule around calls of the nodes below a context: gets what is called by whom, and the call itself, which runs when
/// awaited and not at all if it is dropped.
pub type CallWrapper = Rc<dyn Fn(Rc<CallInfo>, Running) -> Running>;

/// A rule before an event leaves, or reaches, the nodes below a context: gets the topic; an error stops the event.
pub type EventGuard = Rc<dyn Fn(&str) -> Result<()>>;

/// Values that nodes inherit. Cheap to clone; clones are the same level.
///
/// Looking up walks from a level to the root each time, so what an ancestor gets later is seen at once. What is set on
/// a level shadows its ancestors; what is hidden is missing from there down.
#[derive(Clone)]
pub struct NodeContext(Rc<Level>);

/// Who may hear the signals of nodes.
///
/// A publisher does not learn from a WAMP broker whether anybody listens, so a tree that has joined a realm publishes
/// each notification: one message to the router, none further if nobody subscribed. Where it is known that only the
/// tree itself listens, saying so saves that message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody whom the router lets subscribe.
    #[default]
    Realm,
    /// Nodes of the same tree only.
    Tree,
}

struct Level {
    parent: Option<NodeContext>,
    member: Rc<Member>,
    own: RefCell<Own>,
}

#[derive(Default)]
struct Own {
    references: BTreeMap<String, Option<Path>>,
    values: BTreeMap<TypeId, Option<Rc<dyn Any>>>,
    resolvers: Vec<Rc<dyn PathResolver>>,
    call_wrappers: Vec<CallWrapper>,
    publication_guards: Vec<EventGuard>,
    event_guards: Vec<EventGuard>,
    timeout: Option<Option<Duration>>,
    audience: Option<Audience>,
}

impl NodeContext {
    /// A chain of its own. Nodes bound below it call each other directly, and everybody else through `peer`.
    #[must_use]
    pub fn root(platform: PlatformRef, peer: Option<Peer>) -> Self {
        init_executor(&platform);
        let member = Member::new(platform, peer);
        Self(Rc::new(Level {
            parent: None,
            member,
            own: RefCell::default(),
        }))
    }

    /// A level below this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Rc::new(Level {
            parent: Some(self.clone()),
            member: self.0.member.clone(),
            own: RefCell::default(),
        }))
    }

    pub(crate) fn member(&self) -> &Rc<Member> {
        &self.0.member
    }

    /// Spawning, time and randomness.
    #[must_use]
    pub fn platform(&self) -> PlatformRef {
        self.0.member.platform().clone()
    }

    /// The way to other trees, if there is one now.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.0.member.peer()
    }

    /// Gives the whole chain another way to other trees, or none. Roots and connections are registered anew with it.
    ///
    /// # Errors
    /// If the other side refuses a registration or subscription; the others are made nevertheless.
    pub async fn set_peer(&self, peer: Option<Peer>) -> Result<()> {
        self.0.member.set_peer(peer).await
    }

    /// How many nodes, roots, topics with handlers, and registrations with subscriptions this chain has, for tests and
    /// metrics.
    #[must_use]
    pub fn records(&self) -> [usize; 4] {
        self.0.member.records()
    }

    /// Unbinds all nodes that were bound with this chain, collecting errors.
    ///
    /// # Errors
    /// The first one, after everything is unbound.
    pub async fn shutdown(&self) -> Result<()> {
        let mut result = Ok(());
        for root in self.0.member.roots() {
            let unbound = super::lifecycle::unbind(&root).await;
            result = result.and(unbound);
        }
        result
    }

    /// Makes `#name` stand for a path, from this level down.
    pub fn set_reference(&self, name: impl Into<String>, path: Path) {
        self.refer(name.into(), Some(path));
    }

    /// Makes `#name` unknown from this level down, whatever ancestors say.
    pub fn hide_reference(&self, name: impl Into<String>) {
        self.refer(name.into(), None);
    }

    /// Takes this level's own word on `#name` back; the ancestors' shows again.
    pub fn remove_reference(&self, name: &str) {
        self.0.own.borrow_mut().references.remove(name);
        self.0.member.change_meanings();
    }

    fn refer(&self, name: String, path: Option<Path>) {
        self.0.own.borrow_mut().references.insert(name, path);
        self.0.member.change_meanings();
    }

    /// What `#name` stands for.
    #[must_use]
    pub fn reference(&self, name: &str) -> Option<Path> {
        self.chain()
            .find_map(|level| level.0.own.borrow().references.get(name).cloned())
            .flatten()
    }

    /// Puts a value in, one per type and level; shadows the ancestors' value of the type.
    pub fn insert<T: 'static>(&self, value: T) {
        self.put::<T>(Some(Some(Rc::new(value))));
    }

    /// Hides the ancestors' value of a type from this level down.
    pub fn hide<T: 'static>(&self) {
        self.put::<T>(Some(None));
    }

    /// Takes this level's own value of a type back; the ancestors' shows again.
    pub fn remove<T: 'static>(&self) {
        self.put::<T>(None);
    }

    fn put<T: 'static>(&self, value: Option<Option<Rc<dyn Any>>>) {
        let key = TypeId::of::<T>();
        let old = {
            let values = &mut self.0.own.borrow_mut().values;
            match value {
                Some(value) => values.insert(key, value),
                None => values.remove(&key),
            }
        };
        // Dropping a value may run code of the application: only when nothing is borrowed.
        drop(old);
    }

    /// The nearest value of a type.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<Rc<T>> {
        let found = self
            .chain()
            .find_map(|level| level.0.own.borrow().values.get(&TypeId::of::<T>()).cloned())
            .flatten();
        found.and_then(|value| value.downcast().ok())
    }

    /// Adds a path resolver; inner levels are asked first.
    pub fn add_resolver(&self, resolver: Rc<dyn PathResolver>) {
        self.0.own.borrow_mut().resolvers.push(resolver);
        self.0.member.change_meanings();
    }

    pub(crate) fn has_resolvers(&self) -> bool {
        self.chain().any(|level| !level.0.own.borrow().resolvers.is_empty())
    }

    /// All resolvers, innermost first.
    #[must_use]
    pub fn resolvers(&self) -> Vec<Rc<dyn PathResolver>> {
        let mut resolvers = Vec::new();
        for level in self.chain() {
            resolvers.extend(level.0.own.borrow().resolvers.iter().cloned());
        }
        resolvers
    }

    /// Adds a rule around calls of nodes from this level down. Outer rules run before, and around, inner ones.
    pub fn wrap_calls(&self, wrapper: CallWrapper) {
        self.0.own.borrow_mut().call_wrappers.push(wrapper);
        self.0.member.expect_wrappers();
    }

    /// Adds a rule before events that nodes from this level down publish.
    pub fn guard_publications(&self, guard: EventGuard) {
        self.0.own.borrow_mut().publication_guards.push(guard);
    }

    /// Adds a rule before events reach handlers of nodes from this level down.
    pub fn guard_events(&self, guard: EventGuard) {
        self.0.own.borrow_mut().event_guards.push(guard);
    }

    /// How long calls made from this level down wait for an answer; `None` = for ever.
    pub fn set_call_timeout(&self, timeout: Option<Duration>) {
        self.0.own.borrow_mut().timeout = Some(timeout);
    }

    /// Says who may hear the signals of nodes from this level down.
    pub fn set_audience(&self, audience: Audience) {
        self.0.own.borrow_mut().audience = Some(audience);
    }

    /// Who may hear signals here.
    #[must_use]
    pub fn audience(&self) -> Audience {
        self.chain()
            .find_map(|level| level.0.own.borrow().audience)
            .unwrap_or_default()
    }

    /// How long calls wait for an answer here.
    #[must_use]
    pub fn call_timeout(&self) -> Option<Duration> {
        self.chain()
            .find_map(|level| level.0.own.borrow().timeout)
            .unwrap_or(Some(super::call::DEFAULT_TIMEOUT))
    }

    /// Puts the rules of this level and its ancestors around a call, the innermost first.
    pub(crate) fn wrap(&self, info: &Rc<CallInfo>, mut call: Running) -> Running {
        for level in self.chain() {
            // Nothing stays borrowed while a rule runs: it may add others.
            let rules = level.0.own.borrow().call_wrappers.len();
            for index in (0..rules).rev() {
                let wrapper = level.0.own.borrow().call_wrappers.get(index).cloned();
                if let Some(wrapper) = wrapper {
                    call = wrapper(info.clone(), call);
                }
            }
        }
        call
    }

    pub(crate) fn may_publish(&self, topic: &str) -> Result<()> {
        self.check(topic, |own| &own.publication_guards)
    }

    pub(crate) fn may_hear(&self, topic: &str) -> Result<()> {
        self.check(topic, |own| &own.event_guards)
    }

    /// Asks the outermost guard first.
    fn check(&self, topic: &str, guards: impl Fn(&Own) -> &Vec<EventGuard>) -> Result<()> {
        let mut all: Vec<EventGuard> = Vec::new();
        for level in self.chain() {
            all.extend(guards(&level.0.own.borrow()).iter().rev().cloned());
        }
        all.iter().rev().try_for_each(|guard| guard(topic))
    }

    /// This level, its parent, and so on.
    fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |level| level.0.parent.as_ref())
    }
}

impl fmt::Debug for NodeContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeContext")
            .field("depth", &self.chain().count())
            .finish_non_exhaustive()
    }
}
