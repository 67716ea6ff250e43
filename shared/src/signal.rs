//! Named events of nodes: declared on the type, typed on both ends, published under the node's path.

use std::{
    cell::RefCell,
    fmt,
    future::IntoFuture,
    marker::PhantomData,
    rc::{Rc, Weak},
};

use futures::{FutureExt, channel::oneshot, future::LocalBoxFuture};
use serde::{Serialize, de::DeserializeOwned};

mod parcel;
pub(crate) mod replay;

pub use parcel::Parcel;
pub use replay::REPLAY_LIMIT;

use crate::{
    error::{Error, Result},
    node::{
        Audience, Node, NodeEvent,
        member::Member,
        task::{inside_now, spawn},
    },
};
use replay::History;

/// What a signal may carry.
pub trait SignalPayload: Serialize + DeserializeOwned + Clone + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + 'static> SignalPayload for T {}

/// The name of a signal with the types of its node and payload: what `#[node]` makes a constant of.
pub struct SignalRef<N: ?Sized, T> {
    /// Name of the field, and last part of the topic.
    pub name: &'static str,
    pub(crate) replays: bool,
    types: PhantomData<fn(&N) -> T>,
}

impl<N: ?Sized, T> SignalRef<N, T> {
    /// For generated code and its hand-written twins.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            replays: false,
            types: PhantomData,
        }
    }

    /// The same, for a signal that is made by [`Signal::replaying`]: who connects by it asks for the past.
    #[must_use]
    pub const fn replayed(mut self) -> Self {
        self.replays = true;
        self
    }
}

impl<N: ?Sized, T> Clone for SignalRef<N, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N: ?Sized, T> Copy for SignalRef<N, T> {}

impl<N: ?Sized, T> fmt::Debug for SignalRef<N, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("SignalRef").field(&self.name).finish()
    }
}

/// How far a handler got.
pub enum Handled {
    /// It is finished.
    Done(Result<()>),
    /// It goes on as a task of its node.
    Pending(LocalBoxFuture<'static, Result<()>>),
}

impl fmt::Debug for Handled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Handled")
    }
}

/// What a synchronous handler may return: nothing, or a [`Result`] of nothing.
pub trait HandlerOutcome {
    /// As a result.
    ///
    /// # Errors
    /// The handler's.
    fn into_result(self) -> Result<()>;
}

impl HandlerOutcome for () {
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}

impl HandlerOutcome for Result<()> {
    fn into_result(self) -> Result<()> {
        self
    }
}

/// A handler without its type.
#[doc(hidden)]
pub type Deliver = Rc<dyn Fn(&Parcel) -> Result<Handled>>;

/// Which event a handler wants.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Bind,
    Add,
    Unbind,
    Own(&'static str),
    /// A path query, and the signal's name, which is part of the query in handlers by text.
    At {
        query: String,
        signal: Option<&'static str>,
        replays: bool,
    },
}

/// A handler that a type declares; made by `#[handlers]`.
pub struct HandlerSpec {
    pub(crate) target: Target,
    pub(crate) deliver: Deliver,
}

impl HandlerSpec {
    fn life<N: Node>(target: Target, node: &Rc<N>, run: fn(Rc<N>, NodeEvent) -> Handled) -> Self {
        let node = Rc::downgrade(node);
        let deliver = Rc::new(
            move |parcel: &Parcel| match (node.upgrade(), parcel.same::<NodeEvent>()) {
                (Some(node), Some(event)) => Ok(run(node, event)),
                (None, _) | (_, None) => Ok(Handled::Done(Ok(()))),
            },
        );
        Self { target, deliver }
    }

    /// A handler of the node's own `on_node_bind`: an error makes the bind fail.
    pub fn on_node_bind<N: Node>(node: &Rc<N>, run: fn(Rc<N>, NodeEvent) -> Handled) -> Self {
        Self::life(Target::Bind, node, run)
    }

    /// A handler of the node's own `on_node_add`: a child was added; an error takes it out again.
    pub fn on_node_add<N: Node>(node: &Rc<N>, run: fn(Rc<N>, NodeEvent) -> Handled) -> Self {
        Self::life(Target::Add, node, run)
    }

    /// A handler of the node's own `on_node_unbind`: children are gone, path and context are still there.
    pub fn on_node_unbind<N: Node>(node: &Rc<N>, run: fn(Rc<N>, NodeEvent) -> Handled) -> Self {
        Self::life(Target::Unbind, node, run)
    }

    /// A handler of a signal of the node itself.
    pub fn own<N: Node, P, T>(node: &Rc<N>, signal: SignalRef<N, P>, run: fn(Rc<N>, T) -> Handled) -> Self
    where
        T: SignalPayload + Takes<P>,
    {
        Self {
            target: Target::Own(signal.name),
            deliver: typed(node, run),
        }
    }

    /// A handler of a signal of the node at a path.
    pub fn at<N: Node, S: ?Sized, P, T>(
        node: &Rc<N>,
        signal: SignalRef<S, P>,
        query: &str,
        run: fn(Rc<N>, T) -> Handled,
    ) -> Self
    where
        T: SignalPayload + Takes<P>,
    {
        Self {
            target: Target::At {
                query: query.to_owned(),
                signal: Some(signal.name),
                replays: signal.replays,
            },
            deliver: typed(node, run),
        }
    }

    /// A handler by text alone; a payload of another shape is an error at run time, and nothing is replayed.
    pub fn topic<N: Node, T: SignalPayload>(node: &Rc<N>, query: &str, run: fn(Rc<N>, T) -> Handled) -> Self {
        Self {
            target: Target::At {
                query: query.to_owned(),
                signal: None,
                replays: false,
            },
            deliver: typed(node, run),
        }
    }
}

/// Stands in for `#[handlers]` on types that have none: an inherent function of the same name wins.
#[doc(hidden)]
pub trait NoHandlers {
    fn __coati_handlers(_node: &Rc<Self>) -> Vec<HandlerSpec> {
        Vec::new()
    }
}

impl<N> NoHandlers for N {}

/// What a handler may take: exactly what the signal carries.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "this handler takes `{Self}`, but the signal carries `{P}`",
    label = "should be `{P}`"
)]
pub trait Takes<P> {}

impl<P> Takes<P> for P {}

impl fmt::Debug for HandlerSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HandlerSpec")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

fn typed<N: Node, T: SignalPayload>(node: &Rc<N>, run: fn(Rc<N>, T) -> Handled) -> Deliver {
    let node = Rc::downgrade(node);
    Rc::new(move |parcel| match node.upgrade() {
        Some(node) => Ok(run(node, parcel.take()?)),
        None => Ok(Handled::Done(Ok(()))),
    })
}

pub(crate) fn closure<T: SignalPayload>(run: impl Fn(T) + 'static) -> Deliver {
    Rc::new(move |parcel| {
        run(parcel.take()?);
        Ok(Handled::Done(Ok(())))
    })
}

pub(crate) fn life_closure(run: impl Fn(NodeEvent) + 'static) -> Deliver {
    Rc::new(move |parcel| {
        if let Some(event) = parcel.same::<NodeEvent>() {
            run(event);
        }
        Ok(Handled::Done(Ok(())))
    })
}

/// A named event of a node. A field of the node, marked `#[signal]`.
pub struct Signal<T> {
    inner: Rc<Inner>,
    payload: PhantomData<fn(T) -> T>,
}

#[derive(Default)]
struct Inner {
    port: RefCell<Option<Port>>,
    direct: RefCell<(u64, Vec<(u64, Deliver)>)>,
    observers: RefCell<Vec<Observer>>,
    history: RefCell<History>,
}

type Observer = Rc<dyn Fn(Observed)>;

/// What observers of a signal are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// A handler is about to be connected to the object; so many were before.
    Connecting(usize),
    /// A handler was disconnected; so many are left.
    Disconnected(usize),
}

/// Where a bound signal is.
struct Port {
    member: Weak<Member>,
    node: Weak<dyn Node>,
    topic: String,
}

impl<T: SignalPayload> Signal<T> {
    /// A signal that keeps its last `most` events while its node is bound, at most [`REPLAY_LIMIT`]. Who connects later
    /// gets them first, each once and in order, and then what happens live. Who was connected, and has missed events
    /// because of a lost link, gets those again that came after the last one it heard. `#[signal(replay = 3)]` makes one.
    #[must_use]
    pub fn replaying(most: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                history: RefCell::new(History::new(most)),
                ..Inner::default()
            }),
            payload: PhantomData,
        }
    }

    /// Tells all handlers: those of the node itself first, then those connected to this object, then others in the
    /// tree, then, by PUBLISH, everybody else. Synchronous handlers have run when this returns; asynchronous ones have
    /// started as tasks of their nodes. Await the [`Delivery`] to learn how they ended; dropping it changes nothing.
    pub fn notify(&self, value: T) -> Delivery {
        let mut parcel = Parcel::typed(value);
        let port = self
            .inner
            .port
            .borrow()
            .as_ref()
            .and_then(|port| Some((port.member.upgrade()?, port.node.upgrade()?, port.topic.clone())));
        match port {
            Some((member, node, topic)) => {
                let context = node.node_core().context();
                if let Err(error) = context.as_ref().map_or(Ok(()), |context| context.may_publish(&topic)) {
                    return Delivery::refused(error);
                }
                if self.inner.history.borrow().is_kept() {
                    // Before the handlers run: who is connected by one of them finds this event in the past.
                    let name = self.inner.history.borrow_mut().next_name(|| member.new_name());
                    parcel = parcel.marked(name);
                    self.keep(&parcel);
                }
                let delivery = member.fire(&topic, &parcel);
                if context.is_none_or(|context| context.audience() == Audience::Realm) {
                    member.publish(&topic, &parcel);
                }
                delivery
            }
            None => {
                let mut delivery = Delivery::default();
                for deliver in self.inner.direct() {
                    delivery.add(None, "a signal's handler", deliver(&parcel));
                }
                delivery
            }
        }
    }

    /// Runs `handler` at every notification of this object, bound or not, until the handle is dropped; first, before
    /// this returns, at those that the signal keeps.
    #[must_use = "dropping the connection disconnects"]
    pub fn connect(&self, handler: impl Fn(T) + 'static) -> Connection {
        self.inner.tell(Observed::Connecting);
        let deliver = closure(handler);
        let node = self.inner.port.borrow().as_ref().and_then(|port| port.node.upgrade());
        if let Some(node) = node {
            replay::catch_up(self, |parcel| {
                let outcome = inside_now(&node, "a signal's handler", || deliver(parcel));
                Delivery::default().add(Some(&node), "a signal's handler", outcome);
            });
        }
        let id = {
            let mut direct = self.inner.direct.borrow_mut();
            direct.0 += 1;
            let id = direct.0;
            direct.1.push((id, deliver));
            id
        };
        let inner = Rc::downgrade(&self.inner);
        Connection::new(move || {
            if let Some(inner) = inner.upgrade() {
                // Dropping a handler may run code of the application: only when nothing is borrowed.
                let handlers = std::mem::take(&mut inner.direct.borrow_mut().1);
                let (gone, kept): (Vec<_>, Vec<_>) = handlers.into_iter().partition(|(known, _)| *known == id);
                inner.direct.borrow_mut().1 = kept;
                drop(gone);
                inner.tell(Observed::Disconnected);
            }
        })
    }

    /// Tells `observer` of every handler that is connected to this object or disconnected, for as long as there is the
    /// signal. Handlers that types declare do not count.
    pub fn observe(&self, observer: impl Fn(Observed) + 'static) {
        self.inner.observers.borrow_mut().push(Rc::new(observer));
    }
}

impl Inner {
    fn tell(&self, what: fn(usize) -> Observed) {
        let observed = what(self.direct.borrow().1.len());
        let observers = self.observers.borrow().clone();
        observers.iter().for_each(|observer| observer(observed));
    }

    fn direct(&self) -> Vec<Deliver> {
        self.direct
            .borrow()
            .1
            .iter()
            .map(|(_, deliver)| deliver.clone())
            .collect()
    }
}

/// A signal without its type, for the life cycle.
#[doc(hidden)]
pub trait SignalPort {
    /// The signal's node is bound: notifications go to `topic` from now on.
    fn attach(&self, node: &Rc<dyn Node>, topic: String);
    /// The node is unbound.
    fn detach(&self);
    /// Handlers connected to the object itself.
    fn direct(&self) -> Vec<Deliver>;
    /// Keeps an event for those who connect later, if the signal does that.
    fn keep(&self, parcel: &Parcel);
    /// The first event that is kept behind a position, and its own position; positions count from 1.
    fn kept_after(&self, position: u64) -> Option<(u64, Parcel)>;
}

impl<T: SignalPayload> SignalPort for Signal<T> {
    fn attach(&self, node: &Rc<dyn Node>, topic: String) {
        let member = node
            .node_core()
            .context()
            .map(|context| Rc::downgrade(context.member()));
        *self.inner.port.borrow_mut() = member.map(|member| Port {
            member,
            node: Rc::downgrade(node),
            topic,
        });
    }

    fn detach(&self) {
        self.inner.port.borrow_mut().take();
        let forgotten = self.inner.history.borrow_mut().forget();
        drop(forgotten);
    }

    fn direct(&self) -> Vec<Deliver> {
        self.inner.direct()
    }

    fn keep(&self, parcel: &Parcel) {
        // Dropping an event may run code of the application: only when nothing is borrowed.
        let forgotten = self.inner.history.borrow_mut().keep(parcel);
        drop(forgotten);
    }

    fn kept_after(&self, position: u64) -> Option<(u64, Parcel)> {
        self.inner.history.borrow().after(position)
    }
}

impl<T> Default for Signal<T> {
    fn default() -> Self {
        Self {
            inner: Rc::default(),
            payload: PhantomData,
        }
    }
}

impl<T> Clone for Signal<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            payload: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Signal<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Signal")
            .field("handlers", &self.inner.direct.borrow().1.len())
            .finish()
    }
}

/// What became of a notification. Await it for the handlers in this tree; of others nothing is known.
#[derive(Default)]
pub struct Delivery {
    failed: Option<Error>,
    pending: Vec<oneshot::Receiver<Result<()>>>,
}

impl Delivery {
    pub(crate) fn refused(error: Error) -> Self {
        Self {
            failed: Some(error),
            pending: Vec::new(),
        }
    }

    /// Takes note of a handler's outcome; what is pending becomes a task of `node`.
    pub(crate) fn add(&mut self, node: Option<&Rc<dyn Node>>, what: &str, outcome: Result<Handled>) {
        match (outcome, node) {
            (Ok(Handled::Done(Ok(()))), _) => {}
            (Ok(Handled::Pending(future)), Some(node)) => self.pending.push(spawn(node, what, future)),
            (Ok(Handled::Pending(_)), None) => {}
            (Ok(Handled::Done(Err(error))) | Err(error), _) => {
                tracing::warn!(what, %error, "a handler failed");
                self.failed.get_or_insert(error);
            }
        }
    }
}

impl IntoFuture for Delivery {
    type Output = Result<()>;
    type IntoFuture = LocalBoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            let mut result = self.failed.map_or(Ok(()), Err);
            for handler in self.pending {
                let ended = handler.await.unwrap_or(Ok(()));
                result = result.and(ended);
            }
            result
        }
        .boxed_local()
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Delivery")
            .field("pending", &self.pending.len())
            .finish_non_exhaustive()
    }
}

/// A handler that was connected at run time. Dropping it disconnects.
#[must_use = "dropping the connection disconnects"]
pub struct Connection {
    disconnect: Option<Box<dyn FnOnce()>>,
    ready: Option<LocalBoxFuture<'static, Result<()>>>,
}

impl Connection {
    pub(crate) fn new(disconnect: impl FnOnce() + 'static) -> Self {
        Self {
            disconnect: Some(Box::new(disconnect)),
            ready: None,
        }
    }

    pub(crate) fn with_ready(mut self, ready: LocalBoxFuture<'static, Result<()>>) -> Self {
        self.ready = Some(ready);
        self
    }

    /// Waits until events from other sessions arrive too.
    ///
    /// # Errors
    /// If the router refuses the subscription; the connection then hears this tree only.
    pub async fn ready(&mut self) -> Result<()> {
        match self.ready.take() {
            Some(ready) => ready.await,
            None => Ok(()),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(disconnect) = self.disconnect.take() {
            disconnect();
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connection")
    }
}
