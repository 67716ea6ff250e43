//! `[[role]]`: what the sessions of a role may do and how much of it.

use serde::Deserialize;
use shared::wamp::{MatchPolicy, router::Action};

use crate::router::{Limits, Permission};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RolePart {
    pub(super) name: String,
    /// Whether it may use the meta API.
    #[serde(default)]
    pub(super) meta: bool,
    #[serde(default)]
    pub(super) limits: RoleLimits,
    #[serde(default)]
    pub(super) permission: Vec<PermissionPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RoleLimits {
    pub(super) subscriptions: Option<usize>,
    pub(super) registrations: Option<usize>,
    pub(super) patterns: Option<usize>,
    pub(super) calls: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PermissionPart {
    pub(super) uri: String,
    #[serde(default, rename = "match")]
    pub(super) policy: Policy,
    pub(super) allow: Vec<Allowed>,
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
pub(super) enum Allowed {
    Call,
    Register,
    Publish,
    Subscribe,
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

impl RoleLimits {
    /// Overrides what is said here.
    pub(super) fn over(&self, mut limits: Limits) -> Limits {
        let set = |setting: &mut usize, value: Option<usize>| *setting = value.unwrap_or(*setting);
        set(&mut limits.subscriptions, self.subscriptions);
        set(&mut limits.registrations, self.registrations);
        set(&mut limits.patterns, self.patterns);
        set(&mut limits.calls, self.calls);
        limits
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
