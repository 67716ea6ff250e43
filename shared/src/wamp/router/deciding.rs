//! Requests that an authorizer procedure decides: what waits for it, what it said, and what it said before.
//!
//! Only the session that asked for something waits: what it sends meanwhile is kept in order behind its request. An
//! answer is remembered for this session alone, if the authorizer says so, until its time is over, the authorizer is
//! registered again, or somebody calls [`REAUTHORIZE`]. No answer, an error or anything unknown in it is a denial.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::wamp::{
    id::SessionId,
    message::{Message, RegisterOptions, SubscribeOptions},
    payload::Payload,
    uri::{MatchPolicy, Uri, error},
    value::Dynamic,
};

use super::{
    Action, ConnectionId, Decision, Output, Router, SessionInfo,
    asking::{Callee, Purpose},
    broker::Member,
    meta_events::SessionShown,
    session::Joined,
};

/// Forgets what authorizers have said about a session (its argument) or about all, and asks them again about what open
/// sessions have. For those who may use the meta API.
pub const REAUTHORIZE: &str = "coati.reauthorize";

/// Decisions remembered for one session; beyond that, all are forgotten.
const MOST_KNOWN: usize = 1_024;
/// Messages that wait behind an undecided one before no more are read.
const PAUSE_AFTER: usize = 32;
/// Messages that wait behind an undecided one at all.
const MOST_WAITING: usize = 4_096;
/// Questions about what sessions already have that are asked at once.
const MOST_KEPT: usize = 64;

/// The procedure that decides what a role may do where the rules leave that open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizerProcedure {
    /// What is called, with session, URI, action and options.
    pub procedure: Uri,
    /// The role whose sessions may offer it, beside our own trees.
    pub role: String,
    /// How long it may take.
    pub timeout: Duration,
    /// How long an answer that says `cache` is remembered.
    pub remembered: Duration,
}

/// What a session wants.
type Wish = (Action, Uri, MatchPolicy);

/// What an authorizer has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Allowed {
        /// Say who published, whatever the publisher wanted.
        discloses: bool,
    },
    Denied,
    /// It did not say anything useful.
    Failed,
}

/// What authorizers have said about a session, and what waits for that.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    known: BTreeMap<Wish, (Judged, Duration)>,
    /// For the request that is just handled.
    once: Option<(Wish, Judged)>,
    /// The first one is being decided.
    waiting: VecDeque<Box<Message>>,
    paused: bool,
}

impl Decisions {
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn of(&self, wish: &Wish, now: Duration) -> Option<Judged> {
        let once = self.once.as_ref().filter(|(about, _)| about == wish);
        let known = self.known.get(wish).filter(|(_, until)| now < *until);
        once.map(|(_, judged)| *judged).or(known.map(|(judged, _)| *judged))
    }

    fn remember(&mut self, wish: Wish, judged: Judged, until: Duration) {
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        self.known.insert(wish, (judged, until));
    }

    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// What a message wants that needs permission.
fn wish(message: &Message) -> Option<(Action, &Uri, MatchPolicy)> {
    if let Message::Call(call) = message {
        Some((Action::Call, &call.procedure, MatchPolicy::Exact))
    } else if let Message::Publish(publish) = message {
        Some((Action::Publish, &publish.topic, MatchPolicy::Exact))
    } else if let Message::Subscribe(subscribe) = message {
        Some((Action::Subscribe, &subscribe.topic, subscribe.options.policy))
    } else if let Message::Register(register) = message {
        Some((Action::Register, &register.procedure, register.options.policy))
    } else {
        None
    }
}

/// Reads an answer: what it says, and whether that may be remembered.
fn read(answer: Option<&Payload>) -> (Judged, bool) {
    let failed = (Judged::Failed, false);
    let answer = answer.and_then(|answer| answer.decode_args::<Vec<Dynamic>>().ok()?.into_iter().next());
    let pairs = match answer {
        Some(Dynamic::Boolean(true)) => return (Judged::Allowed { discloses: false }, false),
        Some(Dynamic::Boolean(false)) => return (Judged::Denied, false),
        Some(Dynamic::Map(pairs)) => pairs,
        Some(
            Dynamic::Null
            | Dynamic::Integer(_)
            | Dynamic::Unsigned(_)
            | Dynamic::Real(_)
            | Dynamic::Text(_)
            | Dynamic::Binary(_)
            | Dynamic::List(_),
        )
        | None => return failed,
    };
    let (mut allow, mut discloses, mut cache) = (None, false, false);
    for (name, value) in &pairs {
        match (name.as_str(), value) {
            (Some("allow"), Dynamic::Boolean(value)) => allow = Some(*value),
            (Some("disclose"), Dynamic::Boolean(value)) => discloses = *value,
            (Some("cache"), Dynamic::Boolean(value)) => cache = *value,
            // Whoever demands what is not known here, such as checks of payloads, must not get less.
            _ => return failed,
        }
    }
    match allow {
        Some(true) => (Judged::Allowed { discloses }, cache),
        Some(false) => (Judged::Denied, cache),
        None => failed,
    }
}

impl Router {
    /// Keeps a message behind the one that is being decided.
    pub(super) fn wait(
        &mut self,
        connection: ConnectionId,
        session: SessionId,
        message: Box<Message>,
        out: &mut Vec<Output>,
    ) {
        if matches!(*message, Message::Abort(_)) {
            return self.aborted(connection, session, out);
        }
        let Some(joined) = self.joined_mut(session) else { return };
        let decisions = &mut joined.decisions;
        decisions.waiting.push_back(message);
        if decisions.waiting.len() > MOST_WAITING {
            let text = "Too much was sent while a request was being decided.".to_owned();
            return self.kill(session, Uri::unchecked(error::BUSY), Some(text), out);
        }
        if decisions.waiting.len() > PAUSE_AFTER && !std::mem::replace(&mut decisions.paused, true) {
            out.push(Output::Pause {
                connection,
                paused: true,
            });
        }
    }

    /// Whom to ask what before a message is handled; none if it can be handled now.
    pub(super) fn open_question(&self, member: &Member, message: &Message) -> Option<(Callee, Payload)> {
        let authorizer = self.config.authorizers.get(&*member.authrole)?;
        let (action, uri, policy) = wish(message)?;
        let joined = self.joined(member.session)?;
        let decided = !uri.is_valid(self.config.syntax, policy)
            || uri.is_within("wamp")
            || *uri == REAUTHORIZE
            || self.config.judge(&joined.info, action, uri, policy) != Decision::Ask
            || matches!(message, Message::Call(call) if self.calls.is_in_flight(member.session, call.request))
            || joined.decisions.of(&(action, uri.clone(), policy), self.now).is_some();
        (!decided).then(|| {
            let question = self.question(&joined.info, (action, uri, policy), message);
            (authorizer.callee(), question)
        })
    }

    /// Keeps a message until an authorizer has answered about it.
    pub(super) fn decide_first(
        &mut self,
        session: SessionId,
        message: Box<Message>,
        (callee, question): (Callee, Payload),
        out: &mut Vec<Output>,
    ) {
        if let Some(joined) = self.joined_mut(session) {
            joined.decisions.waiting.push_back(message);
        }
        self.ask(callee, question, Purpose::Request(session), out);
    }

    fn question(
        &self,
        info: &SessionInfo,
        (action, uri, _): (Action, &Uri, MatchPolicy),
        message: &Message,
    ) -> Payload {
        let (codec, who, action) = (self.own.codec, SessionShown::of(info), action.name());
        let encoded = if let Message::Call(call) = message {
            Payload::encode(codec, &(who, uri, action, &call.options))
        } else if let Message::Publish(publish) = message {
            Payload::encode(codec, &(who, uri, action, &publish.options))
        } else if let Message::Subscribe(subscribe) = message {
            Payload::encode(codec, &(who, uri, action, &subscribe.options))
        } else if let Message::Register(register) = message {
            Payload::encode(codec, &(who, uri, action, &register.options))
        } else {
            Payload::encode(codec, &(who, uri, action))
        };
        encoded.unwrap_or_else(|_| Payload::empty(codec))
    }

    /// The authorizer has answered about the first message that waits.
    pub(super) fn request_judged(&mut self, session: SessionId, answer: Option<&Payload>, out: &mut Vec<Output>) {
        let now = self.now;
        let remembered = self
            .joined(session)
            .and_then(|joined| self.config.authorizers.get(&*joined.member.authrole))
            .map_or(Duration::ZERO, |authorizer| authorizer.remembered);
        let Some(joined) = self.joined_mut(session) else { return };
        let (connection, decisions) = (joined.member.connection, &mut joined.decisions);
        let mut waiting = std::mem::take(&mut decisions.waiting);
        let Some((action, uri, policy)) = waiting.front().and_then(|message| wish(message)) else {
            return;
        };
        let (wish, (judged, cache)) = ((action, uri.clone(), policy), read(answer));
        if cache {
            decisions.remember(wish.clone(), judged, now.saturating_add(remembered));
        }
        decisions.once = Some((wish, judged));
        let paused = std::mem::take(&mut decisions.paused);
        while let Some(message) = waiting.pop_front() {
            self.message(connection, message, out);
            // It may have left, and even have joined again.
            let current = self.session_at(connection).and_then(|session| self.joined_mut(session));
            let Some(Joined { decisions, .. }) = current else {
                continue;
            };
            decisions.once = None;
            if decisions.is_waiting() {
                decisions.paused = paused;
                decisions.waiting.extend(waiting);
                return;
            }
        }
        if paused {
            out.push(Output::Pause {
                connection,
                paused: false,
            });
        }
    }

    /// Forgets what the authorizer of a session has said, and has it asked again about what the session has.
    pub(super) fn ask_again(&mut self, session: SessionId) {
        let Some(joined) = self.joined_mut(session) else { return };
        joined.decisions.forget();
        let Some(joined) = self.joined(session) else { return };
        let asked = |action, uri: &Uri, policy| {
            !uri.is_within("wamp") && self.config.judge(&joined.info, action, uri, policy) == Decision::Ask
        };
        let subscriptions = self
            .broker
            .of_session(session)
            .map(|(_, uri, policy)| (Action::Subscribe, uri, policy));
        let registrations = self
            .dealer
            .of_session(session)
            .map(|(_, uri, policy)| (Action::Register, uri, policy));
        let kept: Vec<_> = subscriptions
            .chain(registrations)
            .filter(|(action, uri, policy)| asked(*action, uri, *policy))
            .map(|(action, uri, policy)| (session, (action, uri.clone(), policy)))
            .collect();
        self.doubts.waiting.extend(kept);
    }

    /// A procedure was registered: if that is an authorizer, what it said before counts no more.
    pub(super) fn authorizer_registered(&mut self, procedure: &Uri) {
        let roles: Vec<&String> = self
            .config
            .authorizers
            .iter()
            .filter(|(_, authorizer)| authorizer.procedure == *procedure)
            .map(|(role, _)| role)
            .collect();
        if roles.is_empty() {
            return;
        }
        let of_roles = self.sessions.keys().filter(|session| {
            self.joined(**session)
                .is_some_and(|joined| roles.iter().any(|role| **role == *joined.member.authrole))
        });
        for session in of_roles.copied().collect::<Vec<_>>() {
            self.ask_again(session);
        }
    }

    /// Asks about what sessions have, as much at once as is reasonable.
    pub(super) fn ask_about_kept(&mut self, out: &mut Vec<Output>) {
        while self.doubts.asked < MOST_KEPT {
            let Some((session, (action, uri, policy))) = self.doubts.waiting.pop_front() else {
                return;
            };
            let Some(joined) = self.joined(session) else { continue };
            let Some(authorizer) = self.config.authorizers.get(&*joined.member.authrole) else {
                continue;
            };
            let (codec, who, name) = (self.own.codec, SessionShown::of(&joined.info), action.name());
            let arguments = if action == Action::Register {
                let options = RegisterOptions {
                    policy,
                    ..RegisterOptions::default()
                };
                Payload::encode(codec, &(who, &uri, name, options))
            } else {
                let options = SubscribeOptions {
                    policy,
                    ..SubscribeOptions::default()
                };
                Payload::encode(codec, &(who, &uri, name, options))
            };
            let arguments = arguments.unwrap_or_else(|_| Payload::empty(codec));
            let callee = authorizer.callee();
            self.doubts.asked += 1;
            self.ask(callee, arguments, Purpose::Kept(session, (action, uri, policy)), out);
        }
    }

    /// The authorizer has answered about something that a session has: what it does not allow is taken away.
    pub(super) fn kept_judged(
        &mut self,
        session: SessionId,
        (action, uri, policy): (Action, &Uri, MatchPolicy),
        answer: Option<&Payload>,
        out: &mut Vec<Output>,
    ) {
        self.doubts.asked = self.doubts.asked.saturating_sub(1);
        match read(answer).0 {
            Judged::Allowed { .. } => return,
            Judged::Denied | Judged::Failed => {}
        }
        let reason = Uri::unchecked(error::NOT_AUTHORIZED);
        match action {
            Action::Subscribe => {
                if let Some(subscription) = self.broker.find(session, policy, uri) {
                    self.revoke_subscription(session, subscription, &reason, out);
                }
            }
            Action::Register => {
                let held = self.dealer.of_session(session);
                let registration = held
                    .filter(|(_, held, how)| (*held, *how) == (uri, policy))
                    .map(|(id, ..)| id)
                    .next();
                if let Some(registration) = registration {
                    self.revoke_registration(session, registration, &reason, out);
                }
            }
            // Nothing stays of these.
            Action::Call | Action::Publish => {}
        }
    }
}

impl AuthorizerProcedure {
    fn callee(&self) -> Callee {
        (self.procedure.clone(), self.role.clone(), self.timeout)
    }
}

/// What sessions have and their authorizer has yet to confirm.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    waiting: VecDeque<(SessionId, Wish)>,
    asked: usize,
}
