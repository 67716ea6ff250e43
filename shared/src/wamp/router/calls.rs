//! The calls in flight: from CALL over INVOCATION to the one RESULT or ERROR that each call gets.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use crate::wamp::{
    id::{RegistrationId, RequestId, SessionId},
    message::{
        Call, CallResult, Cancel, CancelMode, ErrorMessage, Invocation, InvocationDetails, Message, ResultDetails,
        Yield, code,
    },
    uri::{MatchPolicy, Uri, error},
};

pub(super) use super::party::{refusal, reply};

use super::{
    Class, Outgoing, Output,
    broker::Member,
    dealer::Target,
    fault::{Fault, Faults},
    in_flight::InOrder,
    party::{Party, interrupt, number_of},
};

/// A session, and a request of its own or sent to it.
pub(super) type Key = (SessionId, RequestId);

/// An invocation that is not answered yet.
#[derive(Debug)]
pub(super) struct InFlight {
    caller: Key,
    registration: RegistrationId,
    /// Which of the callee's INVOCATION messages began it.
    begins: u64,
    /// Its arguments come in several messages.
    has_parts: bool,
    /// More of them follow.
    streams: bool,
    receive_progress: bool,
    /// CANCEL with mode kill was passed on; the callee's answer is awaited.
    interrupted: bool,
    /// In a box, because few calls have one.
    limit: Option<Box<TimeLimit>>,
}

/// How long a call, or the time between two results of it, may take.
#[derive(Debug)]
struct TimeLimit {
    timeout: Duration,
    deadline: Duration,
}

/// Why a call cannot be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The caller broke the protocol.
    Violation(String),
    /// Answered by an ERROR.
    Answer(&'static str, String),
}

/// What a CALL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// A new call, or the first part of one.
    First,
    /// More arguments for this callee and invocation.
    More(SessionId, RequestId),
    /// More arguments for a call that is over already.
    Late,
}

/// How many calls with arguments still on their way are remembered for each caller.
const MOST_UNFINISHED: usize = 256;

/// The calls of a realm.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pub(super) faults: Faults,
    /// With the calls that each makes and answers.
    parties: BTreeMap<SessionId, Party>,
    /// Deadlines of calls, by caller and call.
    deadlines: BTreeSet<(Duration, Key)>,
}

/// What a session announced as callee and caller.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CalleeFeatures {
    pub(super) cancels: bool,
    pub(super) progresses: bool,
    pub(super) takes_streams: bool,
    pub(super) times_out: bool,
    /// As caller.
    pub(super) streams: bool,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.parties.values().map(|party| party.calls.len()).sum()
    }

    pub(super) fn held(&self) -> usize {
        self.parties.values().map(|party| party.held.len()).sum()
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    pub(super) fn join(&mut self, member: Arc<Member>, features: CalleeFeatures, most_calls: usize) {
        let party = Party {
            cancels: features.cancels,
            progresses: features.progresses,
            takes_streams: features.takes_streams && features.cancels,
            times_out: features.times_out,
            streams: features.streams,
            unfinished: BTreeSet::new(),
            most_calls,
            calls: InOrder::default(),
            serves: InOrder::default(),
            invocations: 0,
            places: 0,
            held: VecDeque::new(),
            stalled: false,
            member,
        };
        self.parties.insert(party.member.session, party);
    }

    /// Whether the caller waits for the answer to a call.
    pub(super) fn is_in_flight(&self, caller: SessionId, request: RequestId) -> bool {
        self.callee((caller, request)).is_some()
    }

    /// The callee and invocation of a call in flight.
    fn callee(&self, (caller, request): Key) -> Option<Key> {
        self.parties.get(&caller)?.calls.get(request).copied()
    }

    fn invocation(&self, (callee, invocation): Key) -> Option<&InFlight> {
        self.parties.get(&callee)?.serves.get(invocation)
    }

    /// What a CALL of the session is, and whether the session may make one more.
    pub(super) fn check(&mut self, caller: SessionId, call: &Call) -> Result<Part, Refused> {
        let (request, more) = (call.request, call.options.progress);
        let Some(party) = self.parties.get_mut(&caller) else {
            return Ok(Part::Late);
        };
        if more && !party.streams {
            let text = "progressive arguments from a caller that has not announced them".to_owned();
            return Err(Refused::Violation(text));
        }
        if let Some(callee) = party.calls.get(request).copied() {
            return match self.invocation(callee) {
                Some(in_flight) if in_flight.streams => Ok(Part::More(callee.0, callee.1)),
                Some(_) | None => Err(Refused::Violation(format!("CALL {request} is in flight already"))),
            };
        }
        if party.unfinished.contains(&request) {
            if !more {
                party.unfinished.remove(&request);
            }
            return Ok(Part::Late);
        }
        if party.calls.len() >= party.most_calls {
            let text = format!("{} calls are in flight already.", party.calls.len());
            return Err(Refused::Answer(error::BUSY, text));
        }
        Ok(Part::First)
    }

    /// Passes a call on to the callee that the dealer chose. [`Calls::check`] came before.
    pub(super) fn call(
        &mut self,
        caller: &Member,
        call: &mut Call,
        target: Target,
        now: Duration,
        out: &mut Vec<Output>,
    ) -> Result<(), Refused> {
        let Some(callee) = self.parties.get_mut(&target.callee) else {
            return Err(Refused::Answer(
                error::NO_SUCH_PROCEDURE,
                "The callee is gone.".to_owned(),
            ));
        };
        if call.options.progress && !callee.takes_streams {
            let text = "The callee does not take progressive arguments.".to_owned();
            return Err(Refused::Answer(error::FEATURE_NOT_SUPPORTED, text));
        }
        call.payload
            .change_codec(callee.member.codec)
            .map_err(|error| Refused::Answer(error::INVALID_ARGUMENT, error.into_parts().message))?;
        callee.invocations += 1;
        let request = RequestId::wrapped(callee.invocations);
        let limit = call.options.timeout.filter(|milliseconds| *milliseconds > 0);
        let forwarded = target.forward_timeout && callee.times_out;
        let receive_progress = call.options.receive_progress && callee.progresses;
        if self.faults.has(Fault::Overtakes) {
            callee.stalled = false;
        }
        let invocation = Invocation {
            request,
            registration: target.registration,
            details: InvocationDetails {
                caller: caller.disclosed.clone(),
                procedure: (target.policy != MatchPolicy::Exact).then(|| call.procedure.clone()),
                receive_progress,
                progress: call.options.progress,
                timeout: limit.filter(|_| forwarded),
                trace: call.options.trace.take(),
                passthru: std::mem::take(&mut call.options.passthru),
            },
            payload: call.payload.take(),
        };
        let begins = callee.invoke(invocation, out);
        let caller = (caller.session, call.request);
        let limit = limit.filter(|_| !forwarded).map(|milliseconds| {
            let timeout = Duration::from_millis(milliseconds);
            let deadline = now.saturating_add(timeout);
            self.deadlines.insert((deadline, caller));
            Box::new(TimeLimit { timeout, deadline })
        });
        let in_flight = InFlight {
            caller,
            registration: target.registration,
            begins,
            has_parts: call.options.progress,
            streams: call.options.progress,
            receive_progress,
            interrupted: false,
            limit,
        };
        callee.serves.insert(request, in_flight);
        if let Some(party) = self.parties.get_mut(&caller.0) {
            party.calls.insert(caller.1, (target.callee, request));
        }
        Ok(())
    }

    /// Passes more arguments of a call on to its callee.
    pub(super) fn more(&mut self, callee: Key, call: &mut Call, out: &mut Vec<Output>) {
        let Some(party) = self.parties.get_mut(&callee.0) else {
            return;
        };
        let Some(in_flight) = party.serves.get_mut(callee.1) else {
            return;
        };
        in_flight.streams = call.options.progress;
        if in_flight.interrupted {
            return;
        }
        match call.payload.change_codec(party.member.codec) {
            Ok(()) => {
                // All options but `progress` are those of the first part.
                let details = InvocationDetails {
                    progress: call.options.progress,
                    passthru: std::mem::take(&mut call.options.passthru),
                    ..InvocationDetails::default()
                };
                let (request, registration) = (callee.1, in_flight.registration);
                let invocation = Invocation {
                    request,
                    registration,
                    details,
                    payload: call.payload.take(),
                };
                party.invoke(invocation, out);
            }
            Err(refused) => {
                let caller = in_flight.caller;
                self.end(callee, true, None, out);
                self.fail(caller, error::INVALID_ARGUMENT, &refused.message, out);
            }
        }
    }

    /// Passes a result on. False if the callee was never sent such an invocation.
    pub(super) fn answer(
        &mut self,
        callee: SessionId,
        message: &mut Yield,
        now: Duration,
        out: &mut Vec<Output>,
    ) -> bool {
        let key = (callee, message.request);
        let party = self.parties.get_mut(&callee);
        let Some(in_flight) = party.and_then(|party| party.serves.get_mut(message.request)) else {
            return self.was_sent(key);
        };
        let caller = in_flight.caller;
        if message.options.progress {
            if in_flight.receive_progress && !in_flight.interrupted {
                // The time limit of a progressive call is between its results.
                if let Some(TimeLimit { timeout, deadline }) = in_flight.limit.as_deref_mut() {
                    self.deadlines.remove(&(*deadline, caller));
                    *deadline = now.saturating_add(*timeout);
                    self.deadlines.insert((*deadline, caller));
                }
                self.result(caller, message, out);
            }
            return true;
        }
        self.forget(key);
        self.result(caller, message, out);
        true
    }

    fn result(&self, caller: Key, message: &mut Yield, out: &mut Vec<Output>) {
        let Some(party) = self.parties.get(&caller.0) else {
            return;
        };
        match message.payload.change_codec(party.member.codec) {
            Ok(()) => {
                let progress = message.options.progress;
                // One call may bring any number of results but the last, so that no room is kept for those.
                let class = if progress { Class::Event } else { Class::Reply };
                let passthru = std::mem::take(&mut message.options.passthru);
                let result = CallResult {
                    request: caller.1,
                    details: ResultDetails { progress, passthru },
                    payload: message.payload.take(),
                };
                out.push(Output::Send {
                    connection: party.member.connection,
                    message: Outgoing::shared(0, Message::Result(result)),
                    class,
                });
            }
            Err(error) => self.fail(caller, error::INVALID_ARGUMENT, &error.message, out),
        }
    }

    /// Passes an error on. False if the callee was never sent such an invocation.
    pub(super) fn error(&mut self, callee: SessionId, mut message: ErrorMessage, out: &mut Vec<Output>) -> bool {
        let key = (callee, message.request);
        let Some(in_flight) = self.forget(key) else {
            return self.was_sent(key);
        };
        let caller = in_flight.caller;
        let Some(party) = self.parties.get(&caller.0) else {
            return true;
        };
        match message.payload.change_codec(party.member.codec) {
            Ok(()) => {
                (message.request_type, message.request) = (code::CALL, caller.1);
                reply(&party.member, Message::Error(message), out);
            }
            Err(error) => self.fail(caller, error::INVALID_ARGUMENT, &error.message, out),
        }
        true
    }

    /// Gives a call up. Calls that are not in flight any more are none of our business.
    pub(super) fn cancel(&mut self, caller: SessionId, cancel: &Cancel, out: &mut Vec<Output>) {
        let Some(callee) = self.callee((caller, cancel.request)) else {
            return;
        };
        let mode = cancel.options.mode.unwrap_or_default();
        if mode == CancelMode::Kill && self.wait_for_kill(callee, cancel.options.reason.as_ref(), out) {
            return;
        }
        let reason = cancel.options.reason.clone();
        if !self.faults.has(Fault::AnswersTwice) {
            self.end(callee, mode != CancelMode::Skip, reason, out);
        }
        self.fail((caller, cancel.request), error::CANCELED, "The call was given up.", out);
    }

    /// Interrupts a callee whose answer is then awaited. False if the callee cannot be interrupted.
    fn wait_for_kill(&mut self, callee: Key, reason: Option<&Uri>, out: &mut Vec<Output>) -> bool {
        let Some(party) = self.parties.get_mut(&callee.0) else {
            return false;
        };
        let Some(begins) = party.serves.get(callee.1).map(|in_flight| in_flight.begins) else {
            return false;
        };
        if !party.cancels || party.holds(begins) {
            return false;
        }
        let in_flight = party.serves.get_mut(callee.1);
        if in_flight.is_some_and(|in_flight| !std::mem::replace(&mut in_flight.interrupted, true)) {
            interrupt(party, callee.1, CancelMode::Kill, reason.cloned(), out);
        }
        true
    }

    /// Ends calls whose time is over.
    pub(super) fn expire(&mut self, now: Duration, out: &mut Vec<Output>) {
        while let Some((deadline, caller)) = self.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.deadlines.remove(&(deadline, caller));
            if let Some(callee) = self.callee(caller) {
                self.end(callee, true, Some(Uri::unchecked(error::TIMEOUT)), out);
                self.fail(caller, error::TIMEOUT, "The call took too long.", out);
            }
        }
    }

    /// Takes back an invocation that found no room.
    pub(super) fn undelivered(&mut self, callee: SessionId, message: Arc<Outgoing>) {
        let Message::Invocation(invocation) = message.message() else {
            return;
        };
        let Some(party) = self.parties.get_mut(&callee) else {
            return;
        };
        party.stalled = true;
        if party.serves.get(invocation.request).is_some() {
            let place = party.held.partition_point(|held| held.place() < message.place());
            party.held.insert(place, message);
        }
    }

    /// How many invocations of a callee are held.
    pub(super) fn held_for(&self, callee: SessionId) -> usize {
        self.parties.get(&callee).map_or(0, |party| party.held.len())
    }

    /// Whether invocations of a callee are held.
    pub(super) fn is_stalled(&self, callee: SessionId) -> bool {
        self.parties.get(&callee).is_some_and(|party| party.stalled)
    }

    /// Sends what was held, as far as there is room.
    pub(super) fn room(&mut self, callee: SessionId, count: usize, out: &mut Vec<Output>) {
        let Some(party) = self.parties.get_mut(&callee) else {
            return;
        };
        for message in party.held.drain(..count.min(party.held.len())) {
            out.push(Output::Send {
                connection: party.member.connection,
                message,
                class: Class::Invocation,
            });
        }
        party.stalled = !party.held.is_empty();
    }

    /// A session is gone: its callees are interrupted, its callers get `canceled`.
    pub(super) fn leave(&mut self, session: SessionId, out: &mut Vec<Output>) {
        let Some(party) = self.parties.get(&session) else {
            return;
        };
        for callee in party.calls.iter().map(|(_, callee)| *callee).collect::<Vec<_>>() {
            self.end(callee, callee.0 != session, None, out);
        }
        let party = self.parties.get(&session);
        let served = party.into_iter().flat_map(|party| party.serves.iter());
        let served: Vec<(RequestId, Key)> = served.map(|(request, serves)| (request, serves.caller)).collect();
        for (request, caller) in served {
            self.forget((session, request));
            if !self.faults.has(Fault::ForgetsCallersOfLeaver) {
                self.fail(caller, error::CANCELED, "The callee left.", out);
            }
        }
        self.parties.remove(&session);
    }

    /// Forgets an invocation and tells the callee, if it has got it and understands.
    fn end(&mut self, callee: Key, tell: bool, reason: Option<Uri>, out: &mut Vec<Output>) {
        let begins = self.forget(callee).map_or(0, |in_flight| in_flight.begins);
        let Some(party) = self.parties.get_mut(&callee.0) else {
            return;
        };
        let unheard = party.holds(begins);
        party.held.retain(|held| number_of(held) != Some(callee.1));
        if tell && party.cancels && !unheard {
            interrupt(party, callee.1, CancelMode::KillNoWait, reason, out);
        }
    }

    fn forget(&mut self, key: Key) -> Option<InFlight> {
        let party = self.parties.get_mut(&key.0)?;
        let in_flight = party.serves.remove(key.1)?;
        if in_flight.has_parts {
            // Parts that wait for room are for nobody any more; `end` sees to the first.
            let begins = in_flight.begins;
            party
                .held
                .retain(|held| number_of(held) != Some(key.1) || held.place() == begins);
        }
        if let Some(limit) = &in_flight.limit {
            self.deadlines.remove(&(limit.deadline, in_flight.caller));
        }
        if let Some(party) = self.parties.get_mut(&in_flight.caller.0) {
            party.calls.remove(in_flight.caller.1);
        }
        if in_flight.streams {
            self.over_too_soon(in_flight.caller);
        }
        Some(in_flight)
    }

    /// The rest of this call's arguments is still on its way and will be for nobody.
    pub(super) fn over_too_soon(&mut self, (caller, request): Key) {
        if let Some(party) = self.parties.get_mut(&caller) {
            party.unfinished.insert(request);
            if party.unfinished.len() > MOST_UNFINISHED {
                party.unfinished.pop_first();
            }
        }
    }

    /// Whether the callee was ever sent this invocation: answers may cross with interrupts.
    fn was_sent(&self, (callee, request): Key) -> bool {
        self.parties
            .get(&callee)
            .is_some_and(|party| request.get() <= party.invocations)
    }

    fn fail(&self, caller: Key, error: &str, text: &str, out: &mut Vec<Output>) {
        if let Some(party) = self.parties.get(&caller.0) {
            reply(
                &party.member,
                refusal(&party.member, code::CALL, caller.1, error, text),
                out,
            );
        }
    }
}
