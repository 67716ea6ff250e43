//! `[[role]]`: what the sessions of a role may do and how much of it.

use std::time::Duration;

use serde::Deserialize;
use shared::wamp::{
    MatchPolicy, Uri,
    router::{Action, AuthorizerProcedure},
    uri::Syntax,
};

use super::{login::Needs, values::Seconds};
use crate::{
    error::Result,
    router::{Limits, Permission, RealmSetup, Roles, SocketLimits},
};

/// How long an authorizer may take, unless the file says otherwise.
const DECIDED_WITHIN: Duration = Duration::from_secs(5);
/// How long its answers may be remembered, unless the file says otherwise.
const REMEMBERED: Duration = Duration::from_secs(60);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RolePart {
    pub(super) name: String,
    /// Whether it may use the meta API.
    #[serde(default)]
    meta: bool,
    #[serde(default)]
    limits: RoleLimits,
    #[serde(default)]
    permission: Vec<PermissionPart>,
    /// Decides what no permission is about.
    authorizer: Option<AuthorizerPart>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthorizerPart {
    procedure: String,
    /// Who may offer it.
    role: String,
    timeout_seconds: Option<Seconds>,
    remember_seconds: Option<Seconds>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RoleLimits {
    subscriptions: Option<usize>,
    registrations: Option<usize>,
    patterns: Option<usize>,
    calls: Option<usize>,
    testaments: Option<usize>,
    retained: Option<usize>,
    message: Option<usize>,
    calls_per_second: Option<u32>,
    queue_bytes: Option<usize>,
    queue_messages: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionPart {
    uri: String,
    #[serde(default, rename = "match")]
    policy: Policy,
    allow: Vec<Allowed>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Policy {
    #[default]
    Exact,
    Prefix,
    Wildcard,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Allowed {
    Call,
    Register,
    Publish,
    Subscribe,
}

impl RolePart {
    /// Adds the role to a realm.
    pub(super) fn add(self, setup: &mut RealmSetup, rules: &mut Roles, needs: &Needs<'_>) -> Result<()> {
        let Self { name, limits, .. } = self;
        let numbers = [limits.message, limits.queue_bytes, limits.queue_messages];
        if numbers.contains(&Some(0)) || limits.calls_per_second == Some(0) {
            return Err(needs.wrong(format!(
                "role {name:?} has a limit of 0 for messages, queues or calls per second, so that it could do nothing"
            )));
        }
        setup.limits.insert(name.clone(), limits.of_session());
        setup.sockets.insert(name.clone(), limits.of_socket());
        if self.meta {
            setup.meta_roles.insert(name.clone());
        }
        let mut seen = Vec::new();
        for permission in self.permission.into_iter().map(Permission::from) {
            let pattern = (permission.uri.clone(), permission.policy);
            if seen.contains(&pattern) {
                return Err(needs.wrong(format!("role {name:?} has two permissions about {:?}", permission.uri)));
            }
            if Uri::checked(&permission.uri, Syntax::Loose, permission.policy).is_err() {
                return Err(needs.wrong(format!(
                    "role {name:?} has a permission about {:?}, which is no URI of that kind",
                    permission.uri
                )));
            }
            seen.push(pattern);
            rules.allow(name.clone(), permission);
        }
        if let Some(part) = self.authorizer {
            needs.role(&format!("the authorizer of {name:?}"), &part.role)?;
            let procedure = AuthorizerProcedure {
                procedure: needs.procedure(&format!("the authorizer of {name:?}"), &part.procedure)?,
                role: part.role,
                timeout: part.timeout_seconds.map_or(DECIDED_WITHIN, |seconds| seconds.0),
                remembered: part.remember_seconds.map_or(REMEMBERED, |seconds| seconds.0),
            };
            rules.ask(name.clone());
            setup.authorizers.insert(name, procedure);
        }
        Ok(())
    }
}

impl RoleLimits {
    fn of_session(&self) -> Limits {
        let mut limits = Limits::COMPONENT;
        let set = |setting: &mut usize, value: Option<usize>| *setting = value.unwrap_or(*setting);
        set(&mut limits.subscriptions, self.subscriptions);
        set(&mut limits.registrations, self.registrations);
        set(&mut limits.patterns, self.patterns);
        set(&mut limits.calls, self.calls);
        set(&mut limits.testaments, self.testaments);
        set(&mut limits.retained, self.retained);
        limits
    }

    fn of_socket(&self) -> SocketLimits {
        SocketLimits {
            message: self.message,
            calls_per_second: self.calls_per_second,
            queue_bytes: self.queue_bytes,
            queue_messages: self.queue_messages,
        }
    }
}

impl From<Policy> for MatchPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Exact => Self::Exact,
            Policy::Prefix => Self::Prefix,
            Policy::Wildcard => Self::Wildcard,
        }
    }
}

impl From<PermissionPart> for Permission {
    fn from(part: PermissionPart) -> Self {
        let actions = part.allow.into_iter().map(|allowed| match allowed {
            Allowed::Call => Action::Call,
            Allowed::Register => Action::Register,
            Allowed::Publish => Action::Publish,
            Allowed::Subscribe => Action::Subscribe,
        });
        Self {
            uri: part.uri,
            policy: part.policy.into(),
            actions: actions.collect(),
        }
    }
}
