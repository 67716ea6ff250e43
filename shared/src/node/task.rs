//! The one way in which a node's code runs: inside its owner, ended by unbind, and with panics kept from the tree.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::{poll_fn, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures::{FutureExt, channel::oneshot, future::LocalBoxFuture};
use reactive_graph::owner::Owner;

use super::{
    Node, Place,
    frame::{Frame, Who, inside_context},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::random_hex,
    state::untracked,
};

/// What a node has running.
#[derive(Default)]
pub(crate) struct Tasks {
    running: RefCell<(u64, BTreeMap<u64, Rc<End>>)>,
}

/// How the end of a node reaches what it has running.
#[derive(Default)]
struct End {
    has_come: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

impl Tasks {
    fn enter(&self, node: &Rc<dyn Node>) -> Entry {
        let end = Rc::<End>::default();
        let mut running = self.running.borrow_mut();
        running.0 += 1;
        let id = running.0;
        running.1.insert(id, end.clone());
        Entry {
            node: node.clone(),
            id,
            end,
        }
    }

    fn leave(&self, id: u64) {
        self.running.borrow_mut().1.remove(&id);
    }

    /// Ends everything.
    pub(crate) fn abort(&self) {
        let running = std::mem::take(&mut self.running.borrow_mut().1);
        for end in running.into_values() {
            end.has_come.set(true);
            if let Some(waker) = end.waker.take() {
                waker.wake();
            }
        }
    }

    /// How much is running. A call counts from when it first waits.
    pub(crate) fn len(&self) -> usize {
        self.running.borrow().1.len()
    }
}

/// Runs code of a node inside its owner; what it reads is not tracked.
#[inline]
fn guarded<R>(owner: &Owner, run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    // The panic is caught in here: one that passed `with` would leave this owner to whoever runs next.
    owner.with(|| untracked(|| catch_unwind(AssertUnwindSafe(run))))
}

/// A piece of work of a node: what a task and a call have in common.
pub(crate) struct Work {
    place: Rc<Place>,
    frame: Frame,
    /// Its entry in the list of what the node has running.
    entry: Option<Entry>,
}

struct Entry {
    node: Rc<dyn Node>,
    id: u64,
    end: Rc<End>,
}

impl Work {
    /// A call by `who`, or else by the tree itself. It counts as running from when it first waits.
    ///
    /// # Errors
    /// If the node is not bound.
    #[inline]
    pub(crate) fn call(node: &Rc<dyn Node>, who: Option<Who>) -> Result<Self> {
        let place = node.node_core().place().ok_or_else(gone)?;
        let who = who.unwrap_or_else(|| place.context.member().who());
        Ok(Self::new(place, Some(who)))
    }

    /// A task. It counts as running from now on.
    fn task(node: &Rc<dyn Node>) -> Result<Self> {
        let place = node.node_core().place().ok_or_else(gone)?;
        let mut work = Self::new(place, None);
        work.entry = Some(node.node_core().tasks.enter(node));
        Ok(work)
    }

    #[inline]
    fn new(place: Rc<Place>, who: Option<Who>) -> Self {
        Self {
            frame: Frame::new(place.context.clone(), who),
            place,
            entry: None,
        }
    }

    /// Where it runs.
    pub(super) const fn place(&self) -> &Rc<Place> {
        &self.place
    }

    /// Whose call it is.
    pub(super) const fn who(&self) -> Option<&Who> {
        self.frame.who()
    }

    /// Polls on until the work, or its node, ends. `what` names it for the log.
    #[inline]
    pub(crate) fn poll<T>(
        &mut self,
        node: &Rc<dyn Node>,
        context: &mut Context<'_>,
        what: impl FnOnce(&Place) -> String,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let Self { place, frame, entry } = self;
        if entry.as_ref().is_some_and(|entry| entry.end.has_come.get()) {
            return Poll::Ready(Err(gone()));
        }
        let Some(owner) = place.owner.get() else {
            return Poll::Ready(Err(gone()));
        };
        // Written where it is found: handed out through all those layers, it would be copied by each.
        let mut polled = Poll::Pending;
        let run = || polled = poll(context);
        if let Err(panic) = frame.run(|| guarded(owner, run)) {
            return Poll::Ready(Err(incident(node, &what(place), &*panic)));
        }
        if polled.is_pending() {
            let entry = entry.get_or_insert_with(|| node.node_core().tasks.enter(node));
            entry.end.waker.set(Some(context.waker().clone()));
        }
        polled
    }
}

/// Takes the work off its node's list however it ends, also when whoever waits for it drops it.
impl Drop for Work {
    fn drop(&mut self) {
        if let Some(Entry { node, id, .. }) = &self.entry {
            node.node_core().tasks.leave(*id);
        }
    }
}

/// Wraps a task of a node. It starts counting as running at once, not at its first poll.
pub(crate) fn inside<T: 'static>(
    node: &Rc<dyn Node>,
    what: &str,
    mut future: LocalBoxFuture<'static, Result<T>>,
) -> LocalBoxFuture<'static, Result<T>> {
    let mut work = match Work::task(node) {
        Ok(work) => work,
        Err(error) => return ready(Err(error)).boxed_local(),
    };
    let (node, what) = (node.clone(), what.to_owned());
    poll_fn(move |context| {
        work.poll(
            &node,
            context,
            |_place| what.clone(),
            |context| future.as_mut().poll(context),
        )
    })
    .boxed_local()
}

/// Runs synchronous code of a node with the same care.
pub(crate) fn inside_now<T>(node: &Rc<dyn Node>, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let place = node.node_core().place().ok_or_else(gone)?;
    let owner = place.owner.get().ok_or_else(gone)?;
    inside_context(&place.context, || guarded(owner, run)).unwrap_or_else(|panic| Err(incident(node, what, &*panic)))
}

/// Starts a task of a node. The receiver learns how it ended.
pub(crate) fn spawn(
    node: &Rc<dyn Node>,
    what: &str,
    future: LocalBoxFuture<'static, Result<()>>,
) -> oneshot::Receiver<Result<()>> {
    let (sender, receiver) = oneshot::channel();
    let Some(context) = node.node_core().context() else {
        drop(sender.send(Err(gone())));
        return receiver;
    };
    let task = inside(node, what, future);
    let what = what.to_owned();
    context.platform().spawn_local(
        async move {
            let result = task.await;
            if let Err(error) = &result
                && error.kind != ErrorKind::Canceled
            {
                tracing::warn!(what, %error, "a task of a node failed");
            }
            drop(sender.send(result));
        }
        .boxed_local(),
    );
    receiver
}

#[cold]
fn gone() -> Error {
    Error::new(ErrorKind::Canceled, "The node was unbound.")
}

/// Logs a panic under an id, and makes the error that tells only the id.
fn incident(node: &Rc<dyn Node>, what: &str, panic: &(dyn Any + Send)) -> Error {
    let id = node
        .node_core()
        .context()
        .map_or_else(String::new, |context| random_hex(&*context.platform(), 6));
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(incident = id, what, panic = text, "a node panicked");
    Error::new(ErrorKind::Internal, "Something went wrong inside.").with_incident(id)
}
