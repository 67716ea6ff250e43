//! The router's own calls: to the authenticator and to authorizers. What comes back never leaves the router.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::wamp::{
    id::{RequestId, SessionId},
    message::{Call, CallOptions, Message},
    payload::Payload,
    uri::{MatchPolicy, Uri},
};

use super::{Action, Authentication, ConnectionId, Outgoing, Output, Principal, Router, calls::CalleeFeatures};

/// Where answers to the router's own calls go.
pub(super) const OWN: ConnectionId = ConnectionId(0);

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// May this connection log in?
    Login(ConnectionId, SessionId),
    /// May this session do what it waits for?
    Request(SessionId),
    /// May this session keep what it has?
    Kept(SessionId, (Action, Uri, MatchPolicy)),
}

/// A procedure that is asked, the role that has to offer it, and how long it may take.
pub(super) type Callee = (Uri, String, Duration);

/// Calls of the router's own that are in flight.
#[derive(Debug, Default)]
pub(super) struct Asked {
    last: u64,
    open: BTreeMap<RequestId, Purpose>,
}

impl Principal {
    /// Whether it is in the role that offers a procedure which the router asks, or one of our own trees.
    fn offers(&self, role: &str) -> bool {
        self.internal || self.authrole == role
    }
}

impl Router {
    /// Whether the router asks procedures about logins or requests: then it has to be told the time with each input.
    #[must_use]
    pub fn asks(&self) -> bool {
        let authentication = self.config.authentication.as_ref();
        !self.config.authorizers.is_empty() || authentication.is_some_and(|known| known.asked().is_some())
    }

    /// Whether a session of this principal may not register a procedure because the router asks it of another role.
    pub(super) fn is_asked_of_others(&self, procedure: &Uri, who: &Principal) -> bool {
        let authentication = self.config.authentication.as_ref();
        let login = authentication
            .and_then(Authentication::asked)
            .map(|asked| (&asked.procedure, &asked.role));
        let requests = self
            .config
            .authorizers
            .values()
            .map(|asked| (&asked.procedure, &asked.role));
        login
            .into_iter()
            .chain(requests)
            .any(|(asked, role)| asked == procedure && !who.offers(role))
    }

    /// Lets the router make calls.
    pub(super) fn join_itself(&mut self) {
        let own = Arc::clone(&self.own);
        self.calls.join(own, CalleeFeatures::default(), usize::MAX);
    }

    /// Calls a procedure. That there is none, an error and the end of the time are answers too.
    pub(super) fn ask(
        &mut self,
        (procedure, offered_by, timeout): Callee,
        payload: Payload,
        purpose: Purpose,
        out: &mut Vec<Output>,
    ) {
        self.asked.last += 1;
        let request = RequestId::wrapped(self.asked.last);
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let target = self.dealer.route(procedure.as_str(), &mut self.ids);
        // Whoever else offers it, also by a pattern, has nothing to say.
        let trusted = target.filter(|target| {
            self.joined(target.callee)
                .is_some_and(|callee| callee.info.principal.offers(&offered_by))
        });
        let Some(target) = trusted else {
            return self.heard(purpose, None, out);
        };
        let mut call = Call {
            request,
            options: CallOptions {
                // 0 would be for ever.
                timeout: Some(milliseconds.max(1)),
                ..CallOptions::default()
            },
            procedure,
            payload,
        };
        let own = Arc::clone(&self.own);
        match self.calls.call(&own, &mut call, target, self.now, out) {
            Ok(()) => {
                self.asked.open.insert(request, purpose);
            }
            Err(_) => self.heard(purpose, None, out),
        }
    }

    /// Takes the answers to the router's own calls out of what is to be sent, and acts on them.
    pub(super) fn hear(&mut self, out: &mut Vec<Output>) {
        while !self.asked.open.is_empty() {
            let answer = out
                .iter()
                .position(|output| matches!(output, Output::Send { connection, .. } if *connection == OWN));
            let Some(place) = answer else { return };
            let Output::Send { message, .. } = out.remove(place) else {
                return;
            };
            // Nothing else is sent to a mere caller.
            let message = Outgoing::into_message(message);
            let (request, payload) = if let Message::Result(result) = message {
                (result.request, Some(result.payload))
            } else if let Message::Error(error) = message {
                (error.request, None)
            } else {
                continue;
            };
            if let Some(purpose) = self.asked.open.remove(&request) {
                self.heard(purpose, payload.as_ref(), out);
            }
        }
    }

    fn heard(&mut self, purpose: Purpose, answer: Option<&Payload>, out: &mut Vec<Output>) {
        match purpose {
            Purpose::Login(connection, session) => self.login_judged(connection, session, answer, out),
            Purpose::Request(session) => self.request_judged(session, answer, out),
            Purpose::Kept(session, (action, uri, policy)) => {
                self.kept_judged(session, (action, &uri, policy), answer, out);
            }
        }
    }
}
