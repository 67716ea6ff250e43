//! The one way in which a node's code runs: inside its owner, ended by unbind, and with panics kept from the tree.

use std::{any::Any, cell::RefCell, collections::BTreeMap, panic::AssertUnwindSafe, rc::Rc};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{AbortHandle, Abortable, LocalBoxFuture},
};
use reactive_graph::{computed::ScopedFuture, owner::Owner};

use super::{Node, remote::inside_context};
use crate::{
    error::{Error, ErrorKind, Result},
    platform::random_hex,
    state::untracked,
};

/// What a node has running.
#[derive(Default)]
pub(crate) struct Tasks {
    running: RefCell<(u64, BTreeMap<u64, AbortHandle>)>,
}

impl Tasks {
    fn enter(&self, handle: AbortHandle) -> u64 {
        let mut running = self.running.borrow_mut();
        running.0 += 1;
        let id = running.0;
        running.1.insert(id, handle);
        id
    }

    fn leave(&self, id: u64) {
        self.running.borrow_mut().1.remove(&id);
    }

    /// Ends everything.
    pub(crate) fn abort(&self) {
        let running = std::mem::take(&mut self.running.borrow_mut().1);
        running.values().for_each(AbortHandle::abort);
    }

    /// How much is running.
    pub(crate) fn len(&self) -> usize {
        self.running.borrow().1.len()
    }
}

/// Takes a task off its node's list however it ends, also when its caller drops it.
struct Ticket {
    node: Rc<dyn Node>,
    id: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.node.node_core().tasks.leave(self.id);
    }
}

/// Wraps a future of a node. It starts counting as running at once, not at its first poll.
pub(crate) fn inside<T: 'static>(
    node: &Rc<dyn Node>,
    what: &str,
    future: LocalBoxFuture<'static, Result<T>>,
) -> LocalBoxFuture<'static, Result<T>> {
    let Some(owner) = node.node_core().owner() else {
        return futures::future::ready(Err(gone())).boxed_local();
    };
    let (handle, registration) = AbortHandle::new_pair();
    let id = node.node_core().tasks.enter(handle);
    let ticket = Ticket { node: node.clone(), id };
    let what = what.to_owned();
    let scoped = ScopedFuture {
        owner,
        observer: None,
        fut: future,
    };
    let guarded = Abortable::new(AssertUnwindSafe(scoped).catch_unwind(), registration);
    async move {
        let outcome = guarded.await;
        match outcome {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(incident(&ticket.node, &what, &*panic)),
            Err(_aborted) => Err(gone()),
        }
    }
    .boxed_local()
}

/// Runs synchronous code of a node with the same care.
pub(crate) fn inside_now<T>(node: &Rc<dyn Node>, what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let owner: Owner = node.node_core().owner().ok_or_else(gone)?;
    let context = node.node_core().context().ok_or_else(gone)?;
    let run = AssertUnwindSafe(|| inside_context(&context, || owner.with(|| untracked(run))));
    std::panic::catch_unwind(run).unwrap_or_else(|panic| Err(incident(node, what, &*panic)))
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
