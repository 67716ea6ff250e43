//! Where the nodes of a test are: in one tree, or in two that meet at the router.

use super::{Realm, local_context};
use crate::{error::Result, node::NodeContext};

/// Two contexts for the nodes of one test. A test with an argument of this type runs once in each placement.
#[derive(Clone, Debug)]
pub struct Placement {
    /// For nodes here.
    pub near: NodeContext,
    /// For nodes that may be elsewhere.
    pub far: NodeContext,
    /// Whether both are the same tree.
    pub is_together: bool,
    /// What they joined.
    pub realm: Realm,
}

impl Placement {
    /// Both in one tree, which has not joined the realm: all that happens, happens in the tree. (A tree that has joined
    /// publishes its signals, because others may listen.)
    ///
    /// # Errors
    /// None, so far.
    pub async fn together() -> Result<Self> {
        let near = local_context();
        Ok(Self {
            far: near.clone(),
            near,
            is_together: true,
            realm: Realm::new(),
        })
    }

    /// Each in a tree of its own, with a session of its own.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn apart() -> Result<Self> {
        let realm = Realm::new();
        Ok(Self {
            near: realm.context("node").await?,
            far: realm.context("node").await?,
            is_together: false,
            realm,
        })
    }

    /// Whether no call and no event has passed the router so far.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        ["CALL", "INVOCATION", "PUBLISH", "EVENT"]
            .iter()
            .all(|kind| self.realm.passed(kind) == 0)
    }
}
