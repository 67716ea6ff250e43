//! Who offers what, and who gets a call.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::wamp::{
    id::{IdGenerator, RegistrationId, SessionId},
    message::{InvokePolicy, RegisterOptions},
    uri::{MatchPolicy, Uri},
};

use super::{
    broker::Ended,
    fault::{Fault, Faults},
    meta::ByPolicy,
    pattern::Patterns,
};

#[derive(Debug)]
struct Callee {
    session: SessionId,
    forward_timeout: bool,
}

#[derive(Debug)]
struct Registration {
    uri: Uri,
    policy: MatchPolicy,
    invoke: InvokePolicy,
    created: Duration,
    /// In the order of registering. Never empty.
    callees: Vec<Callee>,
    /// Whose turn it is.
    turn: usize,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) registration: RegistrationId,
    pub(super) policy: MatchPolicy,
    pub(super) callee: SessionId,
    pub(super) forward_timeout: bool,
}

/// The registrations of a realm.
#[derive(Debug, Default)]
pub(super) struct Dealer {
    pub(super) faults: Faults,
    last_id: u64,
    index: Patterns<RegistrationId>,
    registrations: BTreeMap<RegistrationId, Registration>,
    by_session: BTreeMap<SessionId, BTreeSet<RegistrationId>>,
}

impl Dealer {
    pub(super) fn len(&self) -> usize {
        self.registrations.len()
    }

    /// How many registrations a session has.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.by_session.get(&session).map_or(0, BTreeSet::len)
    }

    /// Adds a callee; none if the name is taken by somebody who does not share it in the same way.
    pub(super) fn register(
        &mut self,
        session: SessionId,
        options: &RegisterOptions,
        procedure: Uri,
        now: Duration,
    ) -> Option<RegistrationId> {
        let (policy, invoke) = (options.policy, options.invoke);
        let callee = Callee {
            session,
            forward_timeout: options.forward_timeout,
        };
        let id = match self.index.get(policy, &procedure) {
            Some(id) => {
                let registration = self.registrations.get_mut(&id)?;
                if invoke == InvokePolicy::Single || registration.invoke != invoke {
                    return None;
                }
                if registration.callees.iter().all(|callee| callee.session != session) {
                    registration.callees.push(callee);
                }
                id
            }
            None => {
                self.last_id += 1;
                let id = RegistrationId::wrapped(self.last_id);
                self.index.insert(policy, procedure.clone(), id);
                let registration = Registration {
                    uri: procedure,
                    policy,
                    invoke,
                    created: now,
                    callees: vec![callee],
                    turn: 0,
                };
                self.registrations.insert(id, registration);
                id
            }
        };
        self.by_session.entry(session).or_default().insert(id);
        Some(id)
    }

    /// Ends a session's registration; none if the session does not have it.
    pub(super) fn unregister(&mut self, session: SessionId, id: RegistrationId) -> Option<Ended> {
        let own = self.by_session.get_mut(&session)?;
        if !own.remove(&id) {
            return None;
        }
        if own.is_empty() {
            self.by_session.remove(&session);
        }
        let registration = self.registrations.get_mut(&id)?;
        let (uri, policy) = (registration.uri.clone(), registration.policy);
        registration.callees.retain(|callee| callee.session != session);
        let deleted = registration.callees.is_empty();
        if deleted {
            self.registrations.remove(&id);
            self.index.remove(policy, &uri);
        }
        Some(Ended { uri, policy, deleted })
    }

    /// Name, policies and moment of creation of a registration.
    pub(super) fn show(&self, id: RegistrationId) -> Option<(&Uri, MatchPolicy, InvokePolicy, Duration)> {
        let registration = self.registrations.get(&id)?;
        Some((
            &registration.uri,
            registration.policy,
            registration.invoke,
            registration.created,
        ))
    }

    /// The sessions that share a registration, in the order of registering.
    pub(super) fn callees(&self, id: RegistrationId) -> Option<impl Iterator<Item = SessionId>> {
        let callees = &self.registrations.get(&id)?.callees;
        Some(callees.iter().map(|callee| callee.session))
    }

    /// All registrations by how they match.
    pub(super) fn list(&self) -> ByPolicy {
        let mut list = ByPolicy::default();
        for (id, registration) in &self.registrations {
            list.add(registration.policy, id.get());
        }
        list
    }

    /// The registration of exactly this procedure or pattern.
    pub(super) fn lookup(&self, policy: MatchPolicy, procedure: &Uri) -> Option<RegistrationId> {
        self.index.get(policy, procedure)
    }

    /// The registration that a call would go to.
    pub(super) fn best(&self, procedure: &str) -> Option<RegistrationId> {
        self.index.best(procedure)
    }

    /// What a session has registered.
    pub(super) fn of_session(&self, session: SessionId) -> impl Iterator<Item = (RegistrationId, &Uri, MatchPolicy)> {
        let own = self.by_session.get(&session).into_iter().flatten();
        own.filter_map(|id| {
            let registration = self.registrations.get(id)?;
            Some((*id, &registration.uri, registration.policy))
        })
    }

    /// Ends all registrations of a session.
    pub(super) fn leave(&mut self, session: SessionId) -> Vec<(RegistrationId, Ended)> {
        let own = self.by_session.get(&session).cloned().unwrap_or_default();
        let ended = own.into_iter().map(|id| (id, self.unregister(session, id)));
        ended.filter_map(|(id, ended)| Some((id, ended?))).collect()
    }

    /// The callee for a call of `procedure`.
    pub(super) fn route(&mut self, procedure: &str, ids: &mut IdGenerator) -> Option<Target> {
        let id = if self.faults.has(Fault::PrefersShortPrefix) {
            self.index.matches(procedure).last()?
        } else {
            self.index.best(procedure)?
        };
        let registration = self.registrations.get_mut(&id)?;
        let count = registration.callees.len();
        let place = match registration.invoke {
            InvokePolicy::Single | InvokePolicy::First => 0,
            InvokePolicy::Last => count.saturating_sub(1),
            InvokePolicy::RoundRobin => {
                let turn = registration.turn % count.max(1);
                registration.turn = turn + usize::from(!self.faults.has(Fault::SticksToFirstCallee));
                turn
            }
            InvokePolicy::Random => usize::try_from(ids.next() % u64::try_from(count.max(1)).unwrap_or(1)).unwrap_or(0),
        };
        let callee = registration.callees.get(place)?;
        Some(Target {
            registration: id,
            policy: registration.policy,
            callee: callee.session,
            forward_timeout: callee.forward_timeout,
        })
    }
}
