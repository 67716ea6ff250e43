//! Turns what a database says into the error kinds that cross the wire; the raw text stays in the log.

use shared::error::{Error, ErrorKind};

/// The error for a statement that failed: busy stays busy, a broken rule is refused, all else is internal with an incident id.
pub(crate) fn of_sqlx(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::PoolTimedOut => return Error::new(ErrorKind::Busy, "The database is busy. Please try again."),
        sqlx::Error::Database(database) => {
            // SQLite: BUSY 5, LOCKED 6 and their extended codes; PostgreSQL: serialization failure, deadlock.
            let code = database.code().unwrap_or_default();
            let primary = code.parse::<u32>().map(|code| code & 0xff).unwrap_or_default();
            if matches!(primary, 5 | 6) || matches!(code.as_ref(), "40001" | "40P01" | "55P03") {
                return Error::new(ErrorKind::Busy, "The database is busy. Please try again.");
            }
            if let Some(sentence) = broken_rule(database.kind()) {
                return Error::new(ErrorKind::Refused, sentence);
            }
        }
        _ => {}
    }
    internal(&error)
}

/// The sentence for a broken constraint; `None` for failures that are not one.
fn broken_rule(kind: sqlx::error::ErrorKind) -> Option<&'static str> {
    match kind {
        sqlx::error::ErrorKind::UniqueViolation => Some("Another row has the same value already."),
        sqlx::error::ErrorKind::ForeignKeyViolation => {
            Some("A row that this one refers to does not exist, or other rows still refer to this one.")
        }
        sqlx::error::ErrorKind::NotNullViolation => Some("A required value is missing."),
        sqlx::error::ErrorKind::CheckViolation => Some("A value breaks a rule of the database."),
        _ => None,
    }
}

/// An internal error whose cause is in the log under the incident id that the user sees.
pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Error {
    let incident = random_hex::<6>().unwrap_or_else(|_| "unknown".into());
    tracing::error!(%incident, %cause, "a database operation failed");
    Error::new(ErrorKind::Internal, "The database could not do this.").with_incident(incident)
}

/// `BYTES` random bytes from the operating system, as hexadecimal digits.
pub(crate) fn random_hex<const BYTES: usize>() -> Result<String, Error> {
    let mut bytes = [0_u8; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| {
        Error::new(
            ErrorKind::Internal,
            format!("No random numbers from the system: {error}."),
        )
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
