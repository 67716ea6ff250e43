//! How a call enters a node, from its own tree or from another session: what every callee is owed, at the least cost.
//!
//! Most calls within a tree are answered when they are first polled. So nothing is made for a call that only one which
//! waits needs: a record for unbind to end it, a timer, the text of its procedure or trace.

use std::{
    borrow::Cow,
    cell::OnceCell,
    fmt,
    future::{Future, pending, poll_fn, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::FutureExt;
use serde::de::DeserializeOwned;
use tracing::{Level, Span, level_filters::LevelFilter};

use super::{
    Node, Place,
    call::{Answer, Arguments},
    frame::{Caller, Frame, Who},
    member::{builtin, nobody},
    task::{Work, gone, poll_inside},
};
use crate::{
    contract::{Calling, Running},
    error::Result,
    path::Path,
};

/// What is called, for wrappers.
#[derive(Clone)]
pub struct CallInfo {
    /// Name of the method.
    pub method: Cow<'static, str>,
    place: Rc<Place>,
    who: Who,
    caller: OnceCell<Caller>,
}

impl CallInfo {
    fn new(place: Rc<Place>, who: Option<&Who>, method: Cow<'static, str>) -> Rc<Self> {
        Rc::new(Self {
            method,
            place,
            who: who.cloned().unwrap_or_default(),
            caller: OnceCell::new(),
        })
    }

    /// The node.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// Who asks.
    pub fn caller(&self) -> &Caller {
        self.caller.get_or_init(|| self.who.caller())
    }
}

impl fmt::Debug for CallInfo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CallInfo")
            .field("path", self.path())
            .field("method", &self.method)
            .field("caller", self.caller())
            .finish()
    }
}

/// How a call looks to the rules around it, and what it brings to who made it.
pub(crate) struct Rules<R> {
    hide: fn(Calling<R>) -> Running,
    show: fn(Answer) -> Result<R>,
}

impl<R: DeserializeOwned + 'static> Rules<R> {
    /// Of a call whose caller knows the contract.
    pub(crate) const TYPED: Self = Self {
        hide: |call| Box::pin(async move { call.await.map(Answer::local) }),
        show: Answer::take,
    };
}

impl Rules<Answer> {
    /// Of a call by name.
    const NAMED: Self = Self {
        hide: |call| call,
        show: Ok,
    };
}

/// What runs, as a part of the callee only.
enum Code<R> {
    Bare(Calling<R>),
    /// The outermost of the rules around it, and what its answer is.
    Ruled(Running, fn(Answer) -> Result<R>),
}

impl<R> Code<R> {
    #[inline]
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R>> {
        match self {
            Self::Bare(call) => call.as_mut().poll(context),
            Self::Ruled(call, show) => call.as_mut().poll(context).map(|answer| answer.and_then(*show)),
        }
    }
}

/// Polls a call of a node of this tree for the first time, with all that a callee is owed: wrappers, identity,
/// cancellation, no panic. One that waits goes on in `waiting`.
#[expect(clippy::ptr_arg, reason = "a call that waits keeps the name as it is")]
#[inline]
pub(crate) fn enter<R: 'static>(
    place: Rc<Place>,
    who: Who,
    method: &Cow<'static, str>,
    call: Calling<R>,
    rules: &Rules<R>,
    waiting: &mut Option<Waiting<R>>,
    context: &mut Context<'_>,
) -> Poll<Result<R>> {
    let ruled = place.context.member().has_wrappers().then(|| place.clone());
    // Whatever is logged on behalf of the call, down to its statements, carries its span.
    let logged = (Level::INFO <= LevelFilter::current()).then(|| place.clone());
    let frame = Frame::of_node(place, Some(who));
    let mut info = ruled.map(|place| CallInfo::new(place, frame.who(), method.clone()));
    let span = logged.map(|place| span(&place, frame.who(), method));
    let mut code = Code::Bare(call);
    let polled = poll_inside(
        &frame,
        context,
        |place| place.path.endpoint(method),
        |context| {
            let _span = span.as_ref().map(Span::enter);
            // Nothing of the call itself runs, not even its decoding, before the last rule lets it through.
            if let (Some(info), Code::Bare(call)) = (info.take(), &mut code) {
                let call = std::mem::replace(call, Box::pin(pending()));
                code = Code::Ruled(info.place.context.wrap(&info, (rules.hide)(call)), rules.show);
            }
            code.poll(context)
        },
    );
    if polled.is_pending() {
        *waiting = Some(Waiting(Box::new(Entered {
            work: Work::call(frame, context)?,
            code,
            span,
            method: method.clone(),
        })));
    }
    polled
}

#[cold]
fn span(place: &Place, who: Option<&Who>, method: &str) -> Span {
    tracing::info_span!(
        "call",
        procedure = place.path.endpoint(method),
        trace = who.and_then(Who::trace).map(tracing::field::display)
    )
}

/// A call of a node of this tree that has waited.
pub(crate) struct Waiting<R>(Box<Entered<R>>);

struct Entered<R> {
    work: Work,
    code: Code<R>,
    span: Option<Span>,
    method: Cow<'static, str>,
}

impl<R> Future for Waiting<R> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let Entered {
            work,
            code,
            span,
            method,
        } = &mut *self.0;
        work.poll(
            context,
            |place| place.path.endpoint(method),
            |context| {
                let _span = span.as_ref().map(Span::enter);
                code.poll(context)
            },
        )
    }
}

/// A call of a node of this tree, to be made when it is awaited.
pub(crate) async fn entered<R: 'static>(
    node: Rc<dyn Node>,
    who: Option<Who>,
    method: Cow<'static, str>,
    call: Calling<R>,
    rules: Rules<R>,
) -> Result<R> {
    let place = node.node_core().place().ok_or_else(gone)?;
    let who = who.unwrap_or_else(|| place.context.member().who());
    let (mut first, mut waiting) = (Some((place, who, call)), None);
    poll_fn(|context| match (first.take(), &mut waiting) {
        (Some((place, who, call)), waiting) => enter(place, who, &method, call, &rules, waiting, context),
        (None, Some(waiting)) => waiting.poll_unpin(context),
        (None, None) => Poll::Pending,
    })
    .await
}

/// A call by name.
pub(crate) fn named(
    node: Rc<dyn Node>,
    method: Cow<'static, str>,
    arguments: Arguments,
    who: Option<Who>,
) -> impl Future<Output = Result<Answer>> {
    let (callee, name) = (node.clone(), method.clone());
    let call = Box::pin(async move { dispatch(callee, &name, arguments).await });
    entered(node, who, method, call, Rules::NAMED)
}

fn dispatch(node: Rc<dyn Node>, method: &str, arguments: Arguments) -> Running {
    let path = node.node_core().path();
    builtin::answer(&node, method, arguments)
        .map(|answer| ready(answer).boxed_local())
        .or_else(|arguments| node.node_dispatch(method, arguments))
        .unwrap_or_else(|_arguments| {
            let procedure = path.map_or_else(|| method.to_owned(), |path| path.endpoint(method));
            ready(Err(nobody(&procedure))).boxed_local()
        })
}
