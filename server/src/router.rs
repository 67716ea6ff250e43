//! The shells of the pure router: the task that owns it and the queues to its peers.

/// A handle to a realm.
#[derive(Clone, Debug)]
pub struct RealmHandle {
    name: std::sync::Arc<str>,
}

impl RealmHandle {
    pub(crate) fn placeholder(name: &str) -> Self {
        Self { name: name.into() }
    }

    /// The realm's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}
