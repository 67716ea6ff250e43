//! What a tree leaves behind for when its session ends, however it ends: word to those who show its state.
//!
//! One WAMP testament for each mirrored field, on the very topic that tells of its changes: whoever may listen there
//! hears of the end, too. It names neither version nor life, so that one which is no longer true makes a mirror ask,
//! and nothing worse.

use std::collections::{BTreeMap, BTreeSet};

use super::{Kind, Member, WireKey};
use crate::{
    error::Result,
    node::{
        fault::{self, Fault},
        mirror::last_word,
    },
    path::Path,
    wamp::{message::CallOptions, payload::Payload, peer::Peer, uri::Uri},
};

/// So many testaments may be out of date before all are made anew: they are few, and cannot be taken back singly.
const SPARE: usize = 3;

impl Member {
    /// The node at a path has state at these topics: until the place is vacated, whoever shows it is told if the session
    /// ends. The caller sees to [`Member::reconcile`].
    pub(crate) fn bequeath(&self, path: &Path, topics: Vec<String>) {
        self.wills.borrow_mut().insert(path.to_string(), topics);
    }

    /// Forgets the testaments of this session if too many are out of date. All that are wanted are missing then, and are
    /// to be made after those at the router are flushed.
    pub(super) fn forgets_wills(&self) -> bool {
        let (wills, mut wires) = (self.wills.borrow(), self.wires.borrow_mut());
        let live: BTreeSet<&String> = wills.values().flatten().collect();
        let made = wires.made.range(first()..);
        let stale = made.filter(|((_, topic, _), _)| !live.contains(topic)).count();
        let forgets = stale > SPARE + live.len();
        if forgets {
            wires.made.split_off(&first());
        }
        forgets
    }
}

/// Testaments are the last of all wires: they begin here.
pub(super) fn first() -> WireKey {
    (Kind::Wills, String::new(), false)
}

/// Leaves word for the topic of a mirrored field. A refusal costs mirrors the news, and nobody anything else.
pub(super) async fn leave_will(peer: &Peer, topic: &str) {
    if fault::is(Fault::NoTestament) {
        return;
    }
    let payload = Payload::encode(peer.codec(), &(topic, (last_word(),)));
    if let Err(error) = ask(peer, "wamp.session.add_testament", payload).await {
        tracing::debug!(topic, %error, "mirrors will not hear of the end of this session");
    }
}

/// Takes all testaments of the framework back; those of the application have another scope.
pub(super) async fn flush_wills(peer: &Peer) {
    if let Err(error) = ask(peer, "wamp.session.flush_testaments", Ok(Payload::empty(peer.codec()))).await {
        tracing::debug!(%error, "testaments that are out of date stay");
    }
}

async fn ask(peer: &Peer, procedure: &str, payload: Result<Payload>) -> Result<()> {
    let scope = BTreeMap::from([("scope", "detached")]);
    let (procedure, payload) = (Uri::unchecked(procedure), payload?.with_kwargs(&scope)?);
    peer.call(&procedure, payload, CallOptions::default()).await.map(drop)
}
