//! The life of a connection in the router: attached, joined, left.

use std::{collections::BTreeSet, sync::Arc};

use crate::wamp::{
    codec::CodecId,
    id::SessionId,
    message::{Authenticate, Hello, HelloDetails, Message, Welcome, WelcomeDetails},
    role::{Roles, feature},
    uri::{Uri, close, error},
};

use super::{
    Class, ConnectionId, Limits, Outgoing, Output, Principal, Router,
    authentication::{Expected, Verdict},
    broker::Member,
    calls::CalleeFeatures,
    testament::Testament,
};

/// A session as authorizers see it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its id.
    pub session: SessionId,
    /// Who it is.
    pub principal: Principal,
    /// The base of the session root that the router has bound it to.
    pub base: Option<Uri>,
    /// Topics outside its base that it may subscribe to.
    pub grants: BTreeSet<Uri>,
}

/// A connection and, once it has joined, its session.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) codec: CodecId,
    pub(super) principal: Principal,
    pub(super) state: State,
}

#[derive(Debug)]
pub(super) enum State {
    /// Waits for HELLO.
    Attached,
    /// Waits for AUTHENTICATE.
    Challenged(Box<Challenged>),
    /// In the realm.
    Joined(Box<Joined>),
    /// Told to go; everything that still comes is ignored.
    Closing,
}

/// A HELLO whose sender has to prove who it is.
#[derive(Debug)]
pub(super) struct Challenged {
    session: SessionId,
    hello: HelloDetails,
    expected: Expected,
}

/// What the router knows of a session.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) info: SessionInfo,
    pub(super) member: Arc<Member>,
    /// Announced `subscription_revocation` as subscriber.
    pub(super) revokes_subscriptions: bool,
    /// Announced `registration_revocation` as callee.
    pub(super) revokes_registrations: bool,
    pub(super) testaments: Vec<Testament>,
    pub(super) limits: Limits,
    /// Patterns among its subscriptions and registrations.
    pub(super) patterns: usize,
}

impl Router {
    pub(super) fn attach(&mut self, connection: ConnectionId, codec: CodecId, principal: Principal) {
        self.connections.insert(
            connection,
            Connection {
                codec,
                principal,
                state: State::Attached,
            },
        );
    }

    pub(super) fn joined(&self, session: SessionId) -> Option<&Joined> {
        match &self.connections.get(self.sessions.get(&session)?)?.state {
            State::Joined(joined) => Some(joined),
            State::Attached | State::Challenged(_) | State::Closing => None,
        }
    }

    pub(super) fn joined_mut(&mut self, session: SessionId) -> Option<&mut Joined> {
        match &mut self.connections.get_mut(self.sessions.get(&session)?)?.state {
            State::Joined(joined) => Some(joined),
            State::Attached | State::Challenged(_) | State::Closing => None,
        }
    }

    /// A message from a connection that has no session yet.
    pub(super) fn first_message(&mut self, connection: ConnectionId, message: Message, out: &mut Vec<Output>) {
        let is_challenged = self
            .connections
            .get(&connection)
            .is_some_and(|known| matches!(known.state, State::Challenged(_)));
        match message {
            Message::Hello(hello) if !is_challenged => self.open(connection, *hello, out),
            Message::Authenticate(answer) if is_challenged => self.authenticate(connection, &answer, out),
            Message::Abort(_) => self.close(connection, close::NORMAL, out),
            // An answer to our own GOODBYE that crossed with the peer's.
            Message::Goodbye(_) => {}
            other => self.violation(connection, format!("{} before a session", other.name()), out),
        }
    }

    fn open(&mut self, id: ConnectionId, hello: Hello, out: &mut Vec<Output>) {
        if hello.realm != self.realm {
            let text = format!("There is no realm '{}' here.", hello.realm);
            return self.abort(id, error::NO_SUCH_REALM, text, out);
        }
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let principal = connection.principal.clone();
        if let (Some(expected), Some(coati), false) = (&self.config.contracts, &hello.details.coati, principal.internal)
            && coati.contracts != *expected
        {
            let text = "This client was built against other contracts than the server's.".to_owned();
            return self.abort(id, error::CLIENT_OUTDATED, text, out);
        }
        let session = loop {
            let drawn = SessionId::wrapped(self.ids.next_id());
            if !self.sessions.contains_key(&drawn) {
                break drawn;
            }
        };
        let date = self.date(self.now);
        let verdict = match &mut self.config.authentication {
            Some(authentication) if !principal.internal => {
                authentication.hello(&hello.details, &principal, session, &date)
            }
            Some(_) | None => Verdict::Welcome(principal),
        };
        match verdict {
            Verdict::Welcome(principal) => self.welcome(id, session, principal, &hello.details, out),
            Verdict::Challenge(challenge, expected) => {
                let hello = hello.details;
                let challenged = Challenged {
                    session,
                    hello,
                    expected,
                };
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.state = State::Challenged(Box::new(challenged));
                }
                control(id, Message::Challenge(challenge), out);
            }
            Verdict::Refuse(reason, text) => self.abort(id, reason, text.to_owned(), out),
        }
    }

    /// The answer to a challenge.
    fn authenticate(&mut self, id: ConnectionId, answer: &Authenticate, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let State::Challenged(challenged) = std::mem::replace(&mut connection.state, State::Attached) else {
            return;
        };
        let Challenged {
            session,
            hello,
            expected,
        } = *challenged;
        match expected.prove(answer) {
            Some(principal) if !self.sessions.contains_key(&session) => {
                self.welcome(id, session, principal, &hello, out);
            }
            Some(_) | None => {
                let text = "The name or the proof is wrong.".to_owned();
                self.abort(id, error::AUTHENTICATION_FAILED, text, out);
            }
        }
    }

    /// Opens a session for somebody who has proven who it is.
    fn welcome(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        principal: Principal,
        hello: &HelloDetails,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let limits = match self.config.limits.get(&principal.authrole) {
            Some(limits) => *limits,
            None if principal.internal => Limits::COMPONENT,
            None => Limits::BROWSER,
        };
        let meta = principal.internal
            || self.config.meta_roles.contains(&principal.authrole)
            || self.config.authorizer.allows_meta(&principal);
        let member = Arc::new(Member {
            meta,
            session,
            connection: id,
            codec: connection.codec,
            authid: principal.authid.clone(),
            authrole: principal.authrole.clone(),
        });
        let roles = &hello.roles;
        let features = CalleeFeatures {
            cancels: roles.has("callee", feature::CALL_CANCELING),
            progresses: roles.has("callee", feature::PROGRESSIVE_CALL_RESULTS),
            takes_streams: roles.has("callee", feature::PROGRESSIVE_CALL_INVOCATIONS),
            times_out: roles.has("callee", feature::CALL_TIMEOUT),
            streams: roles.has("caller", feature::PROGRESSIVE_CALL_INVOCATIONS),
        };
        let welcome = Welcome {
            session,
            details: welcome(&self.realm, &principal, meta, !self.history.has_no_topics()),
        };
        self.calls.join(Arc::clone(&member), features, limits.calls);
        connection.state = State::Joined(Box::new(Joined {
            info: SessionInfo {
                session,
                principal,
                base: None,
                grants: BTreeSet::new(),
            },
            member,
            revokes_subscriptions: roles.has("subscriber", feature::SUBSCRIPTION_REVOCATION),
            revokes_registrations: roles.has("callee", feature::REGISTRATION_REVOCATION),
            testaments: Vec::new(),
            limits,
            patterns: 0,
        }));
        self.sessions.insert(session, id);
        control(id, Message::Welcome(Box::new(welcome)), out);
        self.tell_joined(session, out);
    }

    /// Takes a session out of the realm: subscriptions, registrations, calls, base.
    fn leave(&mut self, session: SessionId, out: &mut Vec<Output>) {
        let Some(joined) = self.joined_mut(session) else { return };
        let (info, member) = (joined.info.clone(), Arc::clone(&joined.member));
        let testaments = std::mem::take(&mut joined.testaments);
        let most_retained = joined.limits.retained;
        if let Some(base) = info
            .base
            .as_ref()
            .filter(|base| self.bases.get(*base) == Some(&session))
        {
            self.bases.remove(base);
        }
        self.sessions.remove(&session);
        let subscriptions = self.broker.leave(session);
        let registrations = self.dealer.leave(session);
        self.calls.leave(session, out);
        for (id, ended) in subscriptions {
            self.tell_unsubscribed(&info, id, &ended, out);
        }
        for (id, ended) in registrations {
            self.tell_unregistered(&info, id, &ended, out);
        }
        self.fire(&info, &member, testaments, most_retained, out);
        self.tell_left(&info, out);
    }

    pub(super) fn goodbye(&mut self, connection: ConnectionId, session: SessionId, out: &mut Vec<Output>) {
        self.leave(session, out);
        // The connection may open another session.
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.state = State::Attached;
        }
        control(connection, Message::goodbye(close::GOODBYE_AND_OUT, None), out);
    }

    /// The peer gave its session up; ABORT is never answered.
    pub(super) fn aborted(&mut self, connection: ConnectionId, session: SessionId, out: &mut Vec<Output>) {
        self.leave(session, out);
        self.close(connection, close::NORMAL, out);
    }

    pub(super) fn detach(&mut self, connection: ConnectionId, out: &mut Vec<Output>) {
        if let Some(session) = self.session_at(connection) {
            self.leave(session, out);
        }
        self.connections.remove(&connection);
    }

    pub(super) fn kill(&mut self, session: SessionId, reason: Uri, text: Option<String>, out: &mut Vec<Output>) {
        let Some(connection) = self.sessions.get(&session).copied() else {
            return;
        };
        self.leave(session, out);
        control(connection, Message::goodbye(reason.as_str(), text), out);
        self.close(connection, reason.as_str(), out);
    }

    pub(super) fn violation(&mut self, connection: ConnectionId, text: String, out: &mut Vec<Output>) {
        let closing = self
            .connections
            .get(&connection)
            .is_none_or(|known| matches!(known.state, State::Closing));
        if !closing {
            self.abort(connection, error::PROTOCOL_VIOLATION, text, out);
        }
    }

    fn abort(&mut self, connection: ConnectionId, reason: &str, text: String, out: &mut Vec<Output>) {
        if let Some(session) = self.session_at(connection) {
            self.leave(session, out);
        }
        control(connection, Message::abort(reason, text), out);
        self.close(connection, reason, out);
    }

    fn close(&mut self, id: ConnectionId, reason: &str, out: &mut Vec<Output>) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = State::Closing;
            out.push(Output::Close {
                connection: id,
                reason: Uri::unchecked(reason),
            });
        }
    }

    /// One live client generation per session root: the older one leaves before the newer one can register.
    pub(super) fn bind_base(&mut self, session: SessionId, base: Uri, out: &mut Vec<Output>) {
        if self.joined(session).is_none() {
            return;
        }
        let older = self.bases.get(&base).copied().filter(|holder| *holder != session);
        if let Some(older) = older {
            let text = "Another client has taken over this session.".to_owned();
            self.kill(older, Uri::unchecked(close::REPLACED), Some(text), out);
        }
        self.bases.insert(base.clone(), session);
        let former = self
            .joined_mut(session)
            .and_then(|joined| joined.info.base.replace(base.clone()));
        if let Some(former) = former.filter(|former| *former != base) {
            self.bases.remove(&former);
        }
    }
}

fn welcome(realm: &Uri, principal: &Principal, meta: bool, history: bool) -> WelcomeDetails {
    WelcomeDetails {
        roles: Roles::router(meta, history),
        agent: Some(concat!("coati-", env!("CARGO_PKG_VERSION")).to_owned()),
        realm: Some(realm.clone()),
        authid: Some(principal.authid.clone()),
        authrole: Some(principal.authrole.clone()),
        authmethod: Some(principal.authmethod.clone()),
        authprovider: Some(principal.authprovider.clone()),
        authextra: None,
    }
}

pub(super) fn control(connection: ConnectionId, message: Message, out: &mut Vec<Output>) {
    out.push(Output::Send {
        connection,
        message: Arc::new(Outgoing::new(message)),
        class: Class::Control,
    });
}
