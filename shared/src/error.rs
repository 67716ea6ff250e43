//! The one error type of the node model, and its one mapping to and from WAMP error URIs.

use std::{
    collections::BTreeMap,
    fmt,
    ops::{Deref, DerefMut},
};

use serde::{Deserialize, Serialize};

/// A result whose error can cross the wire.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for code to match on. The text in [`ErrorParts::message`] is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// No node, or no call of that name, is bound at the address.
    NoSuchProcedure,
    /// The caller may not do this.
    NotAuthorized,
    /// Arguments or a result do not have the shape that the contract says.
    InvalidArgument,
    /// The node at the path does not implement the contract.
    WrongContract,
    /// No answer in time.
    Timeout,
    /// The caller or the router gave the call up, or the callee left.
    Canceled,
    /// There is no session, or it ended before the answer came.
    Disconnected,
    /// A limit is reached; the same call may succeed later.
    Busy,
    /// Somebody else changed the same thing first.
    Conflict,
    /// The thing asked for does not exist, or the caller may not know that it does.
    NotFound,
    /// A rule of the application says no.
    Refused,
    /// The client was built against other contracts than the server's.
    ClientOutdated,
    /// The peer broke the protocol.
    Protocol,
    /// A bug or a failing machine; the text stays in the log of the side that failed, under [`ErrorParts::incident`].
    Internal,
    /// An error of the application's own, named by its URI.
    Application,
}

/// Pairs of kind and WAMP error URI; the first URI of a kind is the one that is sent.
const URIS: &[(ErrorKind, &str)] = &[
    (ErrorKind::NoSuchProcedure, "wamp.error.no_such_procedure"),
    (ErrorKind::NotAuthorized, "wamp.error.not_authorized"),
    (ErrorKind::NotAuthorized, "wamp.error.authorization_failed"),
    (ErrorKind::InvalidArgument, "wamp.error.invalid_argument"),
    (ErrorKind::WrongContract, "coati.error.wrong_contract"),
    (ErrorKind::Timeout, "wamp.error.timeout"),
    (ErrorKind::Canceled, "wamp.error.canceled"),
    (ErrorKind::Disconnected, "coati.error.disconnected"),
    (ErrorKind::Disconnected, "wamp.error.network_failure"),
    (ErrorKind::Busy, "coati.error.busy"),
    (ErrorKind::Busy, "wamp.error.unavailable"),
    (ErrorKind::Conflict, "coati.error.conflict"),
    (ErrorKind::NotFound, "coati.error.not_found"),
    (ErrorKind::Refused, "coati.error.refused"),
    (ErrorKind::ClientOutdated, "coati.error.client_outdated"),
    (ErrorKind::Protocol, "wamp.error.protocol_violation"),
    (ErrorKind::Internal, "coati.error.internal"),
];

impl ErrorKind {
    /// The error URI that stands for this kind on the wire.
    #[must_use]
    pub fn uri(self) -> &'static str {
        URIS.iter()
            .find(|(kind, _)| *kind == self)
            .map_or("coati.error.application", |(_, uri)| uri)
    }

    /// The kind that an error URI stands for; [`ErrorKind::Application`] for URIs that are not ours or WAMP's.
    #[must_use]
    pub fn of_uri(uri: &str) -> Self {
        URIS.iter()
            .find(|(_, known)| *known == uri)
            .map_or(Self::Application, |(kind, _)| *kind)
    }
}

/// A failure: kind for code, text for people, fields for forms. Its parts are read and changed like fields.
///
/// One pointer in size: results are handed through many layers, and most of them are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<ErrorParts>);

/// What an [`Error`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorParts {
    /// What code matches on.
    pub kind: ErrorKind,
    /// The error URI; for [`ErrorKind::Application`] it carries the meaning.
    pub uri: String,
    /// A sentence for people.
    pub message: String,
    /// Named facts, such as the fields of a form and what is wrong with each.
    pub details: BTreeMap<String, String>,
    /// What a user tells the operator, who finds the cause under it in the log.
    pub incident: Option<String>,
}

/// How an [`Error`] travels in the keyword arguments of an ERROR message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireDetails {
    /// See [`ErrorParts::details`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
    /// See [`ErrorParts::incident`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
}

impl Error {
    /// An error of a known kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorParts {
            kind,
            uri: kind.uri().to_owned(),
            message: message.into(),
            details: BTreeMap::new(),
            incident: None,
        }))
    }

    /// An error of the application's own; `uri` should be below the application's prefix.
    #[must_use]
    pub fn application(uri: impl Into<String>, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Application, message);
        error.uri = uri.into();
        error
    }

    /// The same error with one more named fact.
    #[must_use]
    pub fn with_detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.details.insert(name.into(), value.into());
        self
    }

    /// The same error under an incident id.
    #[must_use]
    pub fn with_incident(mut self, incident: impl Into<String>) -> Self {
        self.incident = Some(incident.into());
        self
    }

    /// The parts of an ERROR message: its URI, its positional and its keyword arguments.
    #[must_use]
    pub fn to_wire(&self) -> (&str, (&str,), WireDetails) {
        let details = WireDetails {
            details: self.details.clone(),
            incident: self.incident.clone(),
        };
        (&self.uri, (&self.message,), details)
    }

    /// The error that an ERROR message of any WAMP peer stands for.
    #[must_use]
    pub fn from_wire(uri: &str, message: Option<String>, wire: WireDetails) -> Self {
        Self(Box::new(ErrorParts {
            kind: ErrorKind::of_uri(uri),
            uri: uri.to_owned(),
            message: message.unwrap_or_else(|| uri.to_owned()),
            details: wire.details,
            incident: wire.incident,
        }))
    }

    /// The parts, to be taken one by one.
    #[must_use]
    pub fn into_parts(self) -> ErrorParts {
        *self.0
    }
}

impl Deref for Error {
    type Target = ErrorParts;

    fn deref(&self) -> &ErrorParts {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut ErrorParts {
        &mut self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.incident {
            Some(incident) => write!(formatter, " (incident {incident})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_the_wire() {
        for (kind, _) in URIS {
            let sent = Error::new(*kind, "Something went wrong.")
                .with_detail("field", "too long")
                .with_incident("abc");
            let (uri, (message,), wire) = sent.to_wire();
            assert_eq!(Error::from_wire(uri, Some(message.to_owned()), wire), sent);
        }
    }

    #[test]
    fn an_unknown_uri_is_the_applications_own() {
        let error = Error::from_wire("com.example.full", None, WireDetails::default());
        assert_eq!(
            (error.kind, error.uri.as_str()),
            (ErrorKind::Application, "com.example.full")
        );
        assert_eq!(
            error.message, "com.example.full",
            "an error without text still says something"
        );
    }
}
