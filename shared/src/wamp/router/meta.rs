//! The meta procedures: what the router answers itself, below `wamp.`, and [`REAUTHORIZE`].
//!
//! Sessions, registrations and subscriptions may be looked at and ended by our own trees and by the roles that
//! [`RouterConfig::meta_roles`](super::RouterConfig::meta_roles) names. Our own trees show only to each other.
//! Testaments are everybody's own affair.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::wamp::{
    id::{RegistrationId, SessionId, SubscriptionId},
    message::Call,
    payload::Payload,
    uri::{MatchPolicy, Syntax, Uri, close, error},
    value::Dynamic,
};

use super::{
    Output, Router, SessionInfo, broker::Member, deciding::REAUTHORIZE, meta_events::SessionShown, requests::Refusal,
};

/// Ids by how they match.
#[derive(Debug, Default, Serialize)]
pub(super) struct ByPolicy {
    exact: Vec<u64>,
    prefix: Vec<u64>,
    wildcard: Vec<u64>,
}

impl ByPolicy {
    pub(super) fn add(&mut self, policy: MatchPolicy, id: u64) {
        match policy {
            MatchPolicy::Exact => self.exact.push(id),
            MatchPolicy::Prefix => self.prefix.push(id),
            MatchPolicy::Wildcard => self.wildcard.push(id),
        }
    }
}

/// The arguments of a meta call.
pub(super) struct Arguments {
    list: Vec<Dynamic>,
    named: BTreeMap<String, Dynamic>,
}

impl Arguments {
    fn of(payload: &Payload) -> Result<Self, Refusal> {
        let unreadable = |_| (error::INVALID_ARGUMENT, "The arguments cannot be read.".to_owned());
        Ok(Self {
            list: payload.decode_args().map_err(unreadable)?,
            named: payload.decode_kwargs().map_err(unreadable)?,
        })
    }

    /// The argument at a place, or by name. An explicit null is absent.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Dynamic> {
        let found = self.list.get(place).or_else(|| self.named.get(name));
        found.filter(|value| **value != Dynamic::Null)
    }

    /// An argument by name only.
    pub(super) fn named(&self, name: &str) -> Option<&Dynamic> {
        self.named.get(name).filter(|value| **value != Dynamic::Null)
    }

    fn number(&self, place: usize, name: &str) -> Result<u64, Refusal> {
        let number = self.get(place, name).and_then(Dynamic::as_integer);
        number
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| missing(name, "a number"))
    }

    fn session(&self, place: usize) -> Result<SessionId, Refusal> {
        let number = self.number(place, "session")?;
        SessionId::new(number).ok_or_else(|| missing("session", "a session id"))
    }

    fn registration(&self) -> Result<RegistrationId, Refusal> {
        let number = self.number(0, "registration")?;
        RegistrationId::new(number).ok_or_else(|| missing("registration", "a registration id"))
    }

    pub(super) fn subscription(&self) -> Result<SubscriptionId, Refusal> {
        let number = self.number(0, "subscription")?;
        SubscriptionId::new(number).ok_or_else(|| missing("subscription", "a subscription id"))
    }

    pub(super) fn text(&self, place: usize, name: &str) -> Result<&str, Refusal> {
        self.get(place, name)
            .and_then(Dynamic::as_str)
            .ok_or_else(|| missing(name, "text"))
    }

    fn policy(&self) -> Result<MatchPolicy, Refusal> {
        match self
            .get(1, "options")
            .and_then(|options| options.get("match"))
            .map(Dynamic::as_str)
        {
            None | Some(Some("exact")) => Ok(MatchPolicy::Exact),
            Some(Some("prefix")) => Ok(MatchPolicy::Prefix),
            Some(Some("wildcard")) => Ok(MatchPolicy::Wildcard),
            Some(_) => Err(missing("match", "exact, prefix or wildcard")),
        }
    }

    /// Why a session has to go: a URI, and a sentence.
    fn reason(&self, place: usize) -> Result<(Uri, Option<String>), Refusal> {
        let reason = match self.get(place, "reason") {
            None => Uri::unchecked(close::KILLED),
            Some(Dynamic::Text(text)) => Uri::checked(text, Syntax::Loose, MatchPolicy::Exact)
                .map_err(|refused| (error::INVALID_URI, refused.into_parts().message))?,
            Some(_) => return Err(missing("reason", "a URI")),
        };
        let message = self
            .get(place + 1, "message")
            .and_then(Dynamic::as_str)
            .map(str::to_owned);
        Ok((reason, message))
    }
}

pub(super) fn missing(name: &str, what: &str) -> Refusal {
    (
        error::INVALID_ARGUMENT,
        format!("The argument '{name}' must be {what}."),
    )
}

fn no_session(session: SessionId) -> Refusal {
    (error::NO_SUCH_SESSION, format!("There is no session {session}."))
}

fn no_registration(id: RegistrationId) -> Refusal {
    (error::NO_SUCH_REGISTRATION, format!("There is no registration {id}."))
}

fn no_subscription(id: SubscriptionId) -> Refusal {
    (error::NO_SUCH_SUBSCRIPTION, format!("There is no subscription {id}."))
}

impl Router {
    /// Answers a call below `wamp.`.
    pub(super) fn meta_call(
        &mut self,
        member: &Member,
        call: &Call,
        out: &mut Vec<Output>,
    ) -> Result<Payload, Refusal> {
        let procedure = call.procedure.as_str();
        if procedure == REAUTHORIZE {
            return self.reauthorize_call(member, &Arguments::of(&call.payload)?, out);
        }
        let Some((group, name)) = procedure.strip_prefix("wamp.").and_then(|rest| rest.split_once('.')) else {
            return Err(unknown(procedure));
        };
        let arguments = Arguments::of(&call.payload)?;
        match (group, name) {
            ("session", "add_testament") => self.add_testament(member, &arguments),
            ("session", "flush_testaments") => self.flush_testaments(member, &arguments),
            // Whoever may subscribe may ask what was published.
            ("subscription", "get_events") => self.get_events(member, &arguments),
            ("session" | "registration" | "subscription", _) if !member.meta => {
                Err((error::NOT_AUTHORIZED, format!("You may not call '{procedure}'.")))
            }
            ("session", _) => self.session_call(member, name, &arguments, out),
            ("registration", _) => self.registration_call(member, name, &arguments, out),
            ("subscription", _) => self.subscription_call(member, name, &arguments, out),
            _ => Err(unknown(procedure)),
        }
    }

    fn reauthorize_call(
        &mut self,
        member: &Member,
        arguments: &Arguments,
        out: &mut Vec<Output>,
    ) -> Result<Payload, Refusal> {
        if !member.meta {
            return Err((error::NOT_AUTHORIZED, format!("You may not call '{REAUTHORIZE}'.")));
        }
        let only = match arguments.get(0, "session") {
            Some(_) => Some(arguments.session(0)?),
            None => None,
        };
        self.reauthorize(only, out);
        Ok(Payload::empty(member.codec))
    }

    /// The sessions that a member may see.
    fn visible(&self, member: &Member) -> impl Iterator<Item = &SessionInfo> {
        let all = self
            .joined(member.session)
            .is_some_and(|joined| joined.info.principal.internal);
        let sessions = self.sessions.keys().filter_map(|session| self.joined(*session));
        sessions
            .map(|joined| &joined.info)
            .filter(move |info| all || !info.principal.internal)
    }

    fn is_visible(&self, member: &Member, session: SessionId) -> bool {
        self.joined(session).is_some_and(|joined| {
            !joined.info.principal.internal
                || self
                    .joined(member.session)
                    .is_some_and(|caller| caller.info.principal.internal)
        })
    }

    fn session_call(
        &mut self,
        member: &Member,
        name: &str,
        arguments: &Arguments,
        out: &mut Vec<Output>,
    ) -> Result<Payload, Refusal> {
        match name {
            "count" | "list" => {
                let roles = match arguments.get(0, "filter_authroles") {
                    None => None,
                    Some(Dynamic::List(roles)) => Some(roles.iter().filter_map(Dynamic::as_str).collect::<Vec<_>>()),
                    Some(_) => return Err(missing("filter_authroles", "a list of roles")),
                };
                let wanted = |info: &&SessionInfo| {
                    roles
                        .as_ref()
                        .is_none_or(|roles| roles.contains(&info.principal.authrole.as_str()))
                };
                let found = self.visible(member).filter(wanted).map(|info| info.session);
                if name == "count" {
                    result(member, &(found.count(),))
                } else {
                    result(member, &(found.collect::<Vec<_>>(),))
                }
            }
            "get" => {
                let session = arguments.session(0)?;
                let found = self
                    .is_visible(member, session)
                    .then(|| self.session(session))
                    .flatten();
                let info = found.ok_or_else(|| no_session(session))?;
                result(member, &(SessionShown::of(info),))
            }
            "kill" => {
                let session = arguments.session(0)?;
                if session == member.session || !self.is_visible(member, session) {
                    return Err(no_session(session));
                }
                let (reason, text) = arguments.reason(1)?;
                self.kill(session, reason, text, out);
                Ok(Payload::empty(member.codec))
            }
            "kill_by_authid" => {
                let authid = arguments.text(0, "authid")?;
                let killed = self.kill_those(
                    member,
                    |info| info.principal.authid == authid,
                    arguments.reason(1)?,
                    out,
                );
                result(member, &(killed,))
            }
            "kill_by_authrole" => {
                let role = arguments.text(0, "authrole")?;
                let killed = self.kill_those(
                    member,
                    |info| info.principal.authrole == role,
                    arguments.reason(1)?,
                    out,
                );
                result(member, &(killed,))
            }
            "kill_all" => {
                let killed = self.kill_those(member, |_| true, arguments.reason(0)?, out);
                result(member, &(killed.len(),))
            }
            _ => Err(unknown(&format!("wamp.session.{name}"))),
        }
    }

    /// Ends all sessions of a kind but the caller's.
    fn kill_those(
        &mut self,
        member: &Member,
        chosen: impl Fn(&SessionInfo) -> bool,
        (reason, text): (Uri, Option<String>),
        out: &mut Vec<Output>,
    ) -> Vec<SessionId> {
        let doomed = self
            .visible(member)
            .filter(|info| info.session != member.session && chosen(info));
        let doomed: Vec<SessionId> = doomed.map(|info| info.session).collect();
        for session in &doomed {
            self.kill(*session, reason.clone(), text.clone(), out);
        }
        doomed
    }

    /// Those sessions that a member may see, or how many they are, as the procedure's name says.
    fn listed_or_counted(
        &self,
        member: &Member,
        name: &str,
        sessions: impl Iterator<Item = SessionId>,
    ) -> Result<Payload, Refusal> {
        let shown = sessions.filter(|session| self.is_visible(member, *session));
        if name.starts_with("count_") {
            result(member, &(shown.count(),))
        } else {
            result(member, &(shown.collect::<Vec<_>>(),))
        }
    }

    fn registration_call(
        &mut self,
        member: &Member,
        name: &str,
        arguments: &Arguments,
        out: &mut Vec<Output>,
    ) -> Result<Payload, Refusal> {
        match name {
            "list" => result(member, &(self.dealer.list(),)),
            "lookup" => {
                let (uri, policy) = (arguments.text(0, "procedure")?, arguments.policy()?);
                result(member, &(self.dealer.lookup(policy, &Uri::unchecked(uri)),))
            }
            "match" => result(member, &(self.dealer.best(arguments.text(0, "procedure")?),)),
            "get" => {
                let id = arguments.registration()?;
                let shown = self.shown_registration(id).ok_or_else(|| no_registration(id))?;
                result(member, &(shown,))
            }
            "list_callees" | "count_callees" => {
                let id = arguments.registration()?;
                let callees = self.dealer.callees(id).ok_or_else(|| no_registration(id))?;
                self.listed_or_counted(member, name, callees)
            }
            "remove_callee" => {
                let (id, callee) = (arguments.registration()?, arguments.session(1)?);
                let (reason, _) = arguments.reason(2)?;
                if !self.is_visible(member, callee) || !self.revoke_registration(callee, id, &reason, out) {
                    return Err(no_registration(id));
                }
                Ok(Payload::empty(member.codec))
            }
            _ => Err(unknown(&format!("wamp.registration.{name}"))),
        }
    }

    fn subscription_call(
        &mut self,
        member: &Member,
        name: &str,
        arguments: &Arguments,
        out: &mut Vec<Output>,
    ) -> Result<Payload, Refusal> {
        match name {
            "list" => result(member, &(self.broker.list(),)),
            "lookup" => {
                let (uri, policy) = (arguments.text(0, "topic")?, arguments.policy()?);
                result(member, &(self.broker.lookup(policy, &Uri::unchecked(uri)),))
            }
            "match" => {
                let found = self.broker.matching(arguments.text(0, "topic")?);
                result(member, &((!found.is_empty()).then_some(found),))
            }
            "get" => {
                let id = arguments.subscription()?;
                let shown = self.shown_subscription(id).ok_or_else(|| no_subscription(id))?;
                result(member, &(shown,))
            }
            "list_subscribers" | "count_subscribers" => {
                let id = arguments.subscription()?;
                let subscribers = self.broker.subscribers(id).ok_or_else(|| no_subscription(id))?;
                self.listed_or_counted(member, name, subscribers)
            }
            "remove_subscriber" => {
                let (id, subscriber) = (arguments.subscription()?, arguments.session(1)?);
                let (reason, _) = arguments.reason(2)?;
                if !self.is_visible(member, subscriber) || !self.revoke_subscription(subscriber, id, &reason, out) {
                    return Err(no_subscription(id));
                }
                Ok(Payload::empty(member.codec))
            }
            _ => Err(unknown(&format!("wamp.subscription.{name}"))),
        }
    }
}

fn unknown(procedure: &str) -> Refusal {
    (
        error::NO_SUCH_PROCEDURE,
        format!("There is no procedure '{procedure}'."),
    )
}

pub(super) fn result<R: Serialize>(member: &Member, result: &R) -> Result<Payload, Refusal> {
    Payload::encode(member.codec, result).map_err(|refused| (error::INVALID_ARGUMENT, refused.into_parts().message))
}
