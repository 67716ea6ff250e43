//! News of accounts within a process: whoever changes one tells, and open sockets do not wait for their next check.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

type Listener = Box<dyn Fn(&str) + Send + Sync>;

/// Tells that an account has another role, password or state. Clones are the same.
#[derive(Clone, Default)]
pub struct AccountChanges {
    listeners: Arc<Mutex<Vec<Listener>>>,
}

impl AccountChanges {
    /// Calls `listener` with the login name, as stored, of each account that changes; for as long as the store lives.
    pub fn listen(&self, listener: impl Fn(&str) + Send + Sync + 'static) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(listener));
    }

    /// Says that an account has changed; after the change is stored.
    pub fn tell(&self, name: &str) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().for_each(|listener| listener(name));
    }
}

impl fmt::Debug for AccountChanges {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("AccountChanges")
    }
}
