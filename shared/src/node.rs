//! Nodes: addressable objects in a tree, the same on server and browser, with calls, signals and reactive state.
//!
//! A node lives on one thread and is held by `Rc`. `#[node]` implements [`Node`]; `examples/by_hand.rs` shows what it
//! writes. The verbs are in [`NodeExt`].

use std::{
    any::Any,
    cell::{Cell, OnceCell, RefCell},
    fmt,
    future::Future,
    rc::{Rc, Weak},
};

use futures::{FutureExt, channel::oneshot, future::LocalBoxFuture, future::Shared};
use reactive_graph::owner::Owner;

pub mod call;
mod context;
mod enter;
#[doc(hidden)]
pub mod fault;
mod frame;
pub mod inspect;
pub(crate) mod lifecycle;
pub(crate) mod member;
pub(crate) mod mirror;
mod once;
pub mod pairing;
mod remote;
mod resolved;
pub mod stream;
pub(crate) mod task;
mod verbs;

pub use call::{Answer, Arguments, Reply};
pub use context::{Audience, CallWrapper, EventGuard, NodeContext};
pub use enter::CallInfo;
pub use frame::Caller;
pub use mirror::{Mirror, Mirrored, StateRef};
pub use once::AnswerTable;
pub use remote::{Callee, DynamicRemote, Here, RemoteCall, RemoteNode, Target};
pub use stream::RemoteStream;
pub use verbs::{NodeExt, downcast};

use crate::{
    contract::ContractInfo,
    error::Result,
    path::Path,
    signal::{Connection, Deliver, HandlerSpec, SignalPort},
    state::{StateEntry, Watch},
};
use mirror::Sources;
use resolved::{Destination, Resolved};
use task::Tasks;

/// What `#[node]` implements. Applications use [`NodeExt`].
pub trait Node: Any {
    /// The part that all nodes have.
    fn node_core(&self) -> &NodeCore;

    /// Name of the type, for logs and inspectors.
    fn node_type(&self) -> &'static str;

    /// Makes a call ready to run, or gives the arguments back if there is no method of that name.
    ///
    /// # Errors
    /// The arguments.
    fn node_dispatch(
        self: Rc<Self>,
        method: &str,
        arguments: Arguments,
    ) -> Result<LocalBoxFuture<'static, Result<Answer>>, Arguments>;

    /// Puts the node into `face`, an `Option<Rc<F>>`, if `F` is the face of a contract that it implements: the trait
    /// object by which callers of its own tree reach it.
    fn node_face(self: Rc<Self>, face: &mut dyn Any);

    /// The contracts that the node implements.
    fn node_contracts(&self) -> &'static [ContractInfo];

    /// Whether each call is registered by itself, for those who look into the router's registrations.
    fn node_registers_each(&self) -> bool {
        false
    }

    /// The signals that the node declares, with their names.
    fn node_signals(&self) -> Vec<(&'static str, &dyn SignalPort)>;

    /// The handlers that the node declares.
    fn node_handlers(self: Rc<Self>) -> Vec<HandlerSpec>;

    /// The node's state by name: every [`crate::state::Value`] and [`crate::state::Computed`] among its fields.
    fn node_state(&self) -> Vec<StateEntry>;
}

/// What happened to a node, for handlers of `on_node_bind`, `on_node_add` and `on_node_unbind`.
#[derive(Clone)]
pub struct NodeEvent {
    /// The node that was bound, added or is being unbound.
    pub node: Rc<dyn Node>,
    /// Its path.
    pub path: Path,
    /// Its parent, if it has one.
    pub parent: Option<Rc<dyn Node>>,
}

impl fmt::Debug for NodeEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeEvent")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// How far a node is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has no place in a tree.
    #[default]
    Unbound,
    /// It has a place and takes calls, but its `on_node_bind` handlers have not all ended.
    Binding,
    /// It is part of its tree.
    Bound,
    /// It goes: its children are being unbound, then it is.
    Unbinding,
}

/// The part that all nodes have: place, context, children, what runs. A field of every node; made by `Default`.
#[derive(Default)]
pub struct NodeCore {
    phase: Cell<Phase>,
    /// Counts binds, so that an old one notices that it is not meant any more.
    epoch: Cell<u64>,
    seat: RefCell<Option<Seat>>,
    pub(crate) tasks: Tasks,
    unbinding: RefCell<Option<Unbinding>>,
    life: RefCell<Vec<(lifecycle::Moment, u64, Deliver)>>,
    next_life: Cell<u64>,
}

type Unbinding = Shared<LocalBoxFuture<'static, Result<()>>>;

/// What a node has while it is bound.
struct Seat {
    place: Rc<Place>,
    parent: Option<Weak<dyn Node>>,
    /// In the order in which they were added.
    children: Vec<(String, Rc<dyn Node>)>,
    handlers: Vec<HandlerSpec>,
    connections: Vec<Connection>,
    watches: Vec<Watch>,
    mirrored: Option<Rc<Sources>>,
}

/// Where a node is bound. Code of the node that runs holds on to it, so it may outlive the seat.
pub(crate) struct Place {
    this: Weak<dyn Node>,
    path: Path,
    context: NodeContext,
    /// Made by the first step of binding.
    owner: OnceCell<Owner>,
    resolved: Resolved,
}

impl NodeCore {
    /// How far the node is in its life.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// How many calls and tasks of the node run. A call counts from when it first waits.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn place(&self) -> Option<Rc<Place>> {
        self.seat.borrow().as_ref().map(|seat| seat.place.clone())
    }

    /// What a query of this node was found to lead to, if that is still so.
    #[inline]
    fn resolved(&self, query: &str, contract: u64) -> Option<Rc<Destination>> {
        let seat = self.seat.borrow();
        let place = &seat.as_ref()?.place;
        place
            .resolved
            .find(query, contract, || place.context.member().meanings())
    }

    pub(crate) fn path(&self) -> Option<Path> {
        self.seat.borrow().as_ref().map(|seat| seat.place.path.clone())
    }

    pub(crate) fn context(&self) -> Option<NodeContext> {
        self.seat.borrow().as_ref().map(|seat| seat.place.context.clone())
    }

    pub(crate) fn owner(&self) -> Option<Owner> {
        self.seat
            .borrow()
            .as_ref()
            .and_then(|seat| seat.place.owner.get().cloned())
    }

    pub(crate) fn this(&self) -> Option<Rc<dyn Node>> {
        self.seat.borrow().as_ref().and_then(|seat| seat.place.this.upgrade())
    }

    pub(crate) fn parent(&self) -> Option<Rc<dyn Node>> {
        self.seat
            .borrow()
            .as_ref()
            .and_then(|seat| seat.parent.as_ref()?.upgrade())
    }

    pub(crate) fn children(&self) -> Vec<(String, Rc<dyn Node>)> {
        self.seat
            .borrow()
            .as_ref()
            .map(|seat| seat.children.clone())
            .unwrap_or_default()
    }

    /// Keeps a connection until the node is unbound. An unbound node drops it at once.
    pub(crate) fn keep(&self, connection: Connection) {
        if let Some(seat) = self.seat.borrow_mut().as_mut() {
            seat.connections.push(connection);
        }
    }

    /// The fields that other nodes may show, if there are any.
    pub(crate) fn mirrored(&self) -> Option<Rc<Sources>> {
        self.seat.borrow().as_ref()?.mirrored.clone()
    }

    pub(crate) fn keep_watch(&self, watch: Watch) {
        if let Some(seat) = self.seat.borrow_mut().as_mut() {
            seat.watches.push(watch);
        }
    }
}

impl fmt::Debug for NodeCore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeCore")
            .field("phase", &self.phase.get())
            .field("path", &self.path())
            .field("running", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for dyn Node {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({:?})", self.node_type(), self.node_core())
    }
}

/// Runs a future as a task of its own and waits for it: it goes on when the one who waits is gone.
pub(crate) fn detached<T: 'static>(
    context: &NodeContext,
    future: impl Future<Output = T> + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    context
        .platform()
        .spawn_local(future.map(|result| drop(sender.send(result))).boxed_local());
    receiver
}
