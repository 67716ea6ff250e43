//! The one way in which a node's code runs: inside its owner, ended by unbind, and with panics kept from the tree.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    future::poll_fn,
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
    fn enter(&self) -> (u64, Rc<End>) {
        let end = Rc::<End>::default();
        let mut running = self.running.borrow_mut();
        running.0 += 1;
        let id = running.0;
        running.1.insert(id, end.clone());
        (id, end)
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
fn guarded<R>(owner: &Owner, run: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    // The panic is caught in here: one that passed `with` would leave this owner to whoever runs next.
    owner.with(|| untracked(|| catch_unwind(AssertUnwindSafe(run))))
}

/// A piece of work of a node: what a task and a call have in common.
pub(crate) struct Work {
    node: Rc<dyn Node>,
    place: Option<Rc<Place>>,
    frame: Frame,
    /// Its entry in the list of what the node has running.
    entry: Option<(u64, Rc<End>)>,
}

impl Work {
    /// It counts as running from when it first waits. `who` is whose call it is, if it is one.
    pub(crate) fn new(node: Rc<dyn Node>, who: Option<Who>) -> Self {
        let place = node.node_core().place();
        let frame = Frame::new(place.as_ref().map(|place| place.context.clone()), who);
        Self {
            node,
            place,
            frame,
            entry: None,
        }
    }

    /// It counts as running from now on.
    fn started(mut self) -> Self {
        self.entry = Some(self.node.node_core().tasks.enter());
        self
    }

    /// Polls on until the work, or its node, ends. `what` names it for the log.
    pub(crate) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        what: impl FnOnce(&Place) -> String,
        poll: impl FnOnce(&Rc<dyn Node>, &Place, &mut Context<'_>) -> Poll<Result<T>>,
    ) -> Poll<Result<T>> {
        let Self {
            node,
            place,
            frame,
            entry,
        } = self;
        let is_over = entry.as_ref().is_some_and(|(_, end)| end.has_come.get());
        let place = place.as_ref().filter(|_| !is_over);
        let Some((place, owner)) = place.and_then(|place| Some((place, place.owner.get()?))) else {
            return Poll::Ready(Err(gone()));
        };
        match frame.run(|| guarded(owner, || poll(node, place, context))) {
            Ok(Poll::Pending) => {
                let (_, end) = entry.get_or_insert_with(|| node.node_core().tasks.enter());
                end.waker.set(Some(context.waker().clone()));
                Poll::Pending
            }
            Ok(ready) => ready,
            Err(panic) => Poll::Ready(Err(incident(node, &what(place), &*panic))),
        }
    }
}

/// Takes the work off its node's list however it ends, also when whoever waits for it drops it.
impl Drop for Work {
    fn drop(&mut self) {
        if let Some((id, _)) = self.entry {
            self.node.node_core().tasks.leave(id);
        }
    }
}

/// Wraps a task of a node. It starts counting as running at once, not at its first poll.
pub(crate) fn inside<T: 'static>(
    node: &Rc<dyn Node>,
    what: &str,
    mut future: LocalBoxFuture<'static, Result<T>>,
) -> LocalBoxFuture<'static, Result<T>> {
    let (mut work, what) = (Work::new(node.clone(), None).started(), what.to_owned());
    poll_fn(move |context| {
        work.poll(
            context,
            |_place| what.clone(),
            |_node, _place, context| future.as_mut().poll(context),
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
