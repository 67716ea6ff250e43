//! The realm as the specification tells it: lists that are searched from end to end, no indices, no shortcuts.

use std::collections::VecDeque;

use crate::wamp::{
    message::{CancelMode, InvokePolicy},
    uri::MatchPolicy,
};

/// What a client is sent. `who` is a slot; numbers are the driver's own, not the router's ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    pub(super) who: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Done(u64),
    Error(u64, Wrong),
    Result { request: u64, tag: u64, progress: bool },
    Event { pattern: Pattern, tag: u64 },
    Interrupt(u64),
    Goodbye,
    Abort,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wrong {
    Taken,
    NotYours,
    NoProcedure,
    Canceled,
    TimedOut,
    Application,
}

pub(super) type Pattern = (MatchPolicy, &'static str);

/// What a client announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Features {
    pub(super) cancels: bool,
    pub(super) progresses: bool,
}

#[derive(Debug)]
struct Offer {
    pattern: Pattern,
    invoke: InvokePolicy,
    callees: Vec<usize>,
    turn: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) caller: usize,
    pub(super) request: u64,
    pub(super) callee: usize,
    pub(super) tag: u64,
    /// The callee has got it.
    pub(super) heard: bool,
    interrupted: bool,
    progress: bool,
    timeout: u64,
    deadline: u64,
}

/// What a publisher wants; slots instead of sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    pub(super) exclude_me: Option<bool>,
    pub(super) exclude: Option<Vec<usize>>,
    pub(super) eligible: Option<Vec<usize>>,
    pub(super) acknowledge: bool,
}

#[derive(Debug, Default)]
pub(super) struct Naive {
    pub(super) clients: Vec<Option<Features>>,
    subscriptions: Vec<(usize, Pattern)>,
    offers: Vec<Offer>,
    pub(super) calls: Vec<Call>,
    /// By callee, the tags of invocations that are still to be delivered, in order.
    pub(super) coming: Vec<VecDeque<u64>>,
    now: u64,
}

fn matches((policy, pattern): Pattern, name: &str) -> bool {
    match policy {
        MatchPolicy::Exact => pattern == name,
        MatchPolicy::Prefix => name.starts_with(pattern),
        MatchPolicy::Wildcard => {
            let (wanted, found): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), name.split('.').collect());
            wanted.len() == found.len() && wanted.iter().zip(&found).all(|(w, f)| w.is_empty() || w == f)
        }
    }
}

/// Greater is better.
fn rank((policy, pattern): Pattern) -> (u8, usize, Vec<usize>) {
    match policy {
        MatchPolicy::Exact => (2, 0, Vec::new()),
        MatchPolicy::Prefix => (1, pattern.len(), Vec::new()),
        MatchPolicy::Wildcard => {
            let mut runs = vec![0];
            for component in pattern.split('.') {
                if component.is_empty() {
                    runs.push(0);
                } else if let Some(last) = runs.last_mut() {
                    *last += 1;
                }
            }
            (0, 0, runs)
        }
    }
}

impl Naive {
    pub(super) fn new(count: usize) -> Self {
        Self {
            clients: vec![None; count],
            coming: vec![VecDeque::new(); count],
            ..Self::default()
        }
    }

    pub(super) fn join(&mut self, who: usize, features: Features) {
        self.clients[who] = Some(features);
    }

    fn cancels(&self, who: usize) -> bool {
        self.clients[who].is_some_and(|features| features.cancels)
    }

    pub(super) fn subscribe(&mut self, who: usize, request: u64, pattern: Pattern, seen: &mut Vec<Seen>) {
        if !self.subscriptions.contains(&(who, pattern)) {
            self.subscriptions.push((who, pattern));
        }
        seen.push(Seen {
            who,
            what: What::Done(request),
        });
    }

    pub(super) fn unsubscribe(&mut self, who: usize, request: u64, pattern: Pattern, seen: &mut Vec<Seen>) {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|entry| *entry != (who, pattern));
        let what = if self.subscriptions.len() < before {
            What::Done(request)
        } else {
            What::Error(request, Wrong::NotYours)
        };
        seen.push(Seen { who, what });
    }

    pub(super) fn publish(&self, who: usize, request: u64, topic: &str, tag: u64, wish: &Wish, seen: &mut Vec<Seen>) {
        for (receiver, pattern) in &self.subscriptions {
            let excluded = (*receiver == who && wish.exclude_me != Some(false))
                || wish.exclude.as_ref().is_some_and(|list| list.contains(receiver));
            let eligible = wish.eligible.as_ref().is_none_or(|list| list.contains(receiver));
            if matches(*pattern, topic) && eligible && !excluded {
                let (who, pattern) = (*receiver, *pattern);
                seen.push(Seen {
                    who,
                    what: What::Event { pattern, tag },
                });
            }
        }
        if wish.acknowledge {
            seen.push(Seen {
                who,
                what: What::Done(request),
            });
        }
    }

    pub(super) fn register(
        &mut self,
        who: usize,
        request: u64,
        pattern: Pattern,
        invoke: InvokePolicy,
        seen: &mut Vec<Seen>,
    ) {
        let what = match self.offers.iter_mut().find(|offer| offer.pattern == pattern) {
            None => {
                let callees = vec![who];
                self.offers.push(Offer {
                    pattern,
                    invoke,
                    callees,
                    turn: 0,
                });
                What::Done(request)
            }
            Some(offer) if invoke == InvokePolicy::Single || offer.invoke != invoke => {
                What::Error(request, Wrong::Taken)
            }
            Some(offer) => {
                if !offer.callees.contains(&who) {
                    offer.callees.push(who);
                }
                What::Done(request)
            }
        };
        seen.push(Seen { who, what });
    }

    pub(super) fn unregister(&mut self, who: usize, request: u64, pattern: Pattern, seen: &mut Vec<Seen>) {
        let found = self
            .offers
            .iter_mut()
            .find(|offer| offer.pattern == pattern && offer.callees.contains(&who));
        let what = match found {
            Some(offer) => {
                offer.callees.retain(|callee| *callee != who);
                What::Done(request)
            }
            None => What::Error(request, Wrong::NotYours),
        };
        self.offers.retain(|offer| !offer.callees.is_empty());
        seen.push(Seen { who, what });
    }

    pub(super) fn call(
        &mut self,
        (caller, request): (usize, u64),
        procedure: &str,
        tag: u64,
        (progress, timeout): (bool, u64),
        seen: &mut Vec<Seen>,
    ) {
        let best = self
            .offers
            .iter_mut()
            .filter(|offer| matches(offer.pattern, procedure))
            .max_by_key(|offer| rank(offer.pattern));
        let Some(offer) = best else {
            let what = What::Error(request, Wrong::NoProcedure);
            return seen.push(Seen { who: caller, what });
        };
        let place = match offer.invoke {
            InvokePolicy::Last => offer.callees.len() - 1,
            InvokePolicy::RoundRobin => {
                let place = offer.turn % offer.callees.len();
                offer.turn = place + 1;
                place
            }
            InvokePolicy::Single | InvokePolicy::First | InvokePolicy::Random => 0,
        };
        let callee = offer.callees[place];
        let able = self.clients[callee].is_some_and(|features| features.progresses);
        self.coming[callee].push_back(tag);
        self.calls.push(Call {
            caller,
            request,
            callee,
            tag,
            heard: false,
            interrupted: false,
            progress: progress && able,
            timeout,
            deadline: if timeout == 0 { u64::MAX } else { self.now + timeout },
        });
    }

    /// An invocation reached its callee. False if another one was due.
    pub(super) fn delivered(&mut self, callee: usize, tag: u64) -> bool {
        for call in self.calls.iter_mut().filter(|call| call.tag == tag) {
            call.heard = true;
        }
        self.coming[callee].pop_front() == Some(tag)
    }

    /// The call is over; the callee is told if `tell`, and the caller answered by `answer`.
    fn end(&mut self, tag: u64, tell: bool, answer: Option<Wrong>, seen: &mut Vec<Seen>) {
        let Some(place) = self.calls.iter().position(|call| call.tag == tag) else {
            return;
        };
        let call = self.calls.remove(place);
        self.coming[call.callee].retain(|other| *other != tag);
        if tell && call.heard && self.cancels(call.callee) {
            seen.push(Seen {
                who: call.callee,
                what: What::Interrupt(tag),
            });
        }
        if let Some(wrong) = answer {
            let what = What::Error(call.request, wrong);
            seen.push(Seen { who: call.caller, what });
        }
    }

    pub(super) fn cancel(&mut self, caller: usize, request: u64, mode: CancelMode, seen: &mut Vec<Seen>) {
        let Some(place) = self
            .calls
            .iter()
            .position(|call| call.caller == caller && call.request == request)
        else {
            return;
        };
        let (tag, callee, heard) = (self.calls[place].tag, self.calls[place].callee, self.calls[place].heard);
        if mode == CancelMode::Kill && heard && self.cancels(callee) {
            if !self.calls[place].interrupted {
                self.calls[place].interrupted = true;
                seen.push(Seen {
                    who: callee,
                    what: What::Interrupt(tag),
                });
            }
            return;
        }
        self.end(tag, mode != CancelMode::Skip, Some(Wrong::Canceled), seen);
    }

    /// A callee answers; whether the call is still there is seen here.
    pub(super) fn answer(&mut self, tag: u64, answer: Answer, seen: &mut Vec<Seen>) {
        let now = self.now;
        let Some(place) = self.calls.iter().position(|call| call.tag == tag) else {
            return;
        };
        let call = &mut self.calls[place];
        let (who, request) = (call.caller, call.request);
        match answer {
            Answer::Progress => {
                if call.progress && !call.interrupted {
                    if call.timeout > 0 {
                        call.deadline = now + call.timeout;
                    }
                    let what = What::Result {
                        request,
                        tag,
                        progress: true,
                    };
                    seen.push(Seen { who, what });
                }
            }
            Answer::Result => {
                self.calls.remove(place);
                let what = What::Result {
                    request,
                    tag,
                    progress: false,
                };
                seen.push(Seen { who, what });
            }
            Answer::Error => {
                self.calls.remove(place);
                seen.push(Seen {
                    who,
                    what: What::Error(request, Wrong::Application),
                });
            }
        }
    }

    pub(super) fn tick(&mut self, now: u64, seen: &mut Vec<Seen>) {
        self.now = now;
        let late: Vec<u64> = self
            .calls
            .iter()
            .filter(|call| call.deadline <= now)
            .map(|call| call.tag)
            .collect();
        for tag in late {
            self.end(tag, true, Some(Wrong::TimedOut), seen);
        }
    }

    pub(super) fn leave(&mut self, who: usize, seen: &mut Vec<Seen>) {
        let own: Vec<(u64, usize)> = self
            .calls
            .iter()
            .filter(|call| call.caller == who)
            .map(|call| (call.tag, call.callee))
            .collect();
        for (tag, callee) in own {
            self.end(tag, callee != who, None, seen);
        }
        let served: Vec<u64> = self
            .calls
            .iter()
            .filter(|call| call.callee == who)
            .map(|call| call.tag)
            .collect();
        for tag in served {
            self.end(tag, false, Some(Wrong::Canceled), seen);
        }
        self.subscriptions.retain(|(other, _)| *other != who);
        for offer in &mut self.offers {
            offer.callees.retain(|callee| *callee != who);
        }
        self.offers.retain(|offer| !offer.callees.is_empty());
        self.coming[who].clear();
        self.clients[who] = None;
    }

    /// Subscriptions, registrations and calls, for comparing with the router's own count.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let mut patterns: Vec<Pattern> = self.subscriptions.iter().map(|(_, pattern)| *pattern).collect();
        patterns.sort_unstable();
        patterns.dedup();
        (patterns.len(), self.offers.len(), self.calls.len())
    }
}

/// How a callee answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Progress,
    Result,
    Error,
}
