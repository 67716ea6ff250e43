//! How a connection gets a session: HELLO, the proof, WELCOME.

use std::{collections::BTreeSet, sync::Arc};

use crate::wamp::{
    id::SessionId,
    message::{Authenticate, Extra, Hello, HelloDetails, Message, Welcome, WelcomeDetails},
    payload::Payload,
    role::{Roles, feature},
    uri::{Name, Uri, close, error},
};

use super::{
    Authentication, ConnectionId, Limits, Output, Principal, Router, SessionInfo,
    asking::Purpose,
    authentication::{FAILED, Try, Verdict, named},
    broker::Member,
    calls::CalleeFeatures,
    deciding::Decisions,
    session::{Asking, Challenged, Joined, State, control},
};

impl Router {
    /// A message from a connection that has no session yet.
    pub(super) fn first_message(&mut self, connection: ConnectionId, message: Message, out: &mut Vec<Output>) {
        let state = self.connections.get(&connection).map(|known| &known.state);
        let is_new = matches!(state, Some(State::Attached));
        let is_challenged = matches!(state, Some(State::Challenged(_)));
        match message {
            Message::Hello(hello) if is_new => self.open(connection, *hello, out),
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
        let hello = hello.details;
        let date = self.date(self.now);
        let verdict = match &mut self.config.authentication {
            Some(authentication) if !principal.internal => {
                let attempt = Try {
                    hello: &hello,
                    session,
                    date: &date,
                };
                authentication.hello(attempt, &principal)
            }
            Some(_) | None => Verdict::Welcome(named(principal, session), None),
        };
        self.proceed(id, session, hello, verdict, out);
    }

    /// Does what was decided about somebody who wants to join.
    fn proceed(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        hello: HelloDetails,
        verdict: Verdict,
        out: &mut Vec<Output>,
    ) {
        let state = match verdict {
            // Somebody else may have drawn the same id while this one was proving who it is.
            Verdict::Welcome(principal, extra) if !self.sessions.contains_key(&session) => {
                return self.welcome(id, session, principal, extra, &hello, out);
            }
            Verdict::Welcome(..) => {
                return self.abort(id, error::AUTHENTICATION_FAILED, FAILED.to_owned(), out);
            }
            Verdict::Refuse(reason, text) => return self.abort(id, reason, text.to_owned(), out),
            Verdict::Challenge(challenge, expected) => {
                control(id, Message::Challenge(challenge), out);
                State::Challenged(Box::new(Challenged {
                    session,
                    hello,
                    expected,
                }))
            }
            Verdict::Ask(question) => State::Asking(Box::new(Asking {
                session,
                hello,
                question,
            })),
        };
        let asks = matches!(state, State::Asking(_));
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = state;
        }
        if asks {
            self.ask_authenticator(id, out);
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
        self.proceed(id, session, hello, expected.prove(answer), out);
    }

    /// Asks the authenticator about somebody who waits for that.
    fn ask_authenticator(&mut self, id: ConnectionId, out: &mut Vec<Output>) {
        let Some(State::Asking(asking)) = self.connections.get(&id).map(|known| &known.state) else {
            return;
        };
        let Some(asked) = self.config.authentication.as_ref().and_then(Authentication::asked) else {
            return;
        };
        let codec = self.own.codec;
        let arguments = asking
            .question
            .arguments(codec, &self.realm, asking.session, &asking.hello);
        let purpose = Purpose::Login(id, asking.session);
        let callee = (asked.procedure.clone(), asked.role.clone(), asked.timeout);
        self.ask(callee, arguments, purpose, out);
    }

    /// The authenticator has answered; none = it failed.
    pub(super) fn login_judged(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        answer: Option<&Payload>,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        // It may have given up and begun another login meanwhile.
        if !matches!(&connection.state, State::Asking(asking) if asking.session == session) {
            return;
        }
        let State::Asking(asking) = std::mem::replace(&mut connection.state, State::Attached) else {
            return;
        };
        let Asking { hello, question, .. } = *asking;
        let date = self.date(self.now);
        let verdict = match (answer, &mut self.config.authentication) {
            (Some(answer), Some(authentication)) => {
                let attempt = Try {
                    hello: &hello,
                    session,
                    date: &date,
                };
                authentication.answered(&question, answer, attempt, &self.realm)
            }
            (None, _) | (_, None) => Verdict::Refuse(error::AUTHENTICATION_FAILED, FAILED),
        };
        self.proceed(id, session, hello, verdict, out);
    }

    /// The shell does not let this one log in.
    pub(super) fn refuse_login(&mut self, id: ConnectionId, text: String, out: &mut Vec<Output>) {
        let joining = self.connections.get(&id).is_some_and(|known| match known.state {
            State::Attached | State::Challenged(_) | State::Asking(_) => true,
            State::Joined(_) | State::Closing => false,
        });
        if joining {
            self.abort(id, error::AUTHENTICATION_FAILED, text, out);
        }
    }

    /// Opens a session for somebody who has proven who it is.
    fn welcome(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        principal: Principal,
        extra: Option<Extra>,
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
            || self.config.is_operator(&principal)
            || self.config.meta_roles.contains(&principal.authrole)
            || self.config.authorizer.allows_meta(&principal);
        let who = (Name::from(&principal.authid), Name::from(&principal.authrole));
        let member = Arc::new(Member {
            meta,
            ..Member::new(session, (id, connection.codec), who)
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
            details: welcome(&self.realm, &principal, meta, !self.history.has_no_topics(), extra),
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
            decisions: Decisions::default(),
        }));
        self.sessions.insert(session, id);
        control(id, Message::Welcome(Box::new(welcome)), out);
        self.tell_joined(session, out);
    }
}

fn welcome(realm: &Uri, principal: &Principal, meta: bool, history: bool, authextra: Option<Extra>) -> WelcomeDetails {
    WelcomeDetails {
        roles: Roles::router(meta, history),
        agent: Some(concat!("coati-", env!("CARGO_PKG_VERSION")).to_owned()),
        realm: Some(realm.clone()),
        authid: Some(principal.authid.clone()),
        authrole: Some(principal.authrole.clone()),
        authmethod: Some(principal.authmethod.clone()),
        authprovider: Some(principal.authprovider.clone()),
        authextra,
    }
}
