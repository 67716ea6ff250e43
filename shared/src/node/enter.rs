//! How a call enters a node, from its own tree or from another session: what every callee is owed, at the least cost.
//!
//! Most calls within a tree are answered when they are first polled. So nothing is made for a call that only one which
//! waits needs: a record for unbind to end it, a timer, the text of its procedure or trace.

use std::{
    borrow::Cow,
    cell::OnceCell,
    fmt,
    future::{Future, pending, ready},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use futures::FutureExt;
use serde::de::DeserializeOwned;
use tracing::Span;

use super::{
    Node, Place,
    call::{Answer, Arguments},
    frame::{Caller, Who},
    member::{builtin, nobody},
    task::Work,
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
    #[cold]
    fn new(work: &Work, method: Cow<'static, str>) -> Rc<Self> {
        Rc::new(Self {
            method,
            place: work.place().clone(),
            who: work.who().cloned().unwrap_or_default(),
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

/// A call of a node of this tree, with all that a callee is owed: wrappers, identity, cancellation, no panic.
pub(crate) struct Entered<R> {
    node: Rc<dyn Node>,
    method: Cow<'static, str>,
    /// None: this tree itself.
    who: Option<Box<Who>>,
    code: Code<R>,
    /// How the call looks to rules around it, and what it brings to who made it.
    hide: fn(Calling<R>) -> Running,
    show: fn(Answer) -> Result<R>,
    /// Once it has waited. Whatever is logged on behalf of the call, down to its statements, carries its span.
    waiting: Option<Box<(Work, Span)>>,
}

/// What runs, as a part of the callee only.
enum Code<R> {
    Bare(Calling<R>),
    /// The outermost of the rules around it.
    Ruled(Running),
}

impl<R: DeserializeOwned + 'static> Entered<R> {
    /// A call by a caller of the same tree that knows the contract.
    #[inline]
    pub(crate) fn typed(node: Rc<dyn Node>, method: &'static str, call: Calling<R>) -> Self {
        Self {
            node,
            method: Cow::Borrowed(method),
            who: None,
            code: Code::Bare(call),
            hide: |call| Box::pin(async move { call.await.map(Answer::local) }),
            show: Answer::take,
            waiting: None,
        }
    }
}

impl Entered<Answer> {
    /// A call by name.
    pub(crate) fn named(node: Rc<dyn Node>, method: Cow<'static, str>, arguments: Arguments, who: Option<Who>) -> Self {
        let (callee, name) = (node.clone(), method.clone());
        Self {
            node,
            method,
            who: who.map(Box::new),
            code: Code::Bare(Box::pin(async move { dispatch(callee, &name, arguments).await })),
            hide: |call| call,
            show: Ok,
            waiting: None,
        }
    }
}

impl<R: 'static> Future for Entered<R> {
    type Output = Result<R>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = &mut *self;
        if let Some(waiting) = &mut this.waiting {
            let (work, span) = &mut **waiting;
            let name = |place: &Place| place.path.endpoint(&this.method);
            return work.poll(&this.node, context, name, |context| {
                let _span = span.enter();
                this.code.poll(this.show, context)
            });
        }
        let mut work = Work::call(&this.node, this.who.take().map(|who| *who))?;
        let mut ruled = None;
        if work.place().context.member().has_wrappers() {
            ruled = Some(CallInfo::new(&work, this.method.clone()));
        }
        let span = tracing::info_span!(
            "call",
            procedure = work.place().path.endpoint(&this.method),
            trace = work.who().and_then(Who::trace).map(tracing::field::display)
        );
        let name = |place: &Place| place.path.endpoint(&this.method);
        let polled = work.poll(&this.node, context, name, |context| {
            let _span = span.enter();
            // Nothing of the call itself runs, not even its decoding, before the last rule lets it through.
            if let (Some(info), Code::Bare(call)) = (ruled.take(), &mut this.code) {
                let call = std::mem::replace(call, Box::pin(pending()));
                this.code = Code::Ruled(info.place.context.wrap(&info, (this.hide)(call)));
            }
            this.code.poll(this.show, context)
        });
        if polled.is_pending() {
            this.waiting = Some(Box::new((work, span)));
        }
        polled
    }
}

impl<R> Code<R> {
    #[inline]
    fn poll(&mut self, show: fn(Answer) -> Result<R>, context: &mut Context<'_>) -> Poll<Result<R>> {
        match self {
            Self::Bare(call) => call.as_mut().poll(context),
            Self::Ruled(call) => call.as_mut().poll(context).map(|answer| answer.and_then(show)),
        }
    }
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
