//! What the code that runs now belongs to: a place in a tree and, within a call, who made that call.

use std::{fmt, rc::Rc};

use scoped_tls::scoped_thread_local;

use super::{NodeContext, Place};
use crate::{
    wamp::message::InvocationDetails,
    wamp::{id::SessionId, peer::Peer},
};

/// Who makes a call, as the router (or, in the same tree, the member) vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// WAMP session of the caller; `None` for a tree that is not joined to a realm.
    pub session: Option<SessionId>,
    /// Whom the session belongs to.
    pub authid: Option<String>,
    /// In which role.
    pub authrole: Option<String>,
    /// Ties log lines of one user action together, across processes.
    pub trace: Option<String>,
}

impl Caller {
    /// Who made the call that runs now; `None` outside calls, also in tasks that a call has spawned.
    #[must_use]
    pub fn current() -> Option<Self> {
        Frame::current(|frame| frame.who.as_ref().map(Who::caller))
    }
}

/// A session's part of [`Caller`], shared by all its calls.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    session: Option<SessionId>,
    authid: Option<String>,
    authrole: Option<String>,
}

impl Identity {
    pub(crate) fn of_peer(peer: Option<&Peer>) -> Rc<Self> {
        Rc::new(peer.map_or_else(Self::default, |peer| {
            let session = peer.session();
            Self {
                session: Some(session.session),
                authid: Some(session.authid.clone()),
                authrole: Some(session.authrole.clone()),
            }
        }))
    }
}

/// Names a chain of calls. One that starts in this tree is a number until somebody wants to read it.
#[derive(Clone, Debug)]
pub(crate) enum Trace {
    Number(u64),
    Text(Rc<str>),
}

impl fmt::Display for Trace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(formatter, "{number:016x}"),
            Self::Text(text) => formatter.write_str(text),
        }
    }
}

/// A [`Caller`] whose texts are made when somebody asks: most callees never do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Who {
    identity: Rc<Identity>,
    trace: Option<Trace>,
}

impl Who {
    /// Who calls from here, by the identity of this tree. A call that comes out of no other one starts a trace.
    #[inline(always)]
    pub(crate) fn calls(identity: Rc<Identity>, start: impl FnOnce() -> u64) -> Self {
        let trace = Frame::current(|frame| frame.who.as_ref()?.trace.clone());
        Self {
            identity,
            trace: Some(trace.unwrap_or_else(|| Trace::Number(start()))),
        }
    }

    /// Who called from another session, as the router says.
    pub(crate) fn called(details: InvocationDetails) -> Self {
        Self {
            identity: Rc::new(Identity {
                session: details.caller.session(),
                authid: details.caller.authid().map(str::to_owned),
                authrole: details.caller.authrole().map(str::to_owned),
            }),
            trace: details.trace.map(|trace| Trace::Text(trace.into())),
        }
    }

    pub(crate) fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    pub(crate) fn caller(&self) -> Caller {
        Caller {
            session: self.identity.session,
            authid: self.identity.authid.clone(),
            authrole: self.identity.authrole.clone(),
            trace: self.trace.as_ref().map(Trace::to_string),
        }
    }
}

/// The trace of the call that runs now, for messages that go out on its behalf.
pub(crate) fn current_trace() -> Option<String> {
    Frame::current(|frame| frame.who.as_ref()?.trace.as_ref().map(Trace::to_string))
}

scoped_thread_local! {
    // Set while a node's code is polled, and only then. Trees are one thread each, so nothing is shared.
    static CURRENT: Frame
}

/// What code runs for. A future that waits keeps its frame to itself.
pub(crate) struct Frame {
    at: At,
    who: Option<Who>,
}

/// What is decoded here belongs to this place: a remote that arrives calls from it.
enum At {
    Node(Rc<Place>),
    Level(NodeContext),
}

impl Frame {
    /// Of code of a node.
    #[inline(always)]
    pub(crate) const fn of_node(place: Rc<Place>, who: Option<Who>) -> Self {
        Self {
            at: At::Node(place),
            who,
        }
    }

    /// The node whose code it is.
    #[inline]
    pub(crate) const fn place(&self) -> Option<&Rc<Place>> {
        match &self.at {
            At::Node(place) => Some(place),
            At::Level(_) => None,
        }
    }

    fn context(&self) -> &NodeContext {
        match &self.at {
            At::Node(place) => &place.context,
            At::Level(context) => context,
        }
    }

    #[inline]
    pub(crate) const fn who(&self) -> Option<&Who> {
        self.who.as_ref()
    }

    /// Runs code in this frame.
    #[inline]
    pub(crate) fn run<R>(&self, run: impl FnOnce() -> R) -> R {
        CURRENT.set(self, run)
    }

    /// The frame of what runs now.
    #[inline]
    fn current<R>(look: impl FnOnce(&Self) -> Option<R>) -> Option<R> {
        if CURRENT.is_set() { CURRENT.with(look) } else { None }
    }
}

/// Runs code at another place, within the call that runs now, if any.
pub(crate) fn inside_context<R>(context: &NodeContext, run: impl FnOnce() -> R) -> R {
    let frame = Frame {
        at: At::Level(context.clone()),
        who: current_who(),
    };
    frame.run(run)
}

/// Who made the call that runs now.
pub(crate) fn current_who() -> Option<Who> {
    Frame::current(|frame| frame.who.clone())
}

/// The place whose code runs now.
pub(crate) fn current_place() -> Option<NodeContext> {
    Frame::current(|frame| Some(frame.context().clone()))
}
