//! Defects that the model check switches on one by one, to show that it would notice them. Absent from real builds.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Events go on to sessions that have left.
    ForgetsToUnsubscribe,
    /// An empty list of eligible sessions counts as none.
    TakesEmptyEligibleForNone,
    /// Of several matching subscriptions of a realm only the first gets an event.
    StopsAtFirstSubscription,
    /// The shortest matching prefix gets a call.
    PrefersShortPrefix,
    /// Round robin always begins with the first callee.
    SticksToFirstCallee,
    /// Callers of a session that leaves hear nothing.
    ForgetsCallersOfLeaver,
    /// A call that was given up is still answered.
    AnswersTwice,
    /// An invocation overtakes those that wait for room.
    Overtakes,
}

/// Which defect is on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    #[cfg(test)]
    on: Option<Fault>,
}

impl Faults {
    #[cfg(test)]
    pub(super) const fn of(fault: Fault) -> Self {
        Self { on: Some(fault) }
    }

    /// Whether this defect is on: never, outside of tests.
    #[cfg(test)]
    pub(super) fn has(self, fault: Fault) -> bool {
        self.on == Some(fault)
    }

    /// Whether this defect is on: never, outside of tests.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "as in tests")]
    pub(super) const fn has(self, _: Fault) -> bool {
        false
    }
}
