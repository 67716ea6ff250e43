//! WAMP's names for topics, procedures, errors and realms, their syntax rules and the names that are reserved.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// A dotted name. Cheap to clone.
///
/// Names that come out of a decoded message are *not* checked, because a router has to answer a bad name with an
/// error of its own; everybody else makes them by [`Uri::strict`] or [`Uri::loose`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uri(Arc<str>);

/// Longest name or pattern, in bytes.
pub const URI_LIMIT: usize = 1024;

/// The name of a user or a role, which goes into many messages. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl std::ops::Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<T: AsRef<str> + ?Sized> From<&T> for Name {
    fn from(text: &T) -> Self {
        Self(text.as_ref().into())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// How a subscription or registration matches the names that are published or called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchPolicy {
    /// The same name.
    #[default]
    Exact,
    /// Every name that starts with this text; the end need not fall on a dot.
    Prefix,
    /// Every name with as many components, an empty component standing for any.
    Wildcard,
}

/// Which characters a name may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Syntax {
    /// Anything but dots, `#`, white space, control characters and what nobody sees inside a component.
    #[default]
    Loose,
    /// Lower-case letters, digits and underscores only.
    Strict,
}

impl Uri {
    /// A name without any check, for constants and for text that was checked elsewhere.
    #[must_use]
    pub fn unchecked(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// A full name by the strict rule: `^([0-9a-z_]+\.)*([0-9a-z_]+)$`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text does not follow the rule.
    pub fn strict(text: &str) -> Result<Self> {
        Self::checked(text, Syntax::Strict, MatchPolicy::Exact)
    }

    /// A full name by the loose rule: `^([^\s.#]+\.)*([^\s.#]+)$`, and without characters that nobody sees.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text does not follow the rule.
    pub fn loose(text: &str) -> Result<Self> {
        Self::checked(text, Syntax::Loose, MatchPolicy::Exact)
    }

    /// A name or pattern by the given rule.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the text does not follow the rule.
    pub fn checked(text: &str, syntax: Syntax, policy: MatchPolicy) -> Result<Self> {
        if is_valid(text, syntax, policy) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("'{text}' is not a valid URI."),
            ))
        }
    }

    /// Whether this name or pattern follows the rule.
    #[must_use]
    pub fn is_valid(&self, syntax: Syntax, policy: MatchPolicy) -> bool {
        is_valid(&self.0, syntax, policy)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This name with one more component.
    #[must_use]
    pub fn join(&self, component: &str) -> Self {
        if self.0.is_empty() {
            Self(component.into())
        } else {
            Self(format!("{}.{component}", self.0).into())
        }
    }

    /// Whether this name is `ancestor` or below it, counting whole components.
    #[must_use]
    pub fn is_within(&self, ancestor: &str) -> bool {
        self.0
            .strip_prefix(ancestor)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.') || ancestor.is_empty())
    }

    /// Whether the first component is `wamp`, or can be taken for it: names that look like those of the router itself.
    #[must_use]
    pub fn resembles_wamp(&self) -> bool {
        let first = self.0.split('.').next().unwrap_or_default();
        first.chars().count() == 4 && first.chars().map(lookalike).eq("wamp".chars())
    }

    /// Whether this name, used as a pattern by `policy`, covers `name`.
    #[must_use]
    pub fn matches(&self, policy: MatchPolicy, name: &str) -> bool {
        match policy {
            MatchPolicy::Exact => &*self.0 == name,
            MatchPolicy::Prefix => name.starts_with(&*self.0),
            MatchPolicy::Wildcard => {
                let (mut pattern, mut name) = (self.0.split('.'), name.split('.'));
                loop {
                    match (pattern.next(), name.next()) {
                        (None, None) => return true,
                        (Some(wanted), Some(found)) if wanted.is_empty() || wanted == found => {}
                        (Some(_), Some(_)) | (None, Some(_)) | (Some(_), None) => return false,
                    }
                }
            }
        }
    }
}

/// The letter of `wamp` that a character looks like, in the alphabets that have one; otherwise the character itself.
fn lookalike(character: char) -> char {
    match character {
        'w' | 'W' | '\u{51c}' | '\u{51d}' | '\u{ff37}' | '\u{ff57}' => 'w',
        'a' | 'A' | '\u{251}' | '\u{391}' | '\u{3b1}' | '\u{410}' | '\u{430}' | '\u{ff21}' | '\u{ff41}' => 'a',
        'm' | 'M' | '\u{39c}' | '\u{41c}' | '\u{43c}' | '\u{ff2d}' | '\u{ff4d}' => 'm',
        'p' | 'P' | '\u{3a1}' | '\u{3c1}' | '\u{420}' | '\u{440}' | '\u{ff30}' | '\u{ff50}' => 'p',
        other => other,
    }
}

/// Characters without a shape of their own: two names that differ by one look the same, in logs too.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Whether it is a full name by the strict rule, which every other rule includes. Nearly all are.
fn is_strict(text: &str) -> bool {
    /// Looked at for each request: a table is quicker than comparing.
    const ALLOWED: [bool; 256] = {
        let mut allowed = [false; 256];
        let mut byte = 0;
        while byte < allowed.len() {
            allowed[byte] = matches!(byte as u8, b'.' | b'0'..=b'9' | b'a'..=b'z' | b'_');
            byte += 1;
        }
        allowed
    };
    let mut dots = true;
    for byte in text.bytes() {
        let dot = byte == b'.';
        if !ALLOWED[usize::from(byte)] || (dot && dots) {
            return false;
        }
        dots = dot;
    }
    !dots
}

/// The rules of the basic profile, with the empty components that patterns allow: in a prefix the last one, in a
/// wildcard any.
fn is_valid(text: &str, syntax: Syntax, policy: MatchPolicy) -> bool {
    if text.len() > URI_LIMIT {
        return false;
    }
    if is_strict(text) {
        return true;
    }
    let last = text.bytes().filter(|byte| *byte == b'.').count();
    text.split('.').enumerate().all(|(index, component)| {
        if component.is_empty() {
            return match policy {
                MatchPolicy::Exact => false,
                MatchPolicy::Prefix => index == last,
                MatchPolicy::Wildcard => true,
            };
        }
        match syntax {
            Syntax::Loose => component
                .chars()
                .all(|c| !c.is_whitespace() && c != '#' && !is_invisible(c)),
            Syntax::Strict => component.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z' | b'_')),
        }
    })
}

impl Borrow<str> for Uri {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Uri {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Uri {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Uri {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Uri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &*self.0)
    }
}

impl Serialize for Uri {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Uri {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Uri;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a URI")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Uri, E> {
                Ok(Uri(text.into()))
            }
        }
        // Not `str`: ciborium reads those up to a small size only.
        deserializer.deserialize_string(Visitor)
    }
}

/// Error URIs that routers and peers send.
pub mod error {
    /// A name that breaks the URI rules, or one that is reserved.
    pub const INVALID_URI: &str = "wamp.error.invalid_uri";
    /// A call that no registration matches.
    pub const NO_SUCH_PROCEDURE: &str = "wamp.error.no_such_procedure";
    /// A registration whose name is taken.
    pub const PROCEDURE_ALREADY_EXISTS: &str = "wamp.error.procedure_already_exists";
    /// A registration id that is not the session's.
    pub const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";
    /// A session id that no session has.
    pub const NO_SUCH_SESSION: &str = "wamp.error.no_such_session";
    /// A subscription id that is not the session's.
    pub const NO_SUCH_SUBSCRIPTION: &str = "wamp.error.no_such_subscription";
    /// A realm that this router does not have.
    pub const NO_SUCH_REALM: &str = "wamp.error.no_such_realm";
    /// There is no history, or not enough of it (Crossbar.io).
    pub const HISTORY_UNAVAILABLE: &str = "wamp.error.history_unavailable";
    /// Arguments that cannot be read.
    pub const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";
    /// The authorizer said no.
    pub const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";
    /// The call was given up, or its callee left.
    pub const CANCELED: &str = "wamp.error.canceled";
    /// The call took too long.
    pub const TIMEOUT: &str = "wamp.error.timeout";
    /// The peer broke the protocol.
    pub const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
    /// A message is larger than its receiver allows.
    pub const PAYLOAD_SIZE_EXCEEDED: &str = "wamp.error.payload_size_exceeded";
    /// The callee lacks a feature that the request needs.
    pub const FEATURE_NOT_SUPPORTED: &str = "wamp.error.feature_not_supported";
    /// The proof of who somebody is was wrong, or there is no such user.
    pub const AUTHENTICATION_FAILED: &str = "wamp.error.authentication_failed";
    /// The authorizer could not decide, which is a no.
    pub const AUTHORIZATION_FAILED: &str = "wamp.error.authorization_failed";
    /// None of the offered ways to authenticate is available.
    pub const NO_AUTH_METHOD: &str = "wamp.error.no_auth_method";
    /// Too many calls, subscriptions or registrations at once.
    pub const BUSY: &str = "coati.error.busy";
    /// The client was built against other contracts.
    pub const CLIENT_OUTDATED: &str = "coati.error.client_outdated";
}

/// Reasons in GOODBYE, and for closing a connection.
pub mod close {
    /// The ordinary end.
    pub const NORMAL: &str = "wamp.close.normal";
    /// A client leaves the realm.
    pub const CLOSE_REALM: &str = "wamp.close.close_realm";
    /// The answer to a GOODBYE.
    pub const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";
    /// The router stops.
    pub const SYSTEM_SHUTDOWN: &str = "wamp.close.system_shutdown";
    /// An operator ended the session.
    pub const KILLED: &str = "wamp.close.killed";
    /// The same session root was joined by a newer client.
    pub const REPLACED: &str = "coati.close.replaced";
    /// The peer did not read fast enough.
    pub const TOO_SLOW: &str = "coati.close.too_slow";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_may_have_empty_components() {
        let valid = |text, policy| is_valid(text, Syntax::Loose, policy);
        for (text, exact, prefix, wildcard) in [
            ("a.b", true, true, true),
            ("", false, true, true),
            ("a.", false, true, true),
            ("a..b", false, false, true),
            (".a", false, false, true),
            ("a b", false, false, false),
            ("a.#", false, false, false),
            ("Grüße.Ä", true, true, true),
        ] {
            assert_eq!(valid(text, MatchPolicy::Exact), exact, "exact {text:?}");
            assert_eq!(valid(text, MatchPolicy::Prefix), prefix, "prefix {text:?}");
            assert_eq!(valid(text, MatchPolicy::Wildcard), wildcard, "wildcard {text:?}");
        }
        assert!(Uri::strict("com.my_app.1").is_ok());
        assert!(Uri::strict("com.MyApp").is_err());
    }

    #[test]
    fn patterns_match_by_their_policy() {
        let uri = Uri::unchecked;
        assert!(
            uri("a.b").matches(MatchPolicy::Prefix, "a.bc"),
            "prefixes are string prefixes"
        );
        assert!(!uri("a.b").matches(MatchPolicy::Exact, "a.bc"));
        assert!(uri("a..c").matches(MatchPolicy::Wildcard, "a.b.c"));
        assert!(!uri("a..c").matches(MatchPolicy::Wildcard, "a.b.b.c"));
        assert!(!uri("a.").matches(MatchPolicy::Wildcard, "a"));
    }

    #[test]
    fn being_within_counts_whole_components() {
        let uri = Uri::unchecked("base.client");
        assert!(uri.is_within("base.client") && uri.is_within("base") && uri.is_within(""));
        assert!(!uri.is_within("base.cli") && !uri.is_within("base.client.x"));
    }
}
