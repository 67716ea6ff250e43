//! What peers and routers announce that they can do: roles and their features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Feature names of the advanced profile that this implementation knows.
pub mod feature {
    /// Several RESULTs for one call.
    pub const PROGRESSIVE_CALL_RESULTS: &str = "progressive_call_results";
    /// Several CALLs under one request: arguments that are streamed.
    pub const PROGRESSIVE_CALL_INVOCATIONS: &str = "progressive_call_invocations";
    /// CANCEL and INTERRUPT.
    pub const CALL_CANCELING: &str = "call_canceling";
    /// The time limit of a call.
    pub const CALL_TIMEOUT: &str = "call_timeout";
    /// Who calls.
    pub const CALLER_IDENTIFICATION: &str = "caller_identification";
    /// Prefix and wildcard registrations.
    pub const PATTERN_BASED_REGISTRATION: &str = "pattern_based_registration";
    /// Several callees for one procedure.
    pub const SHARED_REGISTRATION: &str = "shared_registration";
    /// Prefix and wildcard subscriptions.
    pub const PATTERN_BASED_SUBSCRIPTION: &str = "pattern_based_subscription";
    /// Eligible and exclude lists.
    pub const SUBSCRIBER_BLACKWHITE_LISTING: &str = "subscriber_blackwhite_listing";
    /// `exclude_me`.
    pub const PUBLISHER_EXCLUSION: &str = "publisher_exclusion";
    /// Who published, if the publisher asks for it.
    pub const PUBLISHER_IDENTIFICATION: &str = "publisher_identification";
    /// The broker may take a subscription away.
    pub const SUBSCRIPTION_REVOCATION: &str = "subscription_revocation";
    /// The dealer may take a registration away.
    pub const REGISTRATION_REVOCATION: &str = "registration_revocation";
    /// `retain` and `get_retained`.
    pub const EVENT_RETENTION: &str = "event_retention";
    /// Coati's own: a SUBSCRIBE may say `_resumable`, so that falling behind ends no session.
    pub const RESUMABLE: &str = "_resumable";
    /// `wamp.subscription.get_events`
    pub const EVENT_HISTORY: &str = "event_history";
    /// `wamp.session.…`
    pub const SESSION_META_API: &str = "session_meta_api";
    /// `wamp.subscription.…`
    pub const SUBSCRIPTION_META_API: &str = "subscription_meta_api";
    /// `wamp.registration.…`
    pub const REGISTRATION_META_API: &str = "registration_meta_api";
    /// `wamp.session.add_testament`
    pub const TESTAMENT_META_API: &str = "testament_meta_api";
    /// `ppt_*` keys travel with the payload.
    pub const PAYLOAD_PASSTHRU_MODE: &str = "payload_passthru_mode";
}

/// The features of one role. Absent means basic profile only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Role {
    /// Feature name to whether it is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, bool>,
}

impl Role {
    /// A role with these features.
    #[must_use]
    pub fn with(features: &[&str]) -> Self {
        Self {
            features: features.iter().map(|name| ((*name).to_owned(), true)).collect(),
        }
    }

    /// Whether the feature is announced.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features.get(feature).copied().unwrap_or(false)
            || (feature == feature::CALL_CANCELING && self.features.get("call_cancelling") == Some(&true))
    }
}

/// The roles of a peer, by name (`publisher`, `subscriber`, `caller`, `callee`, `broker`, `dealer`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(pub BTreeMap<String, Role>);

impl Roles {
    /// What a Coati peer can do.
    #[must_use]
    pub fn client() -> Self {
        use feature::*;
        Self::of(&[
            (
                "publisher",
                &[
                    PUBLISHER_EXCLUSION,
                    PUBLISHER_IDENTIFICATION,
                    SUBSCRIBER_BLACKWHITE_LISTING,
                ],
            ),
            (
                "subscriber",
                &[
                    PATTERN_BASED_SUBSCRIPTION,
                    PUBLISHER_IDENTIFICATION,
                    SUBSCRIPTION_REVOCATION,
                ],
            ),
            (
                "caller",
                &[
                    CALLER_IDENTIFICATION,
                    CALL_CANCELING,
                    CALL_TIMEOUT,
                    PROGRESSIVE_CALL_RESULTS,
                ],
            ),
            (
                "callee",
                &[
                    CALLER_IDENTIFICATION,
                    CALL_CANCELING,
                    PROGRESSIVE_CALL_RESULTS,
                    PATTERN_BASED_REGISTRATION,
                    SHARED_REGISTRATION,
                    REGISTRATION_REVOCATION,
                ],
            ),
        ])
    }

    /// What the router can do, for a session that may or may not use the meta API, in a realm with or without history.
    #[must_use]
    pub fn router(meta: bool, history: bool) -> Self {
        use feature::*;
        let mut roles = Self::of(&[
            (
                "broker",
                &[
                    PATTERN_BASED_SUBSCRIPTION,
                    SUBSCRIBER_BLACKWHITE_LISTING,
                    PUBLISHER_EXCLUSION,
                    PUBLISHER_IDENTIFICATION,
                    SUBSCRIPTION_REVOCATION,
                    EVENT_RETENTION,
                    PAYLOAD_PASSTHRU_MODE,
                    RESUMABLE,
                ],
            ),
            (
                "dealer",
                &[
                    PROGRESSIVE_CALL_RESULTS,
                    PROGRESSIVE_CALL_INVOCATIONS,
                    CALL_CANCELING,
                    CALL_TIMEOUT,
                    CALLER_IDENTIFICATION,
                    PATTERN_BASED_REGISTRATION,
                    SHARED_REGISTRATION,
                    REGISTRATION_REVOCATION,
                    TESTAMENT_META_API,
                    PAYLOAD_PASSTHRU_MODE,
                ],
            ),
        ]);
        let some = [
            ("broker", SESSION_META_API, meta),
            ("broker", SUBSCRIPTION_META_API, meta),
            ("dealer", SESSION_META_API, meta),
            ("dealer", REGISTRATION_META_API, meta),
            ("broker", EVENT_HISTORY, history),
        ];
        for (role, feature, _) in some.into_iter().filter(|(_, _, has)| *has) {
            roles
                .0
                .entry(role.to_owned())
                .or_default()
                .features
                .insert(feature.to_owned(), true);
        }
        roles
    }

    fn of(roles: &[(&str, &[&str])]) -> Self {
        Self(
            roles
                .iter()
                .map(|(name, features)| ((*name).to_owned(), Role::with(features)))
                .collect(),
        )
    }

    /// Whether `role` announces `feature`.
    #[must_use]
    pub fn has(&self, role: &str, feature: &str) -> bool {
        self.0.get(role).is_some_and(|role| role.has(feature))
    }
}
