//! Where the nodes of a test are: in one tree, or in two that meet at the router.

use std::{collections::BTreeSet, time::Duration};

use super::{Realm, Tap, settle};
use crate::{
    error::Result,
    node::{Audience, NodeContext},
    platform::default_platform,
    wamp::{codec::CodecId, peer::Peer},
};

/// What a conversation of nodes consists of on the wire.
const TRAFFIC: [&str; 5] = ["CALL", "EVENT", "INVOCATION", "PUBLISH", "RESULT"];

/// Two contexts for the nodes of one test. A test with an argument of this type runs once in one tree, and once in two
/// trees for each codec.
#[derive(Clone, Debug)]
pub struct Placement {
    /// For nodes here.
    pub near: NodeContext,
    /// For nodes that may be elsewhere.
    pub far: NodeContext,
    /// Whether both are the same tree.
    pub is_together: bool,
    /// What the sessions speak.
    pub codec: CodecId,
    tap: Tap,
    /// How long nothing must pass before all is quiet; none for links in memory, which take no time.
    patience: Option<Duration>,
}

impl Placement {
    /// Both in one tree. It has joined a realm, but nobody outside is meant: all that happens stays in the tree.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn together() -> Result<Self> {
        let realm = Realm::new();
        let peer = realm.peer("node").await?;
        let placed = Self::of(peer.clone(), peer, realm.tap());
        placed.near.set_audience(Audience::Tree);
        Ok(Self {
            far: placed.near.clone(),
            is_together: true,
            ..placed
        })
    }

    /// Each in a tree of its own, with a session of its own, over the router in memory. What passes is encoded and
    /// decoded, as on other links.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn apart(codec: CodecId) -> Result<Self> {
        let realm = Realm::new();
        let (near, far) = (
            realm.peer_with("near", "node", codec).await?,
            realm.peer_with("far", "node", codec).await?,
        );
        Ok(Self {
            codec,
            ..Self::of(near, far, realm.tap())
        })
    }

    /// Each in a tree of its own, over links of any kind that `tap` was put on.
    #[must_use]
    pub fn over(near: Peer, far: Peer, codec: CodecId, tap: Tap) -> Self {
        Self {
            codec,
            patience: Some(Duration::from_millis(250)),
            ..Self::of(near, far, tap)
        }
    }

    fn of(near: Peer, far: Peer, tap: Tap) -> Self {
        Self {
            codec: near.codec(),
            near: NodeContext::root(default_platform(), Some(near)),
            far: NodeContext::root(default_platform(), Some(far)),
            is_together: false,
            tap,
            patience: None,
        }
    }

    /// What calls and events have passed so far, by name, sorted; messages of another codec than the placement's under
    /// the name of theirs.
    #[must_use]
    pub fn traffic(&self) -> Vec<String> {
        let counts = self.tap.counts();
        let passed = counts.keys().filter(|(_, name)| TRAFFIC.contains(name));
        let names: BTreeSet<String> = passed
            .map(|(codec, name)| match *codec == self.codec {
                true => (*name).to_owned(),
                false => format!("{name} in {codec:?}"),
            })
            .collect();
        names.into_iter().collect()
    }

    /// What [`Placement::traffic`] must be when nodes have called each other and heard each other's signals.
    #[must_use]
    pub fn expected_traffic(&self) -> Vec<&'static str> {
        if self.is_together { Vec::new() } else { TRAFFIC.to_vec() }
    }

    /// Waits until all that was sent has arrived.
    pub async fn settle(&self) {
        let Some(patience) = self.patience else {
            return settle().await;
        };
        loop {
            let before = self.tap.counts();
            self.near.platform().sleep(patience).await;
            if self.tap.counts() == before {
                return;
            }
        }
    }
}
