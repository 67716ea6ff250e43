//! The server's one error type: a kind for code, one line of text for the operator, the cause below it.

use std::{error::Error as StdError, fmt};

/// A result of the server side.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, for code to match on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A setting is missing, malformed or contradicts another.
    Configuration,
    /// Another program listens on the address already.
    AddressTaken,
    /// A file, folder or socket refused.
    Io,
    /// The database refused or is away.
    Database,
    /// The stored accounts or logins could not be read or written.
    Accounts,
    /// The other side of a link broke the protocol or left.
    Link,
    /// The realm has shut down.
    Closed,
    /// Commands of a script could not be obeyed.
    Commands,
    /// A bug of ours.
    Internal,
}

/// A failure that ends an operation of the server; its text is one line fit for a terminal.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause below it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// An error of configuration, the commonest kind: `message` names the setting and what to do.
    #[must_use]
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// The same error with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What code matches on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.message.clone();
        let mut cause: Option<&dyn StdError> = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        // One line whatever a cause says: this ends up in logs that are read by line.
        formatter.write_str(&text.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

// The causes are part of the text, so `source` stays unanswered: a reporter that walks the chain would print them twice.
impl StdError for Error {}

impl From<shared::error::Error> for Error {
    fn from(error: shared::error::Error) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_one_line_with_its_causes() {
        let cause = std::io::Error::other("first line\nsecond line");
        let error = Error::new(ErrorKind::Io, "Cannot read the folder").because(cause);
        assert_eq!(error.to_string(), "Cannot read the folder: first line second line");
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
