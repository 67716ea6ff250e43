//! Who may do what: default deny, and confinement of browsers to the base of their session root.

use crate::wamp::uri::{MatchPolicy, Uri};

use super::{Principal, SessionInfo};

/// What a session wants to do with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Call a procedure.
    Call,
    /// Offer a procedure.
    Register,
    /// Publish to a topic.
    Publish,
    /// Subscribe to a topic.
    Subscribe,
}

impl Action {
    /// Its name, for authorizer procedures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Register => "register",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// An authorizer's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow,
    /// No: the session gets `wamp.error.not_authorized`.
    Deny,
    /// The role's procedure in [`RouterConfig::authorizers`](super::RouterConfig::authorizers) decides; a denial where
    /// it has none.
    Ask,
}

/// The method of a principal that came with a token that was issued to it, as programs and operators do, and not with
/// the login of a page.
pub const TOKEN: &str = "token";

/// Decides for each request. Pure: the answer depends on the arguments only.
///
/// The router itself refuses names that break the URI rules, and registering, publishing or calling below `wamp.`.
pub trait Authorizer {
    /// Whether `who` may do `action` with the name or pattern `uri`.
    fn authorize(&self, who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> Decision;

    /// Whether `who` may use the meta API. Our own trees and the roles in
    /// [`RouterConfig::meta_roles`](super::RouterConfig::meta_roles) may in any case.
    fn allows_meta(&self, _who: &Principal) -> bool {
        false
    }
}

/// The procedure that every session may call: it answers with the session's base.
pub const START_SESSION: &str = "coati.start_session";

/// Calls that every node answers and the router passes on for operators only: what the node is and holds, and a value
/// of it as it changes. See [`crate::node::inspect`].
pub const NODE_INSPECT: &str = "node_inspect";
/// See [`NODE_INSPECT`].
pub const NODE_FOLLOW: &str = "node_follow";

/// Whether a procedure looks into a node.
pub(super) fn looks_inside(procedure: &Uri) -> bool {
    let text = procedure.as_str();
    let node = text
        .strip_suffix(NODE_INSPECT)
        .or_else(|| text.strip_suffix(NODE_FOLLOW));
    node.is_some_and(|node| node.is_empty() || node.ends_with('.'))
}

/// The authorizer of an application's realm.
///
/// * Our own trees may do everything outside `wamp.`.
/// * Roles named by [`BaseAuthorizer::allow`] may do everything below the prefixes given.
/// * Everybody else may call `coati.start_session` and, once the router has bound them to the base of a session root,
///   call `<base>.server` and below, register and publish at `<base>.client` and below, subscribe at `<base>` and
///   below and to the topics granted one by one.
#[derive(Clone, Debug, Default)]
pub struct BaseAuthorizer {
    roles: Vec<(String, String)>,
}

impl BaseAuthorizer {
    /// Lets all sessions of a role do everything at `root` and below.
    #[must_use]
    pub fn allow(mut self, role: impl Into<String>, root: impl Into<String>) -> Self {
        self.roles.push((role.into(), root.into()));
        self
    }
}

impl Authorizer for BaseAuthorizer {
    fn authorize(&self, who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> Decision {
        if reaches(uri, policy, "wamp") {
            return Decision::Deny;
        }
        let allowed = who.principal.internal
            || self
                .roles
                .iter()
                .any(|(role, root)| *role == who.principal.authrole && covered(uri, policy, root))
            || own(who, action, uri, policy);
        if allowed { Decision::Allow } else { Decision::Deny }
    }
}

/// What a browser may do.
fn own(who: &SessionInfo, action: Action, uri: &Uri, policy: MatchPolicy) -> bool {
    let below = |member: &str| {
        who.base
            .as_ref()
            .is_some_and(|base| covered(uri, policy, base.join(member).as_str()))
    };
    match action {
        Action::Call => *uri == START_SESSION || below("server"),
        Action::Register | Action::Publish => below("client"),
        Action::Subscribe => {
            who.base
                .as_ref()
                .is_some_and(|base| covered(uri, policy, base.as_str()))
                || (policy == MatchPolicy::Exact && who.grants.contains(uri))
        }
    }
}

/// Whether everything that the name or pattern matches is at `root` or below.
fn covered(uri: &Uri, policy: MatchPolicy, root: &str) -> bool {
    if root.is_empty() {
        return true;
    }
    match policy {
        // As a prefix, `root` alone would also match `rooted`; only `root.` is safe.
        MatchPolicy::Prefix => uri
            .as_str()
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('.')),
        MatchPolicy::Exact | MatchPolicy::Wildcard => uri.is_within(root),
    }
}

/// Whether the name or pattern matches anything at `root` or below, `root` being one component.
pub(super) fn reaches(uri: &Uri, policy: MatchPolicy, root: &str) -> bool {
    match policy {
        MatchPolicy::Exact => uri.is_within(root),
        MatchPolicy::Prefix => uri.is_within(root) || root.starts_with(uri.as_str()),
        MatchPolicy::Wildcard => uri
            .as_str()
            .split('.')
            .next()
            .is_some_and(|first| first.is_empty() || first == root),
    }
}

/// Lets everybody do everything, the meta API included: for the bare router.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Authorizer for Open {
    fn authorize(&self, _: &SessionInfo, _: Action, _: &Uri, _: MatchPolicy) -> Decision {
        Decision::Allow
    }

    fn allows_meta(&self, _: &Principal) -> bool {
        true
    }
}
