//! The life of a connection in the router: attached, joined, left.

use std::{collections::BTreeSet, sync::Arc};

use crate::wamp::{
    codec::CodecId,
    id::SessionId,
    message::{HelloDetails, Message},
    uri::{Uri, close, error},
};

use super::{
    Class, ConnectionId, Limits, Outgoing, Output, Principal, Router,
    authentication::{Expected, Question},
    broker::Member,
    deciding::Decisions,
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
    /// Waits for the authenticator.
    Asking(Box<Asking>),
    /// In the realm.
    Joined(Box<Joined>),
    /// Told to go; everything that still comes is ignored.
    Closing,
}

/// A HELLO whose sender has to prove who it is.
#[derive(Debug)]
pub(super) struct Challenged {
    pub(super) session: SessionId,
    pub(super) hello: HelloDetails,
    pub(super) expected: Expected,
}

/// A HELLO, or the answer to a challenge, that the authenticator judges.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) session: SessionId,
    pub(super) hello: HelloDetails,
    pub(super) question: Question,
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
    /// What the authorizer has said about it.
    pub(super) decisions: Decisions,
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
            State::Attached | State::Challenged(_) | State::Asking(_) | State::Closing => None,
        }
    }

    pub(super) fn joined_mut(&mut self, session: SessionId) -> Option<&mut Joined> {
        match &mut self.connections.get_mut(self.sessions.get(&session)?)?.state {
            State::Joined(joined) => Some(joined),
            State::Attached | State::Challenged(_) | State::Asking(_) | State::Closing => None,
        }
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

    pub(super) fn abort(&mut self, connection: ConnectionId, reason: &str, text: String, out: &mut Vec<Output>) {
        if let Some(session) = self.session_at(connection) {
            self.leave(session, out);
        }
        control(connection, Message::abort(reason, text), out);
        self.close(connection, reason, out);
    }

    pub(super) fn close(&mut self, id: ConnectionId, reason: &str, out: &mut Vec<Output>) {
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
            self.reauthorize(Some(session), out);
        }
    }
}

pub(super) fn control(connection: ConnectionId, message: Message, out: &mut Vec<Output>) {
    out.push(Output::Send {
        connection,
        message: Arc::new(Outgoing::new(message)),
        class: Class::Control,
    });
}
