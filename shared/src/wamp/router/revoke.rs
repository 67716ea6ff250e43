//! Taking back what a session was allowed: grants, subscriptions and registrations.

use std::sync::Arc;

use crate::wamp::{
    id::{RegistrationId, SessionId, SubscriptionId},
    message::{Message, Unregistered, UnregisteredDetails, Unsubscribed, UnsubscribedDetails},
    uri::{MatchPolicy, Uri, error},
};

use super::{Action, Decision, Output, Router, session::control};

impl Router {
    /// Takes a grant back, and the subscription that it allowed. A client that does not know revocation is not told:
    /// it asked for this itself.
    pub(super) fn revoke(&mut self, session: SessionId, topic: &Uri, out: &mut Vec<Output>) {
        let Some(joined) = self.joined_mut(session) else { return };
        joined.info.grants.remove(topic);
        let revokes = joined.revokes_subscriptions;
        let Some(subscription) = self.broker.find(session, MatchPolicy::Exact, topic) else {
            return;
        };
        let reason = Uri::unchecked(error::NOT_AUTHORIZED);
        if revokes {
            self.revoke_subscription(session, subscription, &reason, out);
        } else {
            self.end_subscription(session, subscription, out);
        }
    }

    /// Ends a subscription of a session and tells it. A client that does not know revocation is closed with the
    /// reason. False if the session does not have it.
    pub(super) fn revoke_subscription(
        &mut self,
        session: SessionId,
        subscription: SubscriptionId,
        reason: &Uri,
        out: &mut Vec<Output>,
    ) -> bool {
        if !self.end_subscription(session, subscription, out) {
            return false;
        }
        let Some(joined) = self.joined(session) else {
            return true;
        };
        if joined.revokes_subscriptions {
            let details = UnsubscribedDetails {
                subscription: Some(subscription),
                reason: Some(reason.clone()),
            };
            let message = Message::Unsubscribed(Unsubscribed {
                request: None,
                details: Some(details),
            });
            control(joined.member.connection, message, out);
        } else {
            let text = "A subscription was taken away.".to_owned();
            self.kill(session, reason.clone(), Some(text), out);
        }
        true
    }

    fn end_subscription(&mut self, session: SessionId, id: SubscriptionId, out: &mut Vec<Output>) -> bool {
        let Some(joined) = self.joined(session) else {
            return false;
        };
        let (member, info) = (Arc::clone(&joined.member), joined.info.clone());
        let Some(ended) = self.broker.unsubscribe(session, id) else {
            return false;
        };
        self.count_pattern(&member, ended.policy, false);
        self.tell_unsubscribed(&info, id, &ended, out);
        true
    }

    /// Ends a registration of a session and tells it. A client that does not know revocation is closed with the
    /// reason. False if the session does not have it. Calls under way go on.
    pub(super) fn revoke_registration(
        &mut self,
        session: SessionId,
        registration: RegistrationId,
        reason: &Uri,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(joined) = self.joined(session) else {
            return false;
        };
        let (member, info) = (Arc::clone(&joined.member), joined.info.clone());
        let revokes = joined.revokes_registrations;
        let Some(ended) = self.dealer.unregister(session, registration) else {
            return false;
        };
        self.count_pattern(&member, ended.policy, false);
        if revokes {
            let details = UnregisteredDetails {
                registration: Some(registration),
                reason: Some(reason.clone()),
            };
            let message = Message::Unregistered(Unregistered {
                request: None,
                details: Some(details),
            });
            control(member.connection, message, out);
            self.tell_unregistered(&info, registration, &ended, out);
        } else {
            self.tell_unregistered(&info, registration, &ended, out);
            let text = "A registration was taken away.".to_owned();
            self.kill(session, reason.clone(), Some(text), out);
        }
        true
    }

    /// Permissions have changed: asks the authorizer again about what open sessions have, and takes away what they may
    /// not have any more, at once or when the role's procedure has answered.
    pub(super) fn reauthorize(&mut self, only: Option<SessionId>, out: &mut Vec<Output>) {
        let reason = Uri::unchecked(error::NOT_AUTHORIZED);
        let sessions: Vec<SessionId> = match only {
            Some(session) => vec![session],
            None => self.sessions.keys().copied().collect(),
        };
        for session in sessions {
            let Some(joined) = self.joined(session) else { continue };
            let is_denied = |action, uri: &Uri, policy| {
                let reserved = uri.is_within("wamp");
                !reserved && self.config.judge(&joined.info, action, uri, policy) == Decision::Deny
            };
            let subscriptions = self.broker.of_session(session);
            let subscriptions: Vec<SubscriptionId> = subscriptions
                .filter(|(_, uri, policy)| is_denied(Action::Subscribe, uri, *policy))
                .map(|(id, _, _)| id)
                .collect();
            let registrations = self.dealer.of_session(session);
            let registrations: Vec<RegistrationId> = registrations
                .filter(|(_, uri, policy)| is_denied(Action::Register, uri, *policy))
                .map(|(id, _, _)| id)
                .collect();
            for id in subscriptions {
                self.revoke_subscription(session, id, &reason, out);
            }
            for id in registrations {
                self.revoke_registration(session, id, &reason, out);
            }
            self.ask_again(session);
        }
    }
}
