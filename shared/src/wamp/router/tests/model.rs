//! Random runs of the router beside a naive model: whatever clients do, both must send the same to everybody.
//!
//! Clients read their invocations from queues of one to three places, so that held invocations, late answers and
//! crossing cancels come up by themselves.

mod naive;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::*;
use crate::wamp::{
    id::{RegistrationId, RequestId, SubscriptionId},
    message::*,
    payload::Payload,
    router::fault::Fault,
    uri::{MatchPolicy, error},
};
use naive::{Answer, Features, Naive, Pattern, Seen, What, Wish, Wrong};

const CLIENTS: usize = 4;
const STEPS: usize = 40;

const NAMES: [&str; 5] = ["a.b", "a.c", "a.b.c", "a.bb", "b"];
const PATTERNS: [Pattern; 11] = [
    (MatchPolicy::Exact, "a.b"),
    (MatchPolicy::Exact, "a.b.c"),
    (MatchPolicy::Exact, "b"),
    (MatchPolicy::Prefix, ""),
    (MatchPolicy::Prefix, "a"),
    (MatchPolicy::Prefix, "a."),
    (MatchPolicy::Prefix, "a.b"),
    (MatchPolicy::Wildcard, "a."),
    (MatchPolicy::Wildcard, ".b"),
    (MatchPolicy::Wildcard, "a..c"),
    (MatchPolicy::Wildcard, "."),
];

/// What went wrong.
type Verdict = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}

// Below the macro, which it uses.
mod steps;

#[derive(Debug, Default)]
struct Client {
    connection: u64,
    session: Option<SessionId>,
    next_request: u64,
    /// What SUBSCRIBE and REGISTER are out for.
    asked: BTreeMap<RequestId, Pattern>,
    subscriptions: BTreeMap<SubscriptionId, Pattern>,
    registrations: BTreeMap<RegistrationId, Pattern>,
    former: BTreeSet<RegistrationId>,
    /// Invocations that were not read yet: the bounded queue.
    queue: VecDeque<(RequestId, u64)>,
    waits_for_room: bool,
    /// Invocations read, answered or not: number and tag.
    read: Vec<(RequestId, u64)>,
    /// Tags of its calls, by request.
    calls: Vec<(RequestId, u64)>,
    last_event: BTreeMap<Pattern, u64>,
}

struct Run {
    random: IdGenerator,
    router: Router,
    model: Naive,
    clients: Vec<Client>,
    capacity: usize,
    last_connection: u64,
    last_tag: u64,
    now: u64,
}

fn payload(tag: u64) -> Payload {
    Payload::from_checked(CodecId::Json, Bytes::from(format!("[{tag}]")), Bytes::new())
}

fn tag_of(payload: &Payload) -> u64 {
    let digits = payload.args().iter().filter(|byte| byte.is_ascii_digit());
    digits.fold(0, |tag, byte| tag * 10 + u64::from(byte - b'0'))
}

impl Run {
    fn new(seed: u64, fault: Option<Fault>) -> Self {
        let config = RouterConfig {
            authorizer: Box::new(AllNames),
            ..RouterConfig::new(seed)
        };
        let router = Router::new(Uri::unchecked("realm"), config);
        let mut random = IdGenerator::new(seed ^ 0x5eed);
        let capacity = 1 + usize::try_from(random.next() % 3).unwrap_or(0);
        Self {
            random,
            router: match fault {
                Some(fault) => router.with_fault(fault),
                None => router,
            },
            model: Naive::new(CLIENTS),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            capacity,
            last_connection: 0,
            last_tag: 0,
            now: 0,
        }
    }

    fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count.max(1)).unwrap_or(1);
        usize::try_from(self.random.next() % count).unwrap_or(0)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        let place = self.below(from.len());
        from.get(place).copied()
    }

    fn tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
    }

    /// The next request id; sometimes with a gap, which is allowed.
    fn request(&mut self, who: usize) -> RequestId {
        let gap = u64::from(self.one_in(8));
        let client = &mut self.clients[who];
        client.next_request += 1 + gap;
        RequestId::wrapped(client.next_request)
    }

    fn say(&mut self, who: usize, message: Message, expected: Vec<Seen>) -> Verdict {
        let connection = ConnectionId(self.clients[who].connection);
        self.feed(
            Input::Message {
                connection,
                message: message.into(),
            },
            expected,
        )
    }

    /// Hands an input to the router and compares what comes out with what is expected.
    fn feed(&mut self, input: Input, mut expected: Vec<Seen>) -> Verdict {
        let what = format!("{input:?}");
        let mut seen = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            for output in self.router.handle(input) {
                match output {
                    Output::Pause { .. } => {}
                    Output::Close { connection, .. } => {
                        let who = self.slot(connection)?;
                        seen.push(Seen {
                            who,
                            what: What::Closed,
                        });
                    }
                    Output::Store(change) => ensure!(false, "the realm has no history: {change:?}"),
                    Output::Send {
                        connection,
                        message,
                        class,
                    } => {
                        let who = self.slot(connection)?;
                        if class == Class::Invocation {
                            ensure!(
                                matches!(message.message(), Message::Invocation(_)),
                                "the class of an invocation for {message:?}"
                            );
                            if self.clients[who].queue.len() >= self.capacity {
                                self.clients[who].waits_for_room = true;
                                inputs.push_back(Input::Undelivered { connection, message });
                                continue;
                            }
                        }
                        seen.extend(self.receive(who, message.message())?);
                    }
                }
            }
        }
        seen.sort_unstable();
        expected.sort_unstable();
        ensure!(
            seen == expected,
            "{what}: the router sent {seen:?}, the model {expected:?}"
        );
        let stats = self.router.stats();
        let counts = (stats.subscriptions, stats.registrations, stats.calls);
        ensure!(
            counts == self.model.counts(),
            "{what}: {counts:?} against {:?}",
            self.model.counts()
        );
        Ok(())
    }

    fn slot(&self, connection: ConnectionId) -> Result<usize, String> {
        let found = self.clients.iter().position(|client| client.connection == connection.0);
        found.ok_or_else(|| format!("something for {connection:?}, which is gone"))
    }

    /// A client gets a message: what it learns from it, and how it reads to the model.
    fn receive(&mut self, who: usize, message: &Message) -> Result<Option<Seen>, String> {
        let client = &mut self.clients[who];
        let done = |request: RequestId| {
            Ok(Some(Seen {
                who,
                what: What::Done(request.get()),
            }))
        };
        match message {
            Message::Welcome(welcome) => {
                client.session = Some(welcome.session);
                Ok(None)
            }
            Message::Subscribed(message) => {
                let pattern = client.asked.remove(&message.request).ok_or("SUBSCRIBED for nothing")?;
                client.subscriptions.insert(message.subscription, pattern);
                done(message.request)
            }
            Message::Registered(message) => {
                let pattern = client.asked.remove(&message.request).ok_or("REGISTERED for nothing")?;
                client.registrations.insert(message.registration, pattern);
                done(message.request)
            }
            Message::Published(message) => done(message.request),
            Message::Unsubscribed(Unsubscribed {
                request: Some(request), ..
            })
            | Message::Unregistered(Unregistered {
                request: Some(request), ..
            }) => done(*request),
            Message::Event(event) => {
                let pattern = *client
                    .subscriptions
                    .get(&event.subscription)
                    .ok_or("EVENT before SUBSCRIBED")?;
                let tag = tag_of(&event.payload);
                let last = client.last_event.insert(pattern, tag);
                if last >= Some(tag) {
                    return Err(format!("event {tag} after {last:?}"));
                }
                if event.details.topic.is_some() != (pattern.0 != MatchPolicy::Exact) {
                    return Err(format!("the topic of {event:?}"));
                }
                Ok(Some(Seen {
                    who,
                    what: What::Event { pattern, tag },
                }))
            }
            Message::Invocation(invocation) => {
                let tag = tag_of(&invocation.payload);
                let id = invocation.registration;
                let known = client.registrations.contains_key(&id) || client.former.contains(&id);
                client.queue.push_back((invocation.request, tag));
                if !known || !self.model.delivered(who, tag) {
                    return Err(format!("{invocation:?} out of order, or before REGISTERED"));
                }
                Ok(None)
            }
            Message::Interrupt(interrupt) => {
                let heard = client.queue.iter().chain(&client.read);
                let found = heard.copied().find(|(request, _)| *request == interrupt.request);
                let (_, tag) = found.ok_or("INTERRUPT before INVOCATION")?;
                Ok(Some(Seen {
                    who,
                    what: What::Interrupt(tag),
                }))
            }
            Message::Result(result) => {
                let (request, tag) = (result.request.get(), tag_of(&result.payload));
                let progress = result.details.progress;
                Ok(Some(Seen {
                    who,
                    what: What::Result { request, tag, progress },
                }))
            }
            Message::Error(message) => {
                client.asked.remove(&message.request);
                let wrong = match message.error.as_str() {
                    error::PROCEDURE_ALREADY_EXISTS => Wrong::Taken,
                    error::NO_SUCH_SUBSCRIPTION | error::NO_SUCH_REGISTRATION => Wrong::NotYours,
                    error::NO_SUCH_PROCEDURE => Wrong::NoProcedure,
                    error::CANCELED => Wrong::Canceled,
                    error::TIMEOUT => Wrong::TimedOut,
                    "an.error" => Wrong::Application,
                    _ => return Err(format!("{message:?}")),
                };
                Ok(Some(Seen {
                    who,
                    what: What::Error(message.request.get(), wrong),
                }))
            }
            Message::Goodbye(_) => Ok(Some(Seen {
                who,
                what: What::Goodbye,
            })),
            Message::Abort(_) => Ok(Some(Seen { who, what: What::Abort })),
            other => Err(format!("{other:?} from the router")),
        }
    }
}

fn run(seed: u64, fault: Option<Fault>) -> Verdict {
    let mut run = Run::new(seed, fault);
    for _ in 0..STEPS {
        run.step()?;
    }
    run.finish()
}

#[test]
fn ten_thousand_random_runs_agree_with_the_naive_model() {
    for seed in 0..10_000 {
        if let Err(text) = run(seed, None) {
            panic!("seed {seed}: {text}");
        }
    }
}

#[test]
fn every_named_defect_is_noticed_within_five_hundred_runs() {
    for fault in [
        Fault::ForgetsToUnsubscribe,
        Fault::TakesEmptyEligibleForNone,
        Fault::StopsAtFirstSubscription,
        Fault::PrefersShortPrefix,
        Fault::SticksToFirstCallee,
        Fault::ForgetsCallersOfLeaver,
        Fault::AnswersTwice,
        Fault::Overtakes,
    ] {
        let noticed = (0..500).find(|seed| run(*seed, Some(fault)).is_err());
        assert!(noticed.is_some(), "{fault:?} goes unnoticed");
    }
}
