//! Mirrored state: what an owner tells about its marked fields, and the copy that another node holds of one of them.

use std::{
    cell::{Cell, RefCell},
    fmt,
    marker::PhantomData,
    rc::{Rc, Weak},
    time::Duration,
};

use futures::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Audience, Node, NodeContext, RemoteNode, call::decode_first, detached, frame::inside_context,
    member::builtin::STATE, task::spawn,
};
use crate::{
    error::{Error, ErrorKind, Result},
    path::Path,
    signal::{Connection, Parcel, closure},
    state::{
        StateCell, Value, Watch,
        mirror::{Input, MirrorStatus, Output, Replica, Update},
        untracked,
    },
    wamp::{codec::CodecId, payload::Payload},
};

/// How long a mirror waits before it asks an owner again that did not answer in time.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of a mirrored field with the types of its node and value: what `#[node]` makes a constant of.
pub struct StateRef<N: ?Sized, T> {
    /// Name of the field.
    pub name: &'static str,
    types: PhantomData<fn(&N) -> T>,
}

impl<N: ?Sized, T> StateRef<N, T> {
    /// For generated code, its hand-written twins, and for contracts that speak of a field.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            types: PhantomData,
        }
    }
}

impl<N: ?Sized, T> Clone for StateRef<N, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<N: ?Sized, T> Copy for StateRef<N, T> {}

impl<N: ?Sized, T> fmt::Debug for StateRef<N, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("StateRef").field(&self.name).finish()
    }
}

/// What a mirror may hold.
pub trait Mirrored: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Mirrored for T {}

/// A marked field of a bound node.
pub(crate) struct Source {
    name: &'static str,
    topic: String,
    epoch: String,
    version: Cell<u64>,
    cell: Rc<dyn StateCell>,
}

impl Source {
    /// The current version as the owner answers it.
    fn update(&self, codec: CodecId) -> Result<Payload> {
        self.cell.encode_update(codec, &self.epoch, self.version.get())
    }

    fn tell(&self, context: &NodeContext, encode: impl Fn(CodecId) -> Result<Payload> + 'static) {
        if context.may_publish(&self.topic).is_err() {
            return;
        }
        let (parcel, member) = (Parcel::encoded(encode), context.member());
        drop(member.fire(&self.topic, &parcel));
        if context.audience() == Audience::Realm {
            member.publish(&self.topic, &parcel);
        }
    }

    fn announce(self: &Rc<Self>, context: &NodeContext) {
        let this = self.clone();
        self.tell(context, move |codec| this.update(codec));
    }
}

/// What the router says on an owner's topics when its session is over: of no life, and no version.
pub(crate) fn last_word() -> Update<()> {
    Update(String::new(), 0, Vec::new())
}

/// The marked fields of a bound node, and what watches them.
#[derive(Default)]
pub(crate) struct Sources(Vec<(Rc<Source>, Watch)>);

impl Sources {
    /// Watches the marked fields of a node that is being bound. Must run inside its owner.
    pub(crate) fn watch(node: &Rc<dyn Node>, path: &Path, context: &NodeContext) -> Option<Rc<Self>> {
        let state = node.node_state().into_iter().filter(|entry| entry.mirrored);
        let sources = state.filter_map(|entry| {
            let source = Rc::new(Source {
                name: entry.name,
                topic: path.endpoint(entry.name),
                epoch: context.member().new_name(),
                version: Cell::new(0),
                cell: entry.cell?,
            });
            let (watched, context) = (source.clone(), context.clone());
            let watch = Watch::new(move || {
                watched.cell.track();
                watched.version.set(watched.version.get() + 1);
                // The first version is announced when the node is bound.
                if watched.version.get() > 1 {
                    untracked(|| watched.announce(&context));
                }
            });
            Some((source, watch))
        });
        let sources: Vec<_> = sources.collect();
        if context.audience() == Audience::Realm && !sources.is_empty() {
            let topics = sources.iter().map(|(source, _)| source.topic.clone());
            context.member().bequeath(path, topics.collect());
        }
        (!sources.is_empty()).then(|| Rc::new(Self(sources)))
    }

    /// Tells everybody what there is: mirrors that wait for the owner, or have missed something, ask for it then.
    pub(crate) fn announce(&self, context: &NodeContext) {
        self.0.iter().for_each(|(source, _)| source.announce(context));
    }

    /// Says that there will be no more of it.
    pub(crate) fn farewell(&self, context: &NodeContext) {
        for (source, _) in &self.0 {
            let last: Update<()> = Update(source.epoch.clone(), source.version.get(), Vec::new());
            source.tell(context, move |codec| Payload::encode(codec, &(&last,)));
        }
    }

    /// The current version of a field.
    pub(crate) fn get(&self, name: &str, codec: CodecId) -> Result<Payload> {
        let found = self.0.iter().find(|(source, _)| source.name == name);
        let missing = || Error::new(ErrorKind::NotFound, format!("There is no mirrored state {name}."));
        found.ok_or_else(missing)?.0.update(codec)
    }
}

/// A copy of a field of another node, kept up to date wherever that is, until the last clone is dropped or the node
/// that mirrors is unbound.
///
/// Each change arrives whole and numbered. After a gap, a lost link or a restart of the owner the copy asks for the
/// current state; [`Mirror::status`] says meanwhile that it is [`MirrorStatus::Loading`] or [`MirrorStatus::Lost`]. So it
/// does when the owner's session ends, however that is: the router tells, by a testament for each field. A role may
/// leave so many testaments; the end of fields beyond them shows only when the owner is back.
/// Several changes within one turn of the owner's thread arrive as one.
#[derive(Clone)]
pub struct Mirror<T: Mirrored>(Rc<Shell<T>>);

struct Shell<T> {
    this: Weak<Self>,
    node: Weak<dyn Node>,
    remote: RemoteNode,
    context: NodeContext,
    name: String,
    replica: RefCell<Replica<T>>,
    value: Value<Option<T>>,
    status: Value<MirrorStatus>,
    connection: RefCell<Option<Connection>>,
}

impl<T: Mirrored> Mirror<T> {
    pub(crate) fn new(node: &Rc<dyn Node>, context: NodeContext, owner: Path, name: &str) -> Self {
        let topic = owner.endpoint(name);
        let shell = Rc::new_cyclic(|this: &Weak<Shell<T>>| Shell {
            this: this.clone(),
            node: Rc::downgrade(node),
            remote: RemoteNode::new(context.clone(), owner),
            context: context.clone(),
            name: name.to_owned(),
            replica: RefCell::new(Replica::new()),
            value: Value::new(None),
            status: Value::default(),
            connection: RefCell::default(),
        });
        let hears = Rc::downgrade(&shell);
        let deliver = closure(move |update: Update<T>| {
            if let Some(shell) = hears.upgrade() {
                shell.input(Input::Update(update));
            }
        });
        let member = context.member();
        *shell.connection.borrow_mut() = Some(member.listen(&topic, node, false, deliver));
        member.watch_peer(shell.this.clone());
        let ends = Rc::downgrade(&shell);
        node.node_core().keep(Connection::new(move || {
            if let Some(shell) = ends.upgrade() {
                shell.end();
            }
        }));
        let (member, attached) = (member.clone(), Rc::downgrade(&shell));
        let ready = detached(&context, async move {
            member.reconcile().await;
            if let Some(shell) = attached.upgrade() {
                shell.input(Input::Attached);
            }
        });
        drop(ready);
        Self(shell)
    }

    /// A copy of the state as it was heard last; `None` before the first answer. Tracked as [`Value::get`].
    #[must_use]
    pub fn get(&self) -> Option<T> {
        self.0.value.get()
    }

    /// Looks at the state without copying it. Tracked as [`Value::get`].
    pub fn with<R>(&self, look: impl FnOnce(Option<&T>) -> R) -> R {
        self.0.value.with(|value| look(value.as_ref()))
    }

    /// What the state is worth. Tracked as [`Value::get`].
    #[must_use]
    pub fn status(&self) -> MirrorStatus {
        self.0.status.get()
    }
}

impl<T: Mirrored> Shell<T> {
    fn input(&self, input: Input<T>) {
        let outputs = self.replica.borrow_mut().handle(input);
        for output in outputs {
            match output {
                Output::Ask(number) => self.ask(number),
                Output::Show(value) => self.value.set(Some(value)),
                Output::Status(status) => self.status.set_if_new(status),
                Output::Wait => self.wait(),
            }
        }
    }

    fn task(&self, task: impl Future<Output = Option<Input<T>>> + 'static) {
        let Some(node) = self.node.upgrade() else { return };
        let this = self.this.clone();
        let task = async move {
            let input = task.await;
            if let (Some(this), Some(input)) = (this.upgrade(), input) {
                this.input(input);
            }
            Ok(())
        };
        drop(spawn(&node, "a mirror", task.boxed_local()));
    }

    fn ask(&self, number: u64) {
        let (remote, context, name) = (self.remote.clone(), self.context.clone(), self.name.clone());
        self.task(async move {
            let answer = remote.call_payload(STATE, &(name,)).await;
            let answer = answer.and_then(|answer| inside_context(&context, || decode_first(&answer)));
            Some(Input::Answer(number, answer.map_err(|error| error.kind)))
        });
    }

    fn wait(&self) {
        let sleep = self.context.platform().sleep(PATIENCE);
        self.task(sleep.map(|()| Some(Input::Waited)));
    }

    fn end(&self) {
        drop(self.connection.take());
        self.input(Input::Detached);
    }
}

/// Told when a tree gets another session, or loses the one it had.
pub(crate) trait PeerWatcher {
    /// `attached`: there is one, and subscriptions are made with it.
    fn peer_changed(&self, attached: bool);
}

impl<T: Mirrored> PeerWatcher for Shell<T> {
    fn peer_changed(&self, attached: bool) {
        // An owner in the same tree is there whatever the session does.
        if self.connection.borrow().is_some() && self.remote.here().is_none() {
            self.input(if attached { Input::Attached } else { Input::Detached });
        }
    }
}

impl<T: Mirrored + fmt::Debug> fmt::Debug for Mirror<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mirror")
            .field("value", &self.0.value)
            .field("status", &self.0.status)
            .finish_non_exhaustive()
    }
}
