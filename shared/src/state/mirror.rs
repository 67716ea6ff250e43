//! The copy of another node's state, as a pure machine: a snapshot, then every version after it, or the next snapshot.
//!
//! An owner numbers the versions of a field from 1 in each of its lives; a life is an epoch. What the machine shows is
//! always something that the owner had, and within an epoch it never goes back. Of events it may miss any, get any
//! twice and in any order: what does not follow makes it ask again.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    data::Applied,
    error::ErrorKind,
    node::fault::{self, Fault},
};

/// How many updates are kept while a question is open; beyond it the oldest goes, and another question follows.
pub(crate) const EARLY_LIMIT: usize = 64;

/// What a mirror shows at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirrorStatus {
    /// The owner has been asked; until it answers, the last known state is shown, if any.
    #[default]
    Loading,
    /// What the owner has.
    Live,
    /// What the owner had when it was heard last. The kind says why: `Disconnected` if there is no session,
    /// `NoSuchProcedure` if the owner is not there, else what it answered. A mirror comes back by itself.
    Lost(ErrorKind),
}

/// One version of a field: epoch, version, and the value; no value says that the owner's life ends. Without an epoch, the
/// router says so on behalf of a session that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update<T>(pub(crate) String, pub(crate) u64, pub(crate) Vec<T>);

/// What happens to a replica.
#[derive(Debug)]
pub(crate) enum Input<T> {
    /// There is a session, and it hears the updates.
    Attached,
    /// There is none any more.
    Detached,
    /// The owner told everybody.
    Update(Update<T>),
    /// The owner answers the question of that number.
    Answer(u64, Result<Update<T>, ErrorKind>),
    /// The time of [`Output::Wait`] is over.
    Waited,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output<T> {
    /// Ask the owner under this number.
    Ask(u64),
    /// This is the state.
    Show(T),
    /// And this is what it is worth.
    Status(MirrorStatus),
    /// Come back with [`Input::Waited`] after a while.
    Wait,
}

/// A copy of one field of one node.
pub(crate) struct Replica<T> {
    attached: bool,
    questions: u64,
    asked: Option<u64>,
    /// Epoch and version of what is shown.
    held: Option<(String, u64)>,
    early: Vec<Update<T>>,
    status: MirrorStatus,
}

impl<T> Replica<T> {
    pub(crate) const fn new() -> Self {
        Self {
            attached: false,
            questions: 0,
            asked: None,
            held: None,
            early: Vec::new(),
            status: MirrorStatus::Loading,
        }
    }

    pub(crate) fn handle(&mut self, input: Input<T>) -> Vec<Output<T>> {
        let mut outputs = Vec::new();
        match input {
            Input::Attached => {
                self.attached = true;
                self.early.clear();
                self.ask(&mut outputs);
            }
            Input::Detached => {
                self.attached = false;
                self.asked = None;
                self.becomes(MirrorStatus::Lost(ErrorKind::Disconnected), &mut outputs);
            }
            Input::Update(update) if self.asked.is_some() => {
                if self.early.len() == EARLY_LIMIT {
                    self.early.remove(0);
                }
                self.early.push(update);
            }
            Input::Update(update) => self.take(update, &mut outputs),
            Input::Answer(number, answer) if self.asked == Some(number) => {
                self.asked = None;
                self.answered(answer, &mut outputs);
            }
            Input::Waited if self.asked.is_none() && self.status != MirrorStatus::Live => self.ask(&mut outputs),
            Input::Answer(..) | Input::Waited => {}
        }
        outputs
    }

    fn answered(&mut self, answer: Result<Update<T>, ErrorKind>, outputs: &mut Vec<Output<T>>) {
        let early = std::mem::take(&mut self.early);
        match answer {
            Ok(Update(epoch, version, value)) => {
                if self.held.is_none() || !fault::is(Fault::ResyncKeepsOlder) {
                    self.held = Some((epoch, version));
                    outputs.extend(value.into_iter().map(Output::Show));
                }
                self.becomes(MirrorStatus::Live, outputs);
                for update in early {
                    if self.asked.is_none() {
                        self.take(update, outputs);
                    }
                }
            }
            // It spoke after it had not been there, or had not answered in time.
            Err(_) if early.iter().any(|update| !update.2.is_empty()) => self.ask(outputs),
            Err(kind) => {
                self.becomes(MirrorStatus::Lost(kind), outputs);
                if matches!(kind, ErrorKind::Timeout | ErrorKind::Busy) {
                    outputs.push(Output::Wait);
                }
            }
        }
    }

    fn take(&mut self, Update(epoch, version, value): Update<T>, outputs: &mut Vec<Output<T>>) {
        let held = self.held.as_ref().filter(|(known, _)| *known == epoch);
        let applied = held.map(|(_, held)| Applied::of(*held, version));
        match (applied, value.into_iter().next()) {
            (Some(Applied::Gap), Some(_)) if fault::is(Fault::GapIgnored) => {}
            (Some(Applied::Stale), Some(_)) if self.status == MirrorStatus::Live => {}
            (Some(Applied::Ok), Some(value)) if self.status == MirrorStatus::Live => {
                self.held = Some((epoch, version));
                outputs.push(Output::Show(value));
            }
            // Another life of the owner, a gap, or news from one that was lost.
            (_, Some(_)) => self.ask(outputs),
            (Some(_), None) => self.becomes(MirrorStatus::Lost(ErrorKind::NoSuchProcedure), outputs),
            // The session of an owner is over. If it has another, this one will answer.
            (None, None) if self.status == MirrorStatus::Live => self.ask(outputs),
            (None, None) => {}
        }
    }

    fn ask(&mut self, outputs: &mut Vec<Output<T>>) {
        if self.attached {
            self.questions += 1;
            self.asked = Some(self.questions);
            self.becomes(MirrorStatus::Loading, outputs);
            outputs.push(Output::Ask(self.questions));
        }
    }

    fn becomes(&mut self, status: MirrorStatus, outputs: &mut Vec<Output<T>>) {
        if self.status != status {
            self.status = status;
            outputs.push(Output::Status(status));
        }
    }
}

impl<T> fmt::Debug for Replica<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Replica")
            .field("status", &self.status)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
