//! A realm in memory for tests: the very router that servers run, with a tap and a pair of scissors on each link.

use std::{cell::RefCell, collections::BTreeMap, fmt, rc::Rc};

use super::tap::{Scissors, Tap, wired};
use crate::{
    error::Result,
    node::{
        NodeContext,
        fault::{self, Fault},
    },
    path::Path,
    platform::{PlatformRef, default_platform},
    wamp::{
        LocalRealm,
        codec::CodecId,
        id::SessionId,
        peer::{Join, Peer},
        router::{Input, Open, Principal, Router, RouterConfig},
        transport::Link,
        uri::Uri,
    },
};

/// How many messages without reserved room wait on a link of the realm, each way.
const CAPACITY: usize = 256;

/// A realm for tests. Clones are the same realm.
#[derive(Clone)]
pub struct Realm {
    platform: PlatformRef,
    name: Uri,
    local: LocalRealm,
    tap: Tap,
    links: Rc<RefCell<BTreeMap<SessionId, Scissors>>>,
}

impl Default for Realm {
    fn default() -> Self {
        Self::new()
    }
}

impl Realm {
    /// A realm that lets everybody do everything but speak for WAMP.
    #[must_use]
    pub fn new() -> Self {
        Self::with_config(RouterConfig {
            authorizer: Box::new(Open),
            ..RouterConfig::new(1)
        })
    }

    /// A realm with a router of one's own making.
    #[must_use]
    pub fn with_config(config: RouterConfig) -> Self {
        Self::on(default_platform(), config)
    }

    /// A realm on a platform, such as that of a [`super::Simulation`].
    #[must_use]
    pub fn on(platform: PlatformRef, config: RouterConfig) -> Self {
        let name = Uri::unchecked("test");
        Self {
            local: LocalRealm::new(platform.clone(), Router::new(name.clone(), config)),
            platform,
            name,
            tap: Tap::default(),
            links: Rc::default(),
        }
    }

    /// Joins a session of a role; `node` is trusted, as server trees are. Its authid is the role's name.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn peer(&self, role: &str) -> Result<Peer> {
        self.peer_with(role, role, CodecId::Msgpack).await
    }

    /// As [`Realm::peer`], for a user and with a codec.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn peer_with(&self, authid: &str, role: &str, codec: CodecId) -> Result<Peer> {
        let (link, scissors) = self.wired(authid, role, codec, true);
        let peer = self.join(link).await?;
        self.links.borrow_mut().insert(peer.session().session, scissors);
        Ok(peer)
    }

    /// A link on which nobody has joined yet: to put it out into the [`super::Weather`], or to speak WAMP by hand.
    #[must_use]
    pub fn link(&self, authid: &str, role: &str, codec: CodecId) -> Link {
        self.wired(authid, role, codec, false).0
    }

    /// Joins over a link of this realm's.
    ///
    /// # Errors
    /// If the router aborts, or the link ends.
    pub async fn join(&self, link: Link) -> Result<Peer> {
        Peer::join(self.platform.clone(), link, Join::new(self.name.clone())).await
    }

    /// Says that a session has proven to be the client of a base; an older one there is closed.
    pub fn bind_base(&self, peer: &Peer, base: &Path) {
        if fault::is(Fault::OldGenerationAccepted) {
            return;
        }
        self.handle(Input::BindBase {
            session: peer.session().session,
            base: Uri::unchecked(base.as_str()),
        });
    }

    fn wired(&self, authid: &str, role: &str, codec: CodecId, is_bytes: bool) -> (Link, Scissors) {
        let codec = match codec {
            CodecId::Json if fault::is(Fault::CodecSwapped) => CodecId::Msgpack,
            CodecId::Msgpack | CodecId::Cbor if fault::is(Fault::CodecSwapped) => CodecId::Json,
            CodecId::Json | CodecId::Msgpack | CodecId::Cbor => codec,
        };
        let principal = Principal {
            authid: authid.to_owned(),
            authrole: role.to_owned(),
            authmethod: "test".to_owned(),
            authprovider: "test".to_owned(),
            internal: role == "node",
        };
        wired(self.local.connect(principal, codec, CAPACITY), &self.tap, is_bytes)
    }

    /// A root context for a tree of its own, joined in a role.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn context(&self, role: &str) -> Result<NodeContext> {
        Ok(NodeContext::root(self.platform.clone(), Some(self.peer(role).await?)))
    }

    /// Cuts a peer's link, as a lost connection does.
    pub fn cut(&self, peer: &Peer) {
        let link = self.links.borrow_mut().remove(&peer.session().session);
        link.iter().for_each(Scissors::cut);
    }

    /// What counts on the links of the realm.
    pub(super) fn tap(&self) -> Tap {
        self.tap.clone()
    }

    /// How many messages of a kind passed, either way, in any codec: `realm.passed("CALL")`.
    #[must_use]
    pub fn passed(&self, kind: &str) -> u64 {
        let counts = self.tap.counts();
        counts
            .iter()
            .filter(|((_, name), _)| *name == kind)
            .map(|(_, count)| count)
            .sum()
    }

    /// How many messages of each kind passed, by the codec of the link.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(CodecId, &'static str), u64> {
        self.tap.counts()
    }

    /// Hands an input to the router, for tests of what servers do: binding bases, granting topics, killing sessions.
    pub fn handle(&self, input: Input) {
        self.local.handle(input);
    }

    /// Asks the router something, such as its statistics.
    pub fn with_router<T>(&self, ask: impl FnOnce(&Router) -> T) -> T {
        self.local.with_router(ask)
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Realm")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
