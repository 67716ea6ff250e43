//! Static authorization: what each role may do, by names and patterns. What is not allowed is denied.
//!
//! Of the rules of a role that cover a name, the **most specific** one decides, whatever it allows or not: the exact
//! one, then the longest prefix, then the wildcard pattern with a literal component where the other has none, looking
//! from the left. So a rule that allows nothing takes away what a wider one gives. Who asks for a pattern gets it only
//! if the rule that covers all of it allows that, and every more specific rule about a part of it does too.

use std::collections::{BTreeMap, BTreeSet};

use shared::wamp::{
    MatchPolicy, Uri,
    router::{Action, Authorizer, Decision, SessionInfo},
};

/// What a role may do with the names that a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// The name or pattern that it is about.
    pub uri: String,
    /// How `uri` is compared.
    pub policy: MatchPolicy,
    /// What is allowed; everything else is denied.
    pub actions: Vec<Action>,
}

/// How specific a rule is, among those that cover the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// By component, whether it is a literal.
    Wildcard(Vec<bool>),
    /// By length.
    Prefix(usize),
    Exact,
}

impl Permission {
    fn rank(&self) -> Rank {
        match self.policy {
            MatchPolicy::Exact => Rank::Exact,
            MatchPolicy::Prefix => Rank::Prefix(self.uri.len()),
            MatchPolicy::Wildcard => Rank::Wildcard(self.uri.split('.').map(|part| !part.is_empty()).collect()),
        }
    }

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
                same_length(&self.uri, uri, |part, asked| part.is_empty() || part == asked)
            }
            (MatchPolicy::Wildcard, MatchPolicy::Prefix) => false,
        }
    }

    /// Whether some name is matched both by this and by the requested name or pattern.
    fn meets(&self, uri: &str, policy: MatchPolicy) -> bool {
        match (self.policy, policy) {
            (MatchPolicy::Exact, MatchPolicy::Exact) => self.uri == uri,
            (MatchPolicy::Exact, MatchPolicy::Prefix) => self.uri.starts_with(uri),
            (MatchPolicy::Prefix, MatchPolicy::Exact) => uri.starts_with(&self.uri),
            (MatchPolicy::Prefix, MatchPolicy::Prefix) => uri.starts_with(&self.uri) || self.uri.starts_with(uri),
            (MatchPolicy::Prefix, MatchPolicy::Wildcard) => can_begin(uri, &self.uri),
            (MatchPolicy::Wildcard, MatchPolicy::Prefix) => can_begin(&self.uri, uri),
            (MatchPolicy::Exact, MatchPolicy::Wildcard)
            | (MatchPolicy::Wildcard, MatchPolicy::Exact | MatchPolicy::Wildcard) => {
                same_length(&self.uri, uri, |part, asked| {
                    part == asked
                        || (part.is_empty() && self.policy == MatchPolicy::Wildcard)
                        || (asked.is_empty() && policy == MatchPolicy::Wildcard)
                })
            }
        }
    }
}

/// Whether two names have as many components and all of them fit.
fn same_length(one: &str, other: &str, fits: impl Fn(&str, &str) -> bool) -> bool {
    let mut others = other.split('.');
    let fit = one
        .split('.')
        .all(|part| others.next().is_some_and(|other| fits(part, other)));
    fit && others.next().is_none()
}

/// Whether a name that the wildcard pattern matches can begin with the prefix.
fn can_begin(pattern: &str, prefix: &str) -> bool {
    let mut parts = pattern.split('.');
    let mut wanted = prefix.split('.').peekable();
    while let Some(want) = wanted.next() {
        let fits = parts.next().is_some_and(|part| match wanted.peek() {
            Some(_) => part == want || (part.is_empty() && !want.is_empty()),
            None => part.is_empty() || part.starts_with(want),
        });
        if !fits {
            return false;
        }
    }
    true
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
    asked: BTreeSet<String>,
}

impl Roles {
    /// One more rule about a role. Of two about the same pattern the later one counts.
    pub fn allow(&mut self, role: impl Into<String>, permission: Permission) {
        let rules = self.roles.entry(role.into()).or_default();
        rules.retain(|rule| (&rule.uri, rule.policy) != (&permission.uri, permission.policy));
        rules.push(permission);
    }

    /// What no rule of a role covers is decided by the role's procedure.
    pub fn ask(&mut self, role: impl Into<String>) {
        self.asked.insert(role.into());
    }

    fn decide(&self, role: &str, action: Action, uri: &str, policy: MatchPolicy) -> Decision {
        let rules = self.roles.get(role).map_or(&[][..], Vec::as_slice);
        let covering = rules.iter().filter(|rule| rule.covers(uri, policy));
        let decides = covering.max_by_key(|rule| rule.rank());
        let allows = |rule: &Permission| rule.actions.contains(&action);
        // A rule about a part of a pattern must not be got round by asking for all of it.
        let contradicts = |rule: &&Permission| {
            !allows(rule) && rule.meets(uri, policy) && decides.is_none_or(|decides| rule.rank() > decides.rank())
        };
        if policy != MatchPolicy::Exact && rules.iter().any(|rule| contradicts(&rule)) {
            return Decision::Deny;
        }
        match decides {
            Some(rule) if allows(rule) => Decision::Allow,
            Some(_) => Decision::Deny,
            None if self.asked.contains(role) => Decision::Ask,
            None => Decision::Deny,
        }
    }
}

impl Authorizer for Roles {
    fn authorize(&self, who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> Decision {
        if who.principal.internal {
            return Decision::Allow;
        }
        self.decide(&who.principal.authrole, action, uri.as_str(), policy)
    }
}

#[cfg(test)]
mod tests {
    use MatchPolicy::{Exact, Prefix, Wildcard};
    use proptest::prelude::*;

    use super::*;

    fn rule(uri: &str, policy: MatchPolicy, actions: &[Action]) -> Permission {
        Permission {
            uri: uri.to_owned(),
            policy,
            actions: actions.to_vec(),
        }
    }

    fn covers(permission: (&str, MatchPolicy), asked: (&str, MatchPolicy)) -> bool {
        rule(permission.0, permission.1, &[]).covers(asked.0, asked.1)
    }

    #[test]
    fn a_permission_covers_a_pattern_only_if_it_covers_all_that_the_pattern_matches() {
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

    #[test]
    fn the_most_specific_rule_decides_and_may_deny() {
        let mut roles = Roles::default();
        for (uri, policy, actions) in [
            ("", Prefix, &[Action::Call, Action::Subscribe][..]),
            ("a.", Prefix, &[Action::Call]),
            ("a.b.", Prefix, &[]),
            ("a.b.c", Exact, &[Action::Call]),
            ("x..z", Wildcard, &[]),
            ("y..", Wildcard, &[Action::Publish]),
            ("y.q.", Wildcard, &[Action::Register]),
        ] {
            roles.allow("user", rule(uri, policy, actions));
        }
        let decided = |action, uri: &str, policy| roles.decide("user", action, uri, policy) == Decision::Allow;
        for (action, uri, allowed) in [
            (Action::Call, "q", true),
            (Action::Subscribe, "q", true),
            (Action::Call, "a.q", true),
            (Action::Subscribe, "a.q", false),
            (Action::Call, "a.b.q", false),
            (Action::Call, "a.b.c", true),
            (Action::Call, "a.b.cd", false),
            // A prefix goes before a wildcard.
            (Action::Call, "x.y.z", true),
            (Action::Call, "y.q.r", true),
        ] {
            assert_eq!(decided(action, uri, Exact), allowed, "{action:?} {uri}");
        }
        assert!(!decided(Action::Call, "wamp.session.list", Exact), "reserved");
        assert!(!decided(Action::Subscribe, "", Prefix), "part of it is denied");
        assert!(decided(Action::Subscribe, "b.", Prefix));
        assert!(decided(Action::Subscribe, "b..c", Wildcard) && !decided(Action::Subscribe, "..b", Wildcard));
        let mut wild = Roles::default();
        wild.allow("user", rule("y..", Wildcard, &[Action::Publish]));
        wild.allow("user", rule("y.q.", Wildcard, &[Action::Register]));
        assert_eq!(wild.decide("user", Action::Publish, "y.r.s", Exact), Decision::Allow);
        assert_eq!(wild.decide("user", Action::Publish, "y.q.s", Exact), Decision::Deny);
        assert_eq!(wild.decide("user", Action::Register, "y.q.s", Exact), Decision::Allow);
        assert_eq!(wild.decide("other", Action::Register, "y.q.s", Exact), Decision::Deny);
    }

    #[test]
    fn what_no_rule_covers_is_asked_about_and_what_one_denies_is_not() {
        let mut roles = Roles::default();
        roles.ask("user");
        roles.allow("user", rule("free", Exact, &[Action::Call]));
        roles.allow("user", rule("never.", Prefix, &[]));
        let decided = |action, uri: &str, policy| roles.decide("user", action, uri, policy);
        assert_eq!(decided(Action::Call, "free", Exact), Decision::Allow);
        assert_eq!(decided(Action::Publish, "free", Exact), Decision::Deny);
        assert_eq!(decided(Action::Call, "never.x", Exact), Decision::Deny);
        assert_eq!(decided(Action::Call, "other", Exact), Decision::Ask);
        assert_eq!(
            decided(Action::Subscribe, "n", Prefix),
            Decision::Deny,
            "part of it is denied"
        );
        assert_eq!(decided(Action::Subscribe, "o", Prefix), Decision::Ask);
        assert_eq!(roles.decide("other", Action::Call, "x", Exact), Decision::Deny);
    }

    /// Names of up to three components out of two letters, which is all names that matter to such patterns.
    fn names() -> Vec<String> {
        let one = ["a".to_owned(), "b".to_owned()];
        let two = one
            .iter()
            .flat_map(|first| one.iter().map(move |last| format!("{first}.{last}")));
        let two: Vec<String> = two.collect();
        let three = two
            .iter()
            .flat_map(|first| one.iter().map(move |last| format!("{first}.{last}")));
        one.iter().cloned().chain(two.iter().cloned()).chain(three).collect()
    }

    fn matches(uri: &str, policy: MatchPolicy, name: &str) -> bool {
        match policy {
            Exact => uri == name,
            Prefix => name.starts_with(uri),
            Wildcard => {
                uri.split('.').count() == name.split('.').count()
                    && uri
                        .split('.')
                        .zip(name.split('.'))
                        .all(|(part, own)| part.is_empty() || part == own)
            }
        }
    }

    fn pattern() -> impl Strategy<Value = (String, MatchPolicy)> {
        let parts = |part: &'static str| proptest::collection::vec(part, 1..=3).prop_map(|parts| parts.join("."));
        prop_oneof![
            parts("[ab]").prop_map(|uri| (uri, Exact)),
            ("([ab]\\.){0,2}[ab]?").prop_map(|uri| (uri, Prefix)),
            parts("[ab]?").prop_map(|uri| (uri, Wildcard)),
        ]
    }

    proptest! {
        #[test]
        fn a_name_is_decided_by_the_rule_that_no_other_is_narrower_than(
            rules in proptest::collection::vec((pattern(), any::<bool>()), 0..6)
        ) {
            let mut roles = Roles::default();
            let mut last = BTreeMap::new();
            for ((uri, policy), allows) in &rules {
                let actions: &[Action] = if *allows { &[Action::Call] } else { &[] };
                roles.allow("user", rule(uri, *policy, actions));
                last.insert((uri.clone(), *policy), *allows);
            }
            for name in names() {
                // Naively: exact, else longest prefix, else by components from the left.
                let exact = last.get(&(name.clone(), Exact)).copied();
                let prefix = (0..=name.len()).rev().find_map(|end| last.get(&(name[..end].to_owned(), Prefix)).copied());
                let mut wild: Vec<(&String, bool)> = last
                    .iter()
                    .filter(|((uri, policy), _)| *policy == Wildcard && matches(uri, Wildcard, &name))
                    .map(|((uri, _), allows)| (uri, *allows))
                    .collect();
                // More text to the left sorts higher: an empty component is smaller than any letter.
                wild.sort_by(|one, other| one.0.split('.').cmp(other.0.split('.')));
                let expected = exact.or(prefix).or(wild.last().map(|(_, allows)| *allows)).unwrap_or(false);
                let decided = roles.decide("user", Action::Call, &name, Exact) == Decision::Allow;
                prop_assert_eq!(decided, expected, "{}", name);
            }
        }

        #[test]
        fn a_pattern_that_is_allowed_matches_no_name_that_is_not(
            rules in proptest::collection::vec((pattern(), any::<bool>()), 0..6),
            (uri, policy) in pattern()
        ) {
            let mut roles = Roles::default();
            for ((uri, policy), allows) in &rules {
                let actions: &[Action] = if *allows { &[Action::Subscribe] } else { &[] };
                roles.allow("user", rule(uri, *policy, actions));
            }
            if roles.decide("user", Action::Subscribe, &uri, policy) == Decision::Allow {
                for name in names().iter().filter(|name| matches(&uri, policy, name)) {
                    let decided = roles.decide("user", Action::Subscribe, name, Exact);
                    prop_assert_eq!(decided, Decision::Allow, "{} by {}", name, uri);
                }
            }
        }
    }
}
