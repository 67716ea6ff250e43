//! The pure router of one realm: broker, dealer and the life of sessions, without I/O and without a clock.
//!
//! A shell owns one [`Router`], feeds it [`Input`]s one at a time and carries out the [`Output`]s in order before the
//! next input.
//!
//! **Queues.** Room is kept for every message except EVENT and INVOCATION ([`Class`]): what is reserved is bounded by
//! what the peer itself asked for. When an INVOCATION finds no room, the shell hands it back as
//! [`Input::Undelivered`]; the router then holds it and all later invocations of that callee, in order, until the shell
//! says [`Input::Room`]. What is held is bounded by the calls that each caller may have in flight, and nobody waits for
//! a queue, so with every capacity at 1 nothing deadlocks: a callee that itself calls is answered through reserved
//! room. When an EVENT finds no room, the shell closes the slow peer.

mod asking;
pub mod authentication;
mod authorizer;
mod broker;
mod calls;
mod dealer;
mod deciding;
mod fault;
mod history;
mod in_flight;
mod joining;
mod meta;
mod meta_events;
mod outgoing;
mod party;
mod pattern;
mod requests;
mod retained;
mod revoke;
mod session;
mod testament;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
    time::Duration,
};

pub use authentication::{Authentication, Authenticator, Kdf, Salt, ScramCredential, SharedSecret, TicketHash};
pub use authorizer::{Action, Authorizer, BaseAuthorizer, Decision, NODE_FOLLOW, NODE_INSPECT, Open, TOKEN};
pub use deciding::{AuthorizerProcedure, REAUTHORIZE};
pub use history::{Change, HistoryConfig, HistoryLimits, HistoryTopics, Recorded};
pub use outgoing::Outgoing;
pub use retained::RetentionLimits;

use crate::wamp::{
    codec::CodecId,
    id::{IdGenerator, MAX_ID, SessionId},
    message::Message,
    uri::{MatchPolicy, Name, Syntax, Uri, close},
};
use asking::{Asked, OWN};
use broker::{Broker, Member};
use calls::Calls;
use dealer::Dealer;
use deciding::Doubts;
use history::{History, Unstored};
use retained::Retained;
use session::{Connection, State};

pub use session::SessionInfo;

/// A connection of the shell's, numbered by the shell from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who is at the other end of a connection, as the shell has authenticated it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub authid: String,
    /// The role; limits and rights go by it.
    pub authrole: String,
    /// How that was proven.
    pub authmethod: String,
    /// Who vouches for it.
    pub authprovider: String,
    /// One of our own trees, joined over memory: trusted.
    pub internal: bool,
}

impl Principal {
    /// One of our own trees.
    #[must_use]
    pub fn internal(name: impl Into<String>) -> Self {
        Self {
            internal: true,
            ..Self::new(name, "node", "internal")
        }
    }

    /// Somebody who has proven to be `authid`, in a role.
    #[must_use]
    pub fn new(authid: impl Into<String>, authrole: impl Into<String>, authmethod: impl Into<String>) -> Self {
        let authmethod = authmethod.into();
        Self {
            authid: authid.into(),
            authrole: authrole.into(),
            authprovider: authmethod.clone(),
            authmethod,
            internal: false,
        }
    }
}

/// How much one session may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Registrations.
    pub registrations: usize,
    /// Prefix and wildcard patterns among its subscriptions and registrations together.
    pub patterns: usize,
    /// Calls without an answer yet.
    pub calls: usize,
    /// Testaments.
    pub testaments: usize,
    /// Retained events.
    pub retained: usize,
}

impl Limits {
    /// For browsers, and for every role that nothing else is said about.
    pub const BROWSER: Self = Self {
        subscriptions: 256,
        registrations: 64,
        patterns: 16,
        calls: 64,
        testaments: 8,
        retained: 16,
    };
    /// For components in other processes, and for our own trees.
    pub const COMPONENT: Self = Self {
        subscriptions: 65_536,
        registrations: 65_536,
        patterns: 16_384,
        calls: 4_096,
        testaments: 256,
        retained: 16_384,
    };
}

/// How a router is set up.
pub struct RouterConfig {
    /// Where ids start from. Random in production, fixed in tests.
    pub seed: u64,
    /// Limits by authrole; roles that are not here get [`Limits::BROWSER`], internal sessions [`Limits::COMPONENT`].
    pub limits: BTreeMap<String, Limits>,
    /// Says who may do what.
    pub authorizer: Box<dyn Authorizer + Send>,
    /// The procedures that decide, by authrole, what the authorizer leaves open ([`Decision::Ask`]).
    pub authorizers: BTreeMap<String, AuthorizerProcedure>,
    /// The fingerprint that clients which send one must send; none = no check.
    pub contracts: Option<String>,
    /// Which characters names may have.
    pub syntax: Syntax,
    /// The roles that may use the meta API, besides our own trees: look at sessions, end them, hear of them.
    pub meta_roles: BTreeSet<String>,
    /// The roles whose people are operators when they come with a token ([`TOKEN`]) instead of a page: they may use the
    /// meta API, look into nodes, and call, publish and subscribe everywhere. A page with the same login may not.
    pub operators: BTreeSet<String>,
    /// How much is retained.
    pub retention: RetentionLimits,
    /// Of which topics history is kept.
    pub history: HistoryConfig,
    /// Who may join and how that is proven; none = as whom the transport says.
    pub authentication: Option<Authentication>,
    /// Unix time at the origin of [`Input::Tick`]'s clock, for the dates in the meta API.
    pub epoch: Duration,
}

impl RouterConfig {
    /// A router with the default authorizer and limits.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            limits: BTreeMap::new(),
            authorizer: Box::new(BaseAuthorizer::default()),
            authorizers: BTreeMap::new(),
            contracts: None,
            syntax: Syntax::Loose,
            meta_roles: BTreeSet::new(),
            operators: BTreeSet::new(),
            retention: RetentionLimits::default(),
            history: HistoryConfig::default(),
            authentication: None,
            epoch: Duration::ZERO,
        }
    }

    /// Whether somebody is an operator: see [`RouterConfig::operators`].
    fn is_operator(&self, who: &Principal) -> bool {
        who.authmethod == TOKEN && self.operators.contains(&who.authrole)
    }

    /// What is decided about a request outside `wamp.`.
    fn judge(&self, who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> Decision {
        match action {
            Action::Call | Action::Publish | Action::Subscribe if self.is_operator(&who.principal) => Decision::Allow,
            Action::Call | Action::Publish | Action::Subscribe | Action::Register => {
                self.authorizer.authorize(who, action, uri, policy)
            }
        }
    }
}

/// What happens to the router.
#[derive(Debug)]
pub enum Input {
    /// A connection was opened.
    Attach {
        /// Its number, never used again.
        connection: ConnectionId,
        /// Its codec. Arguments are translated to it before they are sent.
        codec: CodecId,
        /// Who is at the other end.
        principal: Principal,
    },
    /// A message came in.
    Message {
        /// Where.
        connection: ConnectionId,
        /// The message. In a box, because it is handed on from one to the next.
        message: Box<Message>,
    },
    /// A frame came in that is not a message: the session is aborted.
    Malformed {
        /// Where.
        connection: ConnectionId,
        /// What is wrong with it.
        reason: String,
    },
    /// A connection is gone.
    Detach {
        /// Which.
        connection: ConnectionId,
    },
    /// End a session by GOODBYE and close its connection.
    Kill {
        /// Which.
        session: SessionId,
        /// The reason in GOODBYE.
        reason: Uri,
        /// A sentence for people.
        message: Option<String>,
    },
    /// The session has proven that it is the client of this session root. Another session that held the base is closed.
    BindBase {
        /// Which.
        session: SessionId,
        /// The root's base.
        base: Uri,
    },
    /// Let a session subscribe to a topic outside its base.
    Grant {
        /// Which.
        session: SessionId,
        /// The topic.
        topic: Uri,
    },
    /// Take that back, and its subscription with it.
    Revoke {
        /// Which.
        session: SessionId,
        /// The topic.
        topic: Uri,
    },
    /// Somebody who has not joined yet may not: the connection is closed. For shells that slow down guessing.
    RefuseLogin {
        /// Which connection.
        connection: ConnectionId,
        /// A sentence for people.
        message: String,
    },
    /// Permissions have changed: what open sessions have and may not have any more is taken away.
    Reauthorize {
        /// Only of this session; none = of all.
        session: Option<SessionId>,
    },
    /// An INVOCATION found no room. Must be said before any other input.
    Undelivered {
        /// For whom it was.
        connection: ConnectionId,
        /// What came out as [`Output::Send`].
        message: Arc<Outgoing>,
    },
    /// An event of class [`Class::Resumable`] found no room, and those of its subscription that waited are forgotten. Must
    /// be said before any other input.
    Behind {
        /// For whom it was.
        connection: ConnectionId,
        /// What came out as [`Output::Send`].
        message: Arc<Outgoing>,
    },
    /// There is room again for this many invocations. Only needed after [`Input::Undelivered`].
    Room {
        /// At which connection.
        connection: ConnectionId,
        /// For how many.
        invocations: usize,
    },
    /// What came out as [`Output::Store`] is written down; or could not be.
    Stored {
        /// From the first to the last [`Change::number`].
        numbers: RangeInclusive<u64>,
        /// Whether it survives the process now.
        kept: bool,
    },
    /// Time has passed. Calls past their limit are ended; see [`Router::next_deadline`].
    Tick {
        /// Monotonic time since any origin.
        now: Duration,
    },
    /// Say GOODBYE to everybody and close all connections.
    Shutdown,
}

/// How a queue treats a message when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Answers to the peer's own requests, one for each: room is reserved.
    Reply,
    /// Goes back to the router as [`Input::Undelivered`].
    Invocation,
    /// Events, and results before the last. The peer is too slow: close it.
    Event,
    /// Events of resumable subscriptions. Those that wait are forgotten, and [`Input::Behind`] says so.
    Resumable,
    /// WELCOME, ABORT, GOODBYE, INTERRUPT, revocations, and one EVENT for all that were forgotten: room is reserved.
    Control,
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Send a message.
    Send {
        /// Where to.
        connection: ConnectionId,
        /// The message; the frame is made once per codec however many get it.
        message: Arc<Outgoing>,
        /// What to do if there is no room.
        class: Class,
    },
    /// Write down what changed in the history, in order, and say [`Input::Stored`]. Only if the history is durable.
    Store(Box<Change>),
    /// Stop reading from a connection, or go on: what it sent waits for a decision. Optional: if more comes than can be
    /// kept, the session ends.
    Pause {
        /// Which.
        connection: ConnectionId,
        /// Stop, or go on.
        paused: bool,
    },
    /// Send what is queued, then close.
    Close {
        /// Which.
        connection: ConnectionId,
        /// Why, for the transport's close frame and the log.
        reason: Uri,
    },
}

/// What is in the router, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Open connections.
    pub connections: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Subscriptions (topics and patterns, not subscribers).
    pub subscriptions: usize,
    /// Registrations (procedures and patterns, not callees).
    pub registrations: usize,
    /// Calls without an answer yet.
    pub calls: usize,
    /// Invocations that wait for room.
    pub held: usize,
    /// Retained events.
    pub retained: usize,
    /// Events in the history.
    pub history: usize,
}

/// The router of one realm.
pub struct Router {
    realm: Uri,
    config: RouterConfig,
    ids: IdGenerator,
    now: Duration,
    connections: BTreeMap<ConnectionId, Connection>,
    sessions: BTreeMap<SessionId, ConnectionId>,
    bases: BTreeMap<Uri, SessionId>,
    broker: Broker,
    dealer: Dealer,
    calls: Calls,
    retained: Retained,
    history: History,
    unstored: Unstored,
    /// The router's own calls.
    asked: Asked,
    doubts: Doubts,
    /// Who publishes the meta events and asks authorizers.
    own: Arc<Member>,
}

impl Router {
    /// The router of `realm`.
    #[must_use]
    pub fn new(realm: Uri, mut config: RouterConfig) -> Self {
        let history = History::new(std::mem::take(&mut config.history));
        let ids = IdGenerator::new(config.seed);
        let retained = Retained::new(config.retention);
        // One above all that are drawn.
        let (session, nobody) = (SessionId::wrapped(MAX_ID), Name::from(""));
        let own = Arc::new(Member {
            meta: true,
            ..Member::new(session, (OWN, CodecId::Msgpack), (nobody.clone(), nobody))
        });
        let mut router = Self {
            retained,
            history,
            unstored: Unstored::default(),
            asked: Asked::default(),
            doubts: Doubts::default(),
            own,
            realm,
            config,
            ids,
            now: Duration::ZERO,
            connections: BTreeMap::new(),
            sessions: BTreeMap::new(),
            bases: BTreeMap::new(),
            broker: Broker::default(),
            dealer: Dealer::default(),
            calls: Calls::default(),
        };
        router.join_itself();
        router
    }

    /// The same router with a defect.
    #[cfg(test)]
    fn with_fault(mut self, fault: fault::Fault) -> Self {
        let faults = fault::Faults::of(fault);
        self.broker.faults = faults;
        self.dealer.faults = faults;
        self.calls.faults = faults;
        self
    }

    /// Takes what happened and says what to do. Inputs about connections and sessions that are gone do nothing.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        self.handle_into(input, &mut out);
        out
    }

    /// As [`Self::handle`], appending to a list whose memory is used again.
    pub fn handle_into(&mut self, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Attach {
                connection,
                codec,
                principal,
            } => self.attach(connection, codec, principal),
            Input::Message { connection, message } => self.message(connection, message, out),
            Input::Malformed { connection, reason } => self.violation(connection, reason, out),
            Input::Detach { connection } => self.detach(connection, out),
            Input::Kill {
                session,
                reason,
                message,
            } => self.kill(session, reason, message, out),
            Input::BindBase { session, base } => self.bind_base(session, base, out),
            Input::Grant { session, topic } => {
                if let Some(joined) = self.joined_mut(session) {
                    joined.info.grants.insert(topic);
                }
            }
            Input::Revoke { session, topic } => self.revoke(session, &topic, out),
            Input::RefuseLogin { connection, message } => self.refuse_login(connection, message, out),
            Input::Reauthorize { session } => self.reauthorize(session, out),
            Input::Undelivered { connection, message } => {
                if let Some(session) = self.session_at(connection) {
                    self.calls.undelivered(session, message);
                }
            }
            Input::Behind { connection, message } => self.fall_behind(connection, &message, out),
            Input::Room {
                connection,
                invocations,
            } => {
                if let Some(session) = self.session_at(connection) {
                    self.calls.room(session, invocations, out);
                }
            }
            Input::Stored { numbers, kept } => self.stored(&numbers, kept, out),
            Input::Tick { now } => {
                self.now = self.now.max(now);
                self.calls.expire(self.now, out);
            }
            Input::Shutdown => {
                let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
                for session in sessions {
                    self.kill(session, Uri::unchecked(close::SYSTEM_SHUTDOWN), None, out);
                }
            }
        }
        self.hear(out);
        self.ask_about_kept(out);
        // What was taken away just now may have ended a session that was asked.
        self.hear(out);
    }

    /// When the next call is over its time limit, on the clock of [`Input::Tick`]. The limits of new calls count from
    /// the last tick, so a shell ticks at least as often as it wants limits to be exact.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Duration> {
        self.calls.next_deadline()
    }

    /// The realm.
    #[must_use]
    pub const fn realm(&self) -> &Uri {
        &self.realm
    }

    /// A session, if it is open.
    #[must_use]
    pub fn session(&self, session: SessionId) -> Option<&SessionInfo> {
        self.joined(session).map(|joined| &joined.info)
    }

    /// The session at a connection, if one is open.
    #[must_use]
    pub fn session_at(&self, connection: ConnectionId) -> Option<SessionId> {
        match self.connections.get(&connection)?.state {
            State::Joined(ref joined) => Some(joined.info.session),
            State::Attached | State::Challenged(_) | State::Asking(_) | State::Closing => None,
        }
    }

    /// Whether invocations for this connection are held until there is [`Input::Room`].
    #[must_use]
    pub fn is_stalled(&self, connection: ConnectionId) -> bool {
        self.session_at(connection)
            .is_some_and(|session| self.calls.is_stalled(session))
    }

    /// Invocations that are held for this connection until there is [`Input::Room`].
    #[must_use]
    pub fn held(&self, connection: ConnectionId) -> usize {
        self.session_at(connection)
            .map_or(0, |session| self.calls.held_for(session))
    }

    /// The session that holds a base.
    #[must_use]
    pub fn session_of_base(&self, base: &str) -> Option<SessionId> {
        self.bases.get(base).copied()
    }

    /// What is in the router now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections.len(),
            sessions: self.sessions.len(),
            subscriptions: self.broker.len(),
            registrations: self.dealer.len(),
            calls: self.calls.len(),
            held: self.calls.held(),
            retained: self.retained.len(),
            history: self.history.len(),
        }
    }
}
