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
    Node, NodeContext, Place,
    frame::{Frame, inside_context},
};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::random_hex,
    state::unobserved,
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
    owner.with(|| unobserved(|| catch_unwind(AssertUnwindSafe(run))))
}

/// Polls code of a node in its frame. `what` names it for the log.
#[inline]
pub(crate) fn poll_inside<T>(
    frame: &Frame,
    context: &mut Context<'_>,
    what: impl FnOnce(&Place) -> String,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T>>,
) -> Poll<Result<T>> {
    let Some((place, owner)) = frame.place().and_then(|place| Some((place, place.owner.get()?))) else {
        return Poll::Ready(Err(gone()));
    };
    // Handed in and out by reference: each layer that copied what was just written would wait for the writing.
    let mut polled = Poll::Pending;
    let mut run = || polled = poll(context);
    let mut run = || guarded(owner, &mut run);
    if let Err(panic) = frame.run(&mut run) {
        return Poll::Ready(Err(incident(&place.context, &what(place), &*panic)));
    }
    polled
}

/// What a node has running: a task, or a call that waits.
pub(crate) struct Work {
    frame: Frame,
    entry: Entry,
}

/// An entry in the node's list of what it has running.
struct Entry {
    node: Rc<dyn Node>,
    id: u64,
    end: Rc<End>,
}

/// Takes the work off the list however it ends, also when whoever waits for it drops it.
impl Drop for Entry {
    fn drop(&mut self) {
        self.node.node_core().tasks.leave(self.id);
    }
}

impl Work {
    fn task(node: &Rc<dyn Node>) -> Result<Self> {
        let place = node.node_core().place().ok_or_else(gone)?;
        Ok(Self {
            frame: Frame::of_node(place, None),
            entry: node.node_core().tasks.enter(node),
        })
    }

    /// A call that was polled and is not over.
    ///
    /// # Errors
    /// If the node is gone.
    pub(crate) fn call(frame: Frame, context: &Context<'_>) -> Result<Self> {
        let node = frame.place().and_then(|place| place.this.upgrade()).ok_or_else(gone)?;
        let entry = node.node_core().tasks.enter(&node);
        entry.end.waker.set(Some(context.waker().clone()));
        Ok(Self { frame, entry })
    }

    /// Polls on until the work, or its node, ends. `what` names it for the log.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        what: impl FnOnce(&Place) -> String,
        poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let end = &self.entry.end;
        if end.has_come.get() {
            return Poll::Ready(Err(gone()));
        }
        let polled = poll_inside(&self.frame, context, what, poll);
        if polled.is_pending() {
            end.waker.set(Some(context.waker().clone()));
        }
        polled
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
    let what = what.to_owned();
    poll_fn(move |context| work.poll(context, |_place| what.clone(), |context| future.as_mut().poll(context)))
        .boxed_local()
}

/// Runs synchronous code of a node with the same care.
pub(crate) fn inside_now<T>(node: &Rc<dyn Node>, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let place = node.node_core().place().ok_or_else(gone)?;
    let owner = place.owner.get().ok_or_else(gone)?;
    inside_context(&place.context, || guarded(owner, run))
        .unwrap_or_else(|panic| Err(incident(&place.context, what, &*panic)))
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
pub(super) fn gone() -> Error {
    Error::new(ErrorKind::Canceled, "The node was unbound.")
}

/// Logs a panic under an id, and makes the error that tells only the id.
#[cold]
fn incident(context: &NodeContext, what: &str, panic: &(dyn Any + Send)) -> Error {
    let id = random_hex(&*context.platform(), 6);
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(incident = id, what, panic = text, "a node panicked");
    Error::new(ErrorKind::Internal, "Something went wrong inside.").with_incident(id)
}
