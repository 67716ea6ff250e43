//! What applications do with nodes.

use std::{future::Future, rc::Rc};

use futures::{FutureExt, future::LocalBoxFuture};

use super::{
    Mirror, Mirrored, Node, NodeContext, NodeEvent, RemoteNode, StateRef, lifecycle,
    member::{Behind, Entry},
    remote::DynamicRemote,
    resolved::Destination,
    task::spawn,
};
use crate::{
    contract::Contract,
    error::{Error, ErrorKind, Result},
    path::{IntoPath, Path},
    signal::{Connection, Deliver, Handled, SignalPayload, SignalRef, closure},
    state::Watch,
};

/// The verbs of a node.
pub trait NodeExt: Node {
    /// Gives the node a place of its own and a context below `context`. Handlers of `on_node_bind` have run when this
    /// returns; if anything fails, the node is unbound again.
    ///
    /// # Errors
    /// A taken or malformed path, a node that is bound already, a refused registration, a failing handler.
    fn node_bind(self: &Rc<Self>, path: impl IntoPath, context: &NodeContext) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        let node: Rc<dyn Node> = self.clone();
        let path = path.into_path();
        async move { lifecycle::bind(node, path?, context, None).await }
    }

    /// Binds `child` below this node.
    ///
    /// # Errors
    /// As [`NodeExt::node_bind`]; also if this node is not bound, or a handler of `on_node_add` fails.
    fn node_add(&self, name: &str, child: Rc<impl Node>) -> impl Future<Output = Result<()>>
    where
        Self: Sized,
    {
        let child: Rc<dyn Node> = child;
        self.node_add_dyn(name, child)
    }

    /// As [`NodeExt::node_add`], for a node whose type is not known.
    ///
    /// # Errors
    /// As [`NodeExt::node_add`].
    fn node_add_dyn(&self, name: &str, child: Rc<dyn Node>) -> LocalBoxFuture<'static, Result<()>> {
        let place = bound(self.node_core()).and_then(|(this, path, context)| {
            if name.contains('.') {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{name} is more than one name."),
                ));
            }
            Ok((this, path.join(name)?, context))
        });
        async move {
            let (this, path, context) = place?;
            if this.node_core().phase() == super::Phase::Unbinding {
                return Err(Error::new(
                    ErrorKind::Canceled,
                    format!("The parent of {path} is being unbound."),
                ));
            }
            lifecycle::bind(child, path, &context, Some(this)).await
        }
        .boxed_local()
    }

    /// Unbinds the child of that name, and all below it.
    ///
    /// # Errors
    /// If there is no such child; else as [`NodeExt::node_unbind`].
    fn node_remove(&self, name: &str) -> LocalBoxFuture<'static, Result<()>> {
        let child = self.node_child(name);
        let missing = Error::new(ErrorKind::NotFound, format!("There is no child {name}."));
        async move { lifecycle::unbind(&child.ok_or(missing)?).await }.boxed_local()
    }

    /// Unbinds the node and all below it: children first, in-flight work is cancelled, handlers of `on_node_unbind`
    /// run. It always completes. An unbound node is left as it is.
    ///
    /// # Errors
    /// The first error of a handler, after everything is unbound.
    fn node_unbind(&self) -> LocalBoxFuture<'static, Result<()>> {
        let this = self.node_core().this();
        async move {
            match this {
                Some(this) => lifecycle::unbind(&this).await,
                None => Ok(()),
            }
        }
        .boxed_local()
    }

    /// Where the node is, while it is bound.
    fn node_path(&self) -> Option<Path> {
        self.node_core().path()
    }

    /// The last part of its path.
    fn node_name(&self) -> Option<String> {
        self.node_path().map(|path| path.name().to_owned())
    }

    /// The node's own level of context, while it is bound.
    fn node_context(&self) -> Option<NodeContext> {
        self.node_core().context()
    }

    /// The node it was added to.
    fn node_parent(&self) -> Option<Rc<dyn Node>> {
        self.node_core().parent()
    }

    /// The topmost node above it, possibly itself; `None` if it is unbound.
    fn node_root(&self) -> Option<Rc<dyn Node>> {
        let this = self.node_core().this()?;
        std::iter::successors(Some(this), |node| node.node_core().parent()).last()
    }

    /// The child of that name.
    fn node_child(&self, name: &str) -> Option<Rc<dyn Node>> {
        self.node_children()
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, child)| child)
    }

    /// All children with their names, in the order in which they were added.
    fn node_children(&self) -> Vec<(String, Rc<dyn Node>)> {
        self.node_core().children()
    }

    /// The child of that name, if it is a `T`.
    fn node_child_as<T: Node>(&self, name: &str) -> Option<Rc<T>> {
        downcast(self.node_child(name)?)
    }

    /// Resolves a query: `@x` from the base, `#x` by the context, all else is absolute.
    ///
    /// # Errors
    /// If the node is not bound, or the query leads nowhere.
    fn resolve(&self, query: &str) -> Result<Path> {
        let (_, path, context) = bound(self.node_core())?;
        Ok(path.resolve(query, Some(&context))?)
    }

    /// A typed way to call the node at a query. Whether it implements the contract is checked at first use.
    ///
    /// # Errors
    /// If this node is not bound, or the query leads nowhere.
    fn remote<C: Contract + ?Sized>(&self, query: &str) -> Result<C::Remote> {
        Ok(C::remote(remote_at(self.node_core(), query, C::FINGERPRINT)?))
    }

    /// A typed way to call this very node: to be passed to others, who call it wherever they are.
    ///
    /// # Errors
    /// If this node is not bound.
    fn node_remote<C: Contract + ?Sized>(&self) -> Result<C::Remote> {
        let (_, path, context) = bound(self.node_core())?;
        Ok(C::remote(RemoteNode::new(context, path)))
    }

    /// A way to call a node of which no contract is known, such as one in another language.
    ///
    /// # Errors
    /// If this node is not bound, or the query leads nowhere.
    fn remote_dyn(&self, query: &str) -> Result<DynamicRemote> {
        Ok(DynamicRemote::new(remote_at(self.node_core(), query, 0)?))
    }

    /// Hears a signal of the node at a query, wherever that is, until the handle is dropped or this node is unbound.
    /// Events of this tree are heard at once, those of others when [`Connection::ready`]. If the signal keeps events,
    /// the handler gets these first.
    ///
    /// # Errors
    /// If this node is not bound, or the query leads nowhere.
    fn connect<N: ?Sized, T: SignalPayload>(
        &self,
        signal: SignalRef<N, T>,
        query: &str,
        handler: impl Fn(T) + 'static,
    ) -> Result<Connection>
    where
        Self: Sized,
    {
        let (this, path, context) = bound(self.node_core())?;
        let place = path.resolve(query, Some(&context))?;
        let (topic, member, deliver) = (place.endpoint(signal.name), context.member(), closure(handler));
        let (connection, late) = if signal.replays {
            member.listen_late(&this, place, signal.name, deliver)
        } else {
            (member.listen(&topic, &this, false, deliver), None)
        };
        Ok(subscribed(&context, topic, connection, late))
    }

    /// Hears any topic, given as a query, from now on; events of another shape than `T` are logged and dropped.
    ///
    /// # Errors
    /// If this node is not bound, or the query leads nowhere.
    fn connect_topic<T: SignalPayload>(&self, query: &str, handler: impl Fn(T) + 'static) -> Result<Connection>
    where
        Self: Sized,
    {
        let (this, path, context) = bound(self.node_core())?;
        let topic = path.resolve(query, Some(&context))?.to_string();
        let connection = context.member().listen(&topic, &this, false, closure(handler));
        Ok(subscribed(&context, topic, connection, None))
    }

    /// Holds a copy of a marked field of the node at a query, wherever that is, and keeps it up to date.
    ///
    /// # Errors
    /// If this node is not bound, or the query leads nowhere.
    fn mirror<N: ?Sized, T: Mirrored>(&self, state: StateRef<N, T>, query: &str) -> Result<Mirror<T>> {
        self.mirror_named(query, state.name)
    }

    /// As [`NodeExt::mirror`], for a field by name; one of another type than `T` is [`MirrorStatus::Lost`].
    ///
    /// [`MirrorStatus::Lost`]: crate::state::MirrorStatus::Lost
    ///
    /// # Errors
    /// As [`NodeExt::mirror`].
    fn mirror_named<T: Mirrored>(&self, query: &str, field: &str) -> Result<Mirror<T>> {
        let (this, path, context) = bound(self.node_core())?;
        let owner = path.resolve(query, Some(&context))?;
        Ok(Mirror::new(&this, context, owner, field))
    }

    /// Hears a topic as [`Self::connect_topic`] does, in a session that may be slow: `None` stands for events that were
    /// left out because they were not read in time. The handler then asks whoever publishes for what it has missed.
    ///
    /// # Errors
    /// As [`Self::connect_topic`].
    fn connect_topic_resumable<T: SignalPayload>(
        &self,
        query: &str,
        handler: impl Fn(Option<T>) + 'static,
    ) -> Result<Connection>
    where
        Self: Sized,
    {
        let (this, path, context) = bound(self.node_core())?;
        let topic = path.resolve(query, Some(&context))?.to_string();
        let deliver: Deliver = Rc::new(move |parcel| {
            let event = match parcel.same::<Behind>() {
                Some(_) => None,
                None => Some(parcel.take()?),
            };
            handler(event);
            Ok(Handled::Done(Ok(())))
        });
        let connection = context.member().listen_resumable(&topic, &this, deliver);
        Ok(subscribed(&context, topic, connection, None))
    }

    /// Runs `handler` each time the node is about to be unbound, until the handle is dropped.
    fn on_unbind(self: &Rc<Self>, handler: impl Fn(NodeEvent) + 'static) -> Connection
    where
        Self: Sized,
    {
        life(self, lifecycle::Moment::Unbind, handler)
    }

    /// Runs `handler` each time the node was bound, until the handle is dropped.
    fn on_bind(self: &Rc<Self>, handler: impl Fn(NodeEvent) + 'static) -> Connection
    where
        Self: Sized,
    {
        life(self, lifecycle::Moment::Bind, handler)
    }

    /// Runs `handler` each time a child was added, until the handle is dropped.
    fn on_add(self: &Rc<Self>, handler: impl Fn(NodeEvent) + 'static) -> Connection
    where
        Self: Sized,
    {
        life(self, lifecycle::Moment::Add, handler)
    }

    /// Starts a task that ends with the node; a failure is logged. Does nothing if the node is not bound.
    fn spawn(&self, task: impl Future<Output = Result<()>> + 'static)
    where
        Self: Sized,
    {
        if let Some(this) = self.node_core().this() {
            let what = self
                .node_path()
                .map_or_else(String::new, |path| format!("a task of {path}"));
            drop(spawn(&this, &what, task.boxed_local()));
        }
    }

    /// Runs code now, and again after any state it read has changed, until the node is unbound.
    fn node_watch(&self, run: impl FnMut() + 'static)
    where
        Self: Sized,
    {
        if let Some(owner) = self.node_core().owner() {
            self.node_core().keep_watch(owner.with(|| Watch::new(run)));
        }
    }
}

impl<N: Node + ?Sized> NodeExt for N {}

/// The node as a `T`, if it is one.
#[must_use]
pub fn downcast<T: Node>(node: Rc<dyn Node>) -> Option<Rc<T>> {
    let any: Rc<dyn std::any::Any> = node;
    any.downcast().ok()
}

fn life<N: Node>(node: &Rc<N>, moment: lifecycle::Moment, handler: impl Fn(NodeEvent) + 'static) -> Connection {
    let deliver = crate::signal::life_closure(handler);
    let id = lifecycle::add_life(&**node, moment, deliver);
    let node = Rc::downgrade(node);
    Connection::new(move || {
        if let Some(node) = node.upgrade() {
            let life = &node.node_core().life;
            let handlers = std::mem::take(&mut *life.borrow_mut());
            let (gone, kept): (Vec<_>, Vec<_>) = handlers.into_iter().partition(|(_, known, _)| *known == id);
            *life.borrow_mut() = kept;
            drop(gone);
        }
    })
}

/// Subscribing starts now, whether or not anybody waits for it.
fn subscribed(context: &NodeContext, topic: String, connection: Connection, late: Option<Rc<Entry>>) -> Connection {
    let member = context.member().clone();
    let subscribed = super::detached(
        context,
        async move { member.reconcile_late(late).await.of_topic(&topic) },
    );
    connection.with_ready(subscribed.map(|result| result.unwrap_or(Ok(()))).boxed_local())
}

fn bound(core: &super::NodeCore) -> Result<(Rc<dyn Node>, Path, NodeContext)> {
    match (core.this(), core.path(), core.context()) {
        (Some(this), Some(path), Some(context)) => Ok((this, path, context)),
        (None, ..) | (_, None, _) | (.., None) => Err(unbound()),
    }
}

#[inline]
fn remote_at(core: &super::NodeCore, query: &str, contract: u64) -> Result<RemoteNode> {
    let destination = match core.resolved(query, contract) {
        Some(destination) => destination,
        None => resolve_at(core, query, contract)?,
    };
    Ok(RemoteNode::to(destination))
}

fn resolve_at(core: &super::NodeCore, query: &str, contract: u64) -> Result<Rc<Destination>> {
    let place = core.place().ok_or_else(unbound)?;
    let meanings = place.context.member().meanings();
    let path = place.path.resolve(query, Some(&place.context))?;
    let destination = Rc::new(Destination::new(place.context.clone(), path));
    place.resolved.keep(query, contract, meanings, &destination);
    Ok(destination)
}

fn unbound() -> Error {
    Error::new(ErrorKind::Refused, "The node is not bound.")
}
