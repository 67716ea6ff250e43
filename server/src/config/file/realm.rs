//! `realm = "name"` or many `[[realm]]`: each with roles and logins of its own.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, de};

use super::{
    history::HistoryPart,
    login::{AuthenticationPart, LoginPart, Needs},
    role::RolePart,
};
use crate::{
    error::Result,
    router::{RealmSetup, Roles},
};

/// What the setting `realm` can be.
#[derive(Debug, Default)]
pub(super) enum RealmSetting {
    #[default]
    Unnamed,
    Named(String),
    Several(Vec<NamedRealm>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NamedRealm {
    pub(super) name: String,
    #[serde(default)]
    role: Vec<RolePart>,
    #[serde(default)]
    authentication: AuthenticationPart,
    #[serde(default)]
    login: Vec<LoginPart>,
    history: Option<HistoryPart>,
}

impl<'de> Deserialize<'de> for RealmSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RealmSetting;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name, or several [[realm]]")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<RealmSetting, E> {
                Ok(RealmSetting::Named(name.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> std::result::Result<RealmSetting, A::Error> {
                let mut realms = Vec::new();
                while let Some(realm) = list.next_element()? {
                    realms.push(realm);
                }
                Ok(RealmSetting::Several(realms))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What is said about one realm.
#[derive(Debug, Default)]
pub(super) struct RealmParts {
    pub(super) role: Vec<RolePart>,
    pub(super) authentication: AuthenticationPart,
    pub(super) login: Vec<LoginPart>,
    pub(super) history: Option<HistoryPart>,
}

impl RealmParts {
    pub(super) fn is_empty(&self) -> bool {
        self.role.is_empty() && self.login.is_empty() && self.authentication.is_empty() && self.history.is_none()
    }

    /// Puts a realm together. `place` is how errors begin.
    pub(super) fn build(self, name: &str, place: &str) -> Result<RealmSetup> {
        let names: Vec<String> = self.role.iter().map(|role| role.name.clone()).collect();
        let roles: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let needs = Needs { place, roles: &roles };
        let mut setup = RealmSetup::new(name);
        let mut rules = Roles::default();
        let mut seen = BTreeSet::new();
        for role in self.role {
            if !seen.insert(role.name.clone()) {
                return Err(needs.wrong(format!("there are two roles named {:?}", role.name)));
            }
            role.add(&mut setup, &mut rules, &needs)?;
        }
        setup.authorizer = Some(Box::new(rules));
        setup.authentication = self.authentication.build(self.login, &needs)?;
        if let Some(history) = self.history {
            setup.history = history.build(place)?;
        }
        Ok(setup)
    }
}

impl NamedRealm {
    pub(super) fn take(self) -> (String, RealmParts) {
        let parts = RealmParts {
            role: self.role,
            authentication: self.authentication,
            login: self.login,
            history: self.history,
        };
        (self.name, parts)
    }
}
