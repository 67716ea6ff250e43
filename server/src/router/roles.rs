//! Static authorization: what each role may do, by names and patterns. What is not allowed is denied.

use std::collections::BTreeMap;

use shared::wamp::{
    MatchPolicy, Uri,
    router::{Action, Authorizer, Decision, SessionInfo},
};

/// Something that a role may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The name or pattern that it is about.
    pub uri: String,
    /// How `uri` is compared.
    pub policy: MatchPolicy,
    /// What is allowed.
    pub actions: Vec<Action>,
}

impl Permission {
    /// Whether everything that the requested name or pattern can match is covered.
    fn covers(&self, uri: &str, policy: MatchPolicy) -> bool {
        // `wamp.` belongs to the router: allowing everything does not mean that.
        if reserved(uri) && !reserved(&self.uri) {
            return false;
        }
        match (self.policy, policy) {
            (MatchPolicy::Exact, MatchPolicy::Exact) => self.uri == uri,
            (MatchPolicy::Exact, MatchPolicy::Prefix | MatchPolicy::Wildcard) => false,
            (MatchPolicy::Prefix, MatchPolicy::Exact | MatchPolicy::Prefix) => uri.starts_with(&self.uri),
            (MatchPolicy::Prefix, MatchPolicy::Wildcard) => fixed_part(uri).starts_with(&self.uri),
            (MatchPolicy::Wildcard, MatchPolicy::Exact | MatchPolicy::Wildcard) => {
                let mut asked = uri.split('.');
                let matched = self.uri.split('.').all(|part| match asked.next() {
                    Some(other) => part.is_empty() || part == other,
                    None => false,
                });
                matched && asked.next().is_none()
            }
            (MatchPolicy::Wildcard, MatchPolicy::Prefix) => false,
        }
    }
}

fn reserved(uri: &str) -> bool {
    uri == "wamp" || uri.starts_with("wamp.")
}

/// What all names that a wildcard pattern matches begin with.
fn fixed_part(pattern: &str) -> &str {
    let mut end = 0;
    for part in pattern.split('.') {
        if part.is_empty() {
            return &pattern[..end];
        }
        end = (end + part.len() + 1).min(pattern.len());
    }
    pattern
}

/// The roles of a realm and what each may do.
#[derive(Clone, Debug, Default)]
pub struct Roles {
    roles: BTreeMap<String, Vec<Permission>>,
}

impl Roles {
    /// Lets a role do one more thing.
    pub fn allow(&mut self, role: impl Into<String>, permission: Permission) {
        self.roles.entry(role.into()).or_default().push(permission);
    }
}

impl Authorizer for Roles {
    fn authorize(&self, who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> Decision {
        let allowed = who.principal.internal
            || self.roles.get(&who.principal.authrole).is_some_and(|permissions| {
                permissions
                    .iter()
                    .any(|permission| permission.actions.contains(&action) && permission.covers(uri.as_str(), policy))
            });
        if allowed { Decision::Allow } else { Decision::Deny }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(permission: (&str, MatchPolicy), asked: (&str, MatchPolicy)) -> bool {
        let (uri, policy) = permission;
        let permission = Permission {
            uri: uri.to_owned(),
            policy,
            actions: vec![Action::Call],
        };
        permission.covers(asked.0, asked.1)
    }

    #[test]
    fn a_permission_covers_a_pattern_only_if_it_covers_all_that_the_pattern_matches() {
        use MatchPolicy::{Exact, Prefix, Wildcard};
        for (permission, asked, expected) in [
            (("a.b", Exact), ("a.b", Exact), true),
            (("a.b", Exact), ("a.bc", Exact), false),
            (("a.b", Exact), ("a.b", Prefix), false),
            (("a.b", Exact), ("a.", Wildcard), false),
            (("a.", Prefix), ("a.b", Exact), true),
            (("a.", Prefix), ("ab", Exact), false),
            (("a.", Prefix), ("a.b.", Prefix), true),
            (("a.", Prefix), ("a", Prefix), false),
            (("a.", Prefix), ("a..c", Wildcard), true),
            (("a.b.", Prefix), ("a..c", Wildcard), false),
            (("a.b.", Prefix), (".b.c", Wildcard), false),
            (("", Prefix), ("..", Wildcard), true),
            (("a..c", Wildcard), ("a.b.c", Exact), true),
            (("a..c", Wildcard), ("a.b.d", Exact), false),
            (("a..c", Wildcard), ("a.b.c.d", Exact), false),
            (("a..c", Wildcard), ("a.b", Exact), false),
            (("a..", Wildcard), ("a.b.", Wildcard), true),
            (("a.b.", Wildcard), ("a..", Wildcard), false),
            (("a..", Wildcard), ("a.", Prefix), false),
            (("", Prefix), ("wamp.session.list", Exact), false),
            (("wamp.session.", Prefix), ("wamp.session.list", Exact), true),
        ] {
            assert_eq!(covers(permission, asked), expected, "{permission:?} {asked:?}");
        }
    }
}
