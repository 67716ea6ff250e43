//! How a call enters a node, from its own tree or from another session: what every callee is owed, at the least cost.
//!
//! Most calls within a tree are answered when they are first polled. So nothing is made for a call that only one which
//! waits needs: a record for unbind to end it, a timer, the text of its procedure or trace.

use std::{
    borrow::Cow,
    cell::OnceCell,
    future::{Future, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::FutureExt;
use tracing::Span;

use super::{
    Node, Place,
    call::{Answer, Arguments},
    frame::{Caller, Who, current_who},
    member::{builtin, nobody},
    task::Work,
};
use crate::{contract::Running, error::Result, path::Path};

/// What is called, for wrappers.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// The node.
    pub path: Path,
    /// Name of the method.
    pub method: Cow<'static, str>,
    who: Who,
    caller: OnceCell<Caller>,
}

impl CallInfo {
    /// Who asks.
    pub fn caller(&self) -> &Caller {
        self.caller.get_or_init(|| self.who.caller())
    }
}

/// A call of a node of this tree, with all that a callee is owed: wrappers, identity, cancellation, no panic.
pub(crate) struct Entered {
    work: Work,
    method: Cow<'static, str>,
    /// Until the first poll.
    arguments: Option<Arguments>,
    /// From then on.
    running: Option<Running>,
    /// Whatever is logged on behalf of the call, down to its statements, carries its trace.
    span: Span,
}

impl Entered {
    pub(crate) fn new(node: Rc<dyn Node>, method: Cow<'static, str>, arguments: Arguments, who: Who) -> Self {
        let span = tracing::info_span!(
            "call",
            procedure = node.node_core().path().map(|path| path.endpoint(&method)),
            trace = who.trace().map(tracing::field::display)
        );
        Self {
            work: Work::new(node, Some(who)),
            method,
            arguments: Some(arguments),
            running: None,
            span,
        }
    }
}

impl Future for Entered {
    type Output = Result<Answer>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Answer>> {
        let Self {
            work,
            method,
            arguments,
            running,
            span,
        } = &mut *self;
        let poll = |node: &Rc<dyn Node>, place: &Place, context: &mut Context<'_>| {
            let _span = span.enter();
            let running = running.get_or_insert_with(|| match arguments.take() {
                Some(arguments) => begin(node, place, method.clone(), arguments),
                None => ready(Err(nobody(method))).boxed_local(),
            });
            running.as_mut().poll(context)
        };
        work.poll(context, |place| place.path.endpoint(method), poll)
    }
}

/// Starts the callee's code, or the outermost of the rules around it. Runs as a part of the callee already.
fn begin(node: &Rc<dyn Node>, place: &Place, method: Cow<'static, str>, arguments: Arguments) -> Running {
    let wrappers = place.context.call_wrappers();
    let (Some(who), false) = (current_who(), wrappers.is_empty()) else {
        return dispatch(node.clone(), &place.path, &method, arguments);
    };
    let info = Rc::new(CallInfo {
        path: place.path.clone(),
        method,
        who,
        caller: OnceCell::new(),
    });
    // Nothing of the callee runs, not even its decoding, before the last rule lets the call through.
    let (node, called) = (node.clone(), info.clone());
    let call = async move { dispatch(node, &called.path, &called.method, arguments).await }.boxed_local();
    wrappers.iter().fold(call, |call, wrapper| wrapper(info.clone(), call))
}

fn dispatch(node: Rc<dyn Node>, path: &Path, method: &str, arguments: Arguments) -> Running {
    builtin::answer(&node, method, arguments)
        .map(|answer| ready(answer).boxed_local())
        .or_else(|arguments| node.node_dispatch(method, arguments))
        .unwrap_or_else(|_arguments| ready(Err(nobody(&path.endpoint(method)))).boxed_local())
}
