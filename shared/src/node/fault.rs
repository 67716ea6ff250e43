//! Deliberate mistakes, so that tests can show that they would notice them. Nothing but tests switches one on.

use std::cell::Cell;

/// A mistake that a test must notice.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Calls within a tree go through the router.
    ShortCutOff,
    /// A node goes on with what its queries meant before references and resolvers changed.
    StaleMeanings,
    /// Handlers of other nodes' signals listen beside the topic.
    HandlerPathWrong,
    /// A test realm gives peers another codec than they ask for.
    CodecSwapped,
    /// Repeated calls run again.
    AnswerTableOff,
    /// Registrations outlive their roots.
    UnbindForgets,
    /// A session root has several live clients.
    OldGenerationAccepted,
    /// The work of calls that were given up goes on.
    CancelIgnored,
    /// Tasks of a node go on when it is unbound.
    ReplyToDead,
    /// A mirror leaves updates out that do not follow, and does not ask.
    GapIgnored,
    /// A mirror takes an answer only if it has nothing yet.
    ResyncKeepsOlder,
    /// An owner leaves no word for when its session ends.
    NoTestament,
    /// The callee of a stream does not hear that its reader has room for more.
    GrantLost,
    /// A stream whose reader has gone is poured on.
    StreamPouredForNobody,
    /// An error on the way ends a stream as if it were complete.
    StreamCutShort,
    /// Of what a late listener is told as the past, it forgets what it has heard since.
    ReplayDoubles,
    /// A late listener drops what happens while it waits for the past.
    ReplayDropsHeld,
}

thread_local! {
    static ACTIVE: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Makes this thread's trees commit a mistake from now on, or none.
#[doc(hidden)]
pub fn commit(fault: Option<Fault>) {
    ACTIVE.set(fault);
}

pub(crate) fn is(fault: Fault) -> bool {
    ACTIVE.get() == Some(fault)
}
