//! Who offers what, and who gets a call.

use std::collections::{BTreeMap, BTreeSet};

use crate::wamp::{
    id::{IdGenerator, RegistrationId, SessionId},
    message::{InvokePolicy, RegisterOptions},
    uri::{MatchPolicy, Uri},
};

use super::{
    fault::{Fault, Faults},
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

    /// Ends a session's registration and says how it matched; none if the session does not have it.
    pub(super) fn unregister(&mut self, session: SessionId, id: RegistrationId) -> Option<MatchPolicy> {
        let own = self.by_session.get_mut(&session)?;
        if !own.remove(&id) {
            return None;
        }
        if own.is_empty() {
            self.by_session.remove(&session);
        }
        let registration = self.registrations.get_mut(&id)?;
        let policy = registration.policy;
        registration.callees.retain(|callee| callee.session != session);
        if registration.callees.is_empty()
            && let Some(registration) = self.registrations.remove(&id)
        {
            self.index.remove(policy, &registration.uri);
        }
        Some(policy)
    }

    /// Ends all registrations of a session.
    pub(super) fn leave(&mut self, session: SessionId) {
        for id in self.by_session.get(&session).cloned().unwrap_or_default() {
            self.unregister(session, id);
        }
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
