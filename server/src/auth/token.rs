//! Tokens for programs and operators: logins that are handed out instead of being typed in, each with a purpose and an end.

use super::{AccountStore, Login, TokenHash, new_token, unix_now};
use crate::error::{Error, Result};

/// The longest that a token may hold, in days.
pub const MOST_TOKEN_DAYS: u32 = 366;

/// Longest label, in characters.
const LONGEST_LABEL: usize = 100;

/// Makes a token that acts as an account until it ends, is removed, or the account is disabled. Returns what to send as
/// `Authorization: Bearer`; only its hash is kept.
///
/// # Errors
/// [`crate::ErrorKind::Configuration`] for a label of no or more than 100 characters or with control characters and for
/// days outside 1 to [`MOST_TOKEN_DAYS`]; what the store says, such as that there is no such account.
pub async fn issue_token(store: &dyn AccountStore, name: &str, label: &str, days: u32) -> Result<String> {
    let length = label.chars().count();
    if length == 0 || length > LONGEST_LABEL || label.contains(char::is_control) {
        let text = format!("A token's label has 1 to {LONGEST_LABEL} characters, none of them a control character");
        return Err(Error::configuration(text));
    }
    if !(1..=MOST_TOKEN_DAYS).contains(&days) {
        return Err(Error::configuration(format!(
            "A token holds for 1 to {MOST_TOKEN_DAYS} days"
        )));
    }
    let token = new_token()?;
    let now = unix_now();
    let login = Login {
        token: TokenHash::of(&token),
        name: name.to_owned(),
        created: now,
        seen: now,
        expires: now.saturating_add(i64::from(days) * 24 * 3600),
        label: Some(label.to_owned()),
    };
    store.create_login(login).await?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        auth::{Authenticator, MemoryAccounts},
        config::LoginLimits,
    };

    #[tokio::test]
    async fn a_token_outlives_idleness_but_not_its_account() {
        let store = Arc::new(MemoryAccounts::default());
        store.add("anna", "a long enough password", "admin").await.expect("new");
        let limits = LoginLimits {
            idle: Duration::ZERO,
            ..LoginLimits::default()
        };
        let authenticator = Authenticator::new(store.clone(), limits);
        let token = issue_token(&*store, "anna", "prompt", 1).await.expect("an account");
        let hash = TokenHash::of(&token);
        let identity = authenticator.identify(hash).await.expect("a store").expect("valid");
        assert_eq!((identity.authid.as_str(), identity.issued), ("anna", true));
        store.set_enabled("anna", false);
        assert_eq!(authenticator.identify(hash).await.expect("a store"), None);
        for (label, days) in [
            ("", 1),
            ("a\nb", 1),
            (&*"x".repeat(101), 1),
            ("x", 0),
            ("x", MOST_TOKEN_DAYS + 1),
        ] {
            assert!(
                issue_token(&*store, "anna", label, days).await.is_err(),
                "{label:?} {days}"
            );
        }
    }
}
