//! Binding and unbinding: all or nothing on the way in, always to the end on the way out.
//!
//! Both run as tasks of their own, so that whoever asked for them may vanish, be it a caller that gave up or a task
//! of the very node that is unbound.

use std::{cell::OnceCell, rc::Rc};

use futures::FutureExt;
use reactive_graph::owner::Owner;

use super::{
    Node, NodeContext, NodeEvent, Phase, Place, Seat, detached,
    fault::{self, Fault},
    member::{Entry, Member},
    mirror::Sources,
    resolved::Resolved,
    task::{inside, inside_now},
};
use crate::{
    error::{Error, ErrorKind, Result},
    path::Path,
    signal::{Deliver, Handled, Parcel, Target},
};

/// The three moments of a node's life that have handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Bind,
    Add,
    Unbind,
}

/// Binds a node at a path that must be free. If anything fails, everything is as before.
pub(crate) async fn bind(
    node: Rc<dyn Node>,
    path: Path,
    context: &NodeContext,
    parent: Option<Rc<dyn Node>>,
) -> Result<()> {
    let core = node.node_core();
    if core.phase.get() != Phase::Unbound {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!("The node for {path} is bound already."),
        ));
    }
    // A root without a base is its own: `@x` means the same at the root and below it.
    let path = if path.base().is_none() { path.into_root() } else { path };
    let context = context.child();
    let member = context.member().clone();
    member.occupy(&path, &node, parent.is_none())?;
    if node.node_registers_each() {
        let methods = node.node_contracts().iter().flat_map(|contract| contract.methods);
        member.offer_each(&path, methods.map(|method| path.endpoint(method)).collect());
    }
    let epoch = core.epoch.get() + 1;
    core.epoch.set(epoch);
    core.phase.set(Phase::Binding);
    if let Some(parent) = &parent
        && let Some(seat) = parent.node_core().seat.borrow_mut().as_mut()
    {
        seat.children.push((path.name().to_owned(), node.clone()));
    }
    *core.seat.borrow_mut() = Some(Seat {
        place: Rc::new(Place {
            this: Rc::downgrade(&node),
            path: path.clone(),
            context: context.clone(),
            owner: OnceCell::new(),
            resolved: Resolved::default(),
        }),
        parent: parent.as_ref().map(Rc::downgrade),
        children: Vec::new(),
        handlers: Vec::new(),
        connections: Vec::new(),
        watches: Vec::new(),
        mirrored: None,
    });
    let outcome = detached(&context, async move {
        let result = bind_steps(&node, &path, &member, parent.as_ref(), epoch).await;
        if result.is_err() && node.node_core().epoch.get() == epoch {
            drop(unbind(&node).await);
        }
        result
    });
    outcome.await.unwrap_or_else(|_| Err(overtaken()))
}

async fn bind_steps(
    node: &Rc<dyn Node>,
    path: &Path,
    member: &Rc<Member>,
    parent: Option<&Rc<dyn Node>>,
    epoch: u64,
) -> Result<()> {
    let core = node.node_core();
    let still = || {
        if core.epoch.get() == epoch && core.phase.get() == Phase::Binding {
            Ok(())
        } else {
            Err(overtaken())
        }
    };
    still()?;
    // This runs in a fresh task, where no owner is current: a root's owner has no parent by accident.
    let owner = parent
        .and_then(|parent| parent.node_core().owner())
        .map_or_else(Owner::new, |owner| owner.child());
    if let Some(place) = core.place() {
        place.owner.get_or_init(|| owner.clone());
    }
    let sources = core
        .context()
        .and_then(|context| owner.with(|| Sources::watch(node, path, &context)));
    if let Some(seat) = core.seat.borrow_mut().as_mut() {
        seat.mirrored = sources;
    }
    for (name, port) in node.node_signals() {
        port.attach(node, path.endpoint(name));
    }
    let (topics, late) = connect_handlers(node, path, member)?;
    let refusals = member.reconcile().await;
    if parent.is_none() {
        refusals.of_root(path)?;
    }
    topics.iter().try_for_each(|topic| refusals.of_topic(topic))?;
    still()?;
    late.into_iter().for_each(|entry| drop(member.ask(entry)));
    let event = NodeEvent {
        node: node.clone(),
        path: path.clone(),
        parent: parent.cloned(),
    };
    run_moment(node, Moment::Bind, &event, true).await?;
    still()?;
    core.phase.set(Phase::Bound);
    if let (Some(sources), Some(context)) = (core.mirrored(), core.context()) {
        sources.announce(&context);
    }
    if let Some(parent) = parent {
        run_moment(parent, Moment::Add, &event, true).await?;
    }
    Ok(())
}

/// Connects the handlers that the node's type declares; answers the topics they are at, and who wants to know the past
/// of a signal elsewhere.
fn connect_handlers(node: &Rc<dyn Node>, path: &Path, member: &Rc<Member>) -> Result<(Vec<String>, Vec<Rc<Entry>>)> {
    let core = node.node_core();
    let context = core.context();
    let mut specs = node.clone().node_handlers();
    let (mut topics, mut late) = (Vec::new(), Vec::new());
    for spec in &specs {
        let (topic, own) = match &spec.target {
            Target::Bind | Target::Add | Target::Unbind => continue,
            Target::Own(name) => (path.endpoint(name), true),
            Target::At {
                query, signal: None, ..
            } => (path.resolve(query, context.as_ref())?.to_string(), false),
            Target::At {
                query,
                signal: Some(name),
                replays,
            } => {
                let place = path.resolve(query, context.as_ref())?;
                if *replays {
                    let (connection, entry) = member.listen_late(node, place.clone(), name, spec.deliver.clone());
                    core.keep(connection);
                    late.extend(entry);
                    topics.push(place.endpoint(name));
                    continue;
                }
                let beside = if fault::is(Fault::HandlerPathWrong) { "_" } else { "" };
                (place.endpoint(name) + beside, false)
            }
        };
        core.keep(member.listen(&topic, node, own, spec.deliver.clone()));
        topics.push(topic);
    }
    // Those of signals are connected now; what is kept is what the moments of life need.
    specs.retain(|spec| matches!(spec.target, Target::Bind | Target::Add | Target::Unbind));
    specs.shrink_to_fit();
    if let Some(seat) = core.seat.borrow_mut().as_mut() {
        seat.handlers = specs;
    }
    Ok((topics, late))
}

/// Unbinds a node and all below it. Whoever calls this while it runs waits for the same end.
pub(crate) async fn unbind(node: &Rc<dyn Node>) -> Result<()> {
    let core = node.node_core();
    let running = core.unbinding.borrow().clone();
    let unbinding = match running {
        Some(running) => running,
        None => {
            let Some(context) = core.context() else { return Ok(()) };
            core.phase.set(Phase::Unbinding);
            let outcome = detached(&context, unbind_steps(node.clone()));
            let shared = outcome.map(|result| result.unwrap_or(Ok(()))).boxed_local().shared();
            *core.unbinding.borrow_mut() = Some(shared.clone());
            shared
        }
    };
    unbinding.await
}

async fn unbind_steps(node: Rc<dyn Node>) -> Result<()> {
    let core = node.node_core();
    let mut result = Ok(());
    // A child that is just being added to this node is refused by its phase, so the list only shrinks.
    while let Some((_, child)) = core.children().into_iter().next() {
        let unbound = Box::pin(unbind(&child)).await;
        result = result.and(unbound);
        if let Some(seat) = core.seat.borrow_mut().as_mut() {
            seat.children.retain(|(_, known)| !Rc::ptr_eq(known, &child));
        }
    }
    let (path, context, parent) = (core.path(), core.context(), core.parent());
    if let Some(path) = path.clone() {
        let event = NodeEvent {
            node: node.clone(),
            path,
            parent: parent.clone(),
        };
        let notified = run_moment(&node, Moment::Unbind, &event, false).await;
        result = result.and(notified);
    }
    if let (Some(sources), Some(context)) = (core.mirrored(), core.context()) {
        sources.farewell(&context);
    }
    if !fault::is(Fault::ReplyToDead) {
        core.tasks.abort();
    }
    for (_, port) in node.node_signals() {
        port.detach();
    }
    if let (Some(path), Some(context)) = (&path, &context) {
        context.member().vacate(path);
    }
    let seat = core.seat.borrow_mut().take();
    if let Some(Seat {
        connections,
        watches,
        place,
        ..
    }) = seat
    {
        drop((connections, watches));
        if let Some(owner) = place.owner.get() {
            owner.cleanup();
        }
    }
    if let Some(parent) = parent
        && let Some(seat) = parent.node_core().seat.borrow_mut().as_mut()
    {
        seat.children.retain(|(_, known)| !Rc::ptr_eq(known, &node));
    }
    core.epoch.set(core.epoch.get() + 1);
    core.phase.set(Phase::Unbound);
    core.unbinding.borrow_mut().take();
    // Not awaited: unbinding must end even if the router never answers.
    if let Some(context) = &context {
        context.member().withdraw();
    }
    result
}

/// Runs a node's handlers of a moment, one after the other. An error ends it at once if `strict`; else all run, and
/// the first error is the result.
async fn run_moment(node: &Rc<dyn Node>, moment: Moment, event: &NodeEvent, strict: bool) -> Result<()> {
    let core = node.node_core();
    let target = |target: &Target| match target {
        Target::Bind => Some(Moment::Bind),
        Target::Add => Some(Moment::Add),
        Target::Unbind => Some(Moment::Unbind),
        Target::Own(_) | Target::At { .. } => None,
    };
    let mut handlers: Vec<Deliver> = Vec::new();
    if let Some(seat) = core.seat.borrow().as_ref() {
        let declared = seat.handlers.iter().filter(|spec| target(&spec.target) == Some(moment));
        handlers.extend(declared.map(|spec| spec.deliver.clone()));
    }
    handlers.extend(
        core.life
            .borrow()
            .iter()
            .filter(|(at, ..)| *at == moment)
            .map(|(.., deliver)| deliver.clone()),
    );
    let mut result = Ok(());
    let parcel = Parcel::local(event.clone());
    for deliver in handlers {
        let what = format!("{} {moment:?}", event.path);
        let outcome = match inside_now(node, &what, || deliver(&parcel)) {
            Ok(Handled::Done(done)) => done,
            Ok(Handled::Pending(future)) => inside(node, &what, future).await,
            Err(error) => Err(error),
        };
        if strict {
            outcome?;
        } else {
            result = result.and(outcome);
        }
    }
    result
}

/// Adds a handler of a moment at run time; answers its number.
pub(crate) fn add_life(node: &dyn Node, moment: Moment, deliver: Deliver) -> u64 {
    let core = node.node_core();
    let id = core.next_life.get();
    core.next_life.set(id + 1);
    core.life.borrow_mut().push((moment, id, deliver));
    id
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Canceled, "The node was unbound while it was being bound.")
}
