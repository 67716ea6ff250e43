//! A realm in memory: the pure router with memory links, and a tap on all that passes.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    rc::Rc,
};

use futures::FutureExt;

use crate::{
    error::Result,
    node::NodeContext,
    platform::{PlatformRef, default_platform},
    wamp::{
        codec::CodecId,
        id::SessionId,
        peer::{Join, Peer},
        router::{ConnectionId, Input, Open, Outgoing, Output, Principal, Router, RouterConfig},
        transport::memory::{self, LaneSender},
        uri::Uri,
    },
};

/// How many messages without reserved room wait on a link of the realm.
const CAPACITY: usize = 256;

/// A realm for tests. Clones are the same realm.
#[derive(Clone)]
pub struct Realm(Rc<Inner>);

struct Inner {
    platform: PlatformRef,
    name: Uri,
    router: RefCell<Router>,
    links: RefCell<BTreeMap<ConnectionId, LaneSender>>,
    codecs: RefCell<BTreeMap<ConnectionId, CodecId>>,
    sessions: RefCell<BTreeMap<SessionId, ConnectionId>>,
    counts: RefCell<BTreeMap<(CodecId, &'static str), u64>>,
    next: Cell<u64>,
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
        let name = Uri::unchecked("test");
        Self(Rc::new(Inner {
            platform: default_platform(),
            router: RefCell::new(Router::new(name.clone(), config)),
            name,
            links: RefCell::default(),
            codecs: RefCell::default(),
            sessions: RefCell::default(),
            counts: RefCell::default(),
            next: Cell::new(1),
        }))
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
        let connection = ConnectionId(self.0.next.get());
        self.0.next.set(connection.0 + 1);
        let (link, far) = memory::link(CAPACITY, codec);
        self.0.links.borrow_mut().insert(connection, far.outgoing);
        self.0.codecs.borrow_mut().insert(connection, codec);
        let principal = Principal {
            authid: authid.to_owned(),
            authrole: role.to_owned(),
            authmethod: "test".to_owned(),
            authprovider: "test".to_owned(),
            internal: role == "node",
        };
        self.handle(Input::Attach {
            connection,
            codec,
            principal,
        });
        let realm = self.clone();
        let incoming = far.incoming;
        let reader = async move {
            while let Some(message) = incoming.receive().await {
                realm.count(connection, message.name());
                realm.handle(Input::Message { connection, message });
            }
            realm.detach(connection);
        };
        self.0.platform.spawn_local(reader.boxed_local());
        let peer = Peer::join(self.0.platform.clone(), link, Join::new(self.0.name.clone())).await?;
        self.0.sessions.borrow_mut().insert(peer.session().session, connection);
        Ok(peer)
    }

    /// A root context for a tree of its own, joined in a role.
    ///
    /// # Errors
    /// If the router aborts.
    pub async fn context(&self, role: &str) -> Result<NodeContext> {
        Ok(NodeContext::root(self.0.platform.clone(), Some(self.peer(role).await?)))
    }

    /// Cuts a peer's link, as a lost connection does.
    pub fn cut(&self, peer: &Peer) {
        let connection = self.0.sessions.borrow_mut().remove(&peer.session().session);
        if let Some(connection) = connection {
            self.detach(connection);
        }
    }

    /// How many messages of a kind passed the router, either way, in any codec: `realm.passed("CALL")`.
    #[must_use]
    pub fn passed(&self, kind: &str) -> u64 {
        self.0
            .counts
            .borrow()
            .iter()
            .filter(|((_, name), _)| *name == kind)
            .map(|(_, count)| count)
            .sum()
    }

    /// How many messages of each kind passed the router, by codec.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(CodecId, &'static str), u64> {
        self.0.counts.borrow().clone()
    }

    /// Hands an input to the router, for tests of what shells do: binding bases, granting topics, killing sessions.
    pub fn handle(&self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let outputs = self.0.router.borrow_mut().handle(input);
            inputs.extend(outputs.into_iter().filter_map(|output| self.perform(output)));
        }
    }

    /// Does what the router says; answers what the router must hear of it.
    fn perform(&self, output: Output) -> Option<Input> {
        match output {
            Output::Send {
                connection, message, ..
            } => {
                let link = self.0.links.borrow().get(&connection).cloned()?;
                let kind = message.message().name();
                let kept = message.clone();
                match link.try_send(Outgoing::into_message(message)) {
                    Ok(()) => {
                        self.count(connection, kind);
                        None
                    }
                    Err(_) if kind == "INVOCATION" => Some(Input::Undelivered {
                        connection,
                        message: kept,
                    }),
                    Err(_) => Some(self.forget(connection)),
                }
            }
            Output::Close { connection, .. } => {
                drop(self.forget(connection));
                None
            }
        }
    }

    fn detach(&self, connection: ConnectionId) {
        if self.0.links.borrow().contains_key(&connection) {
            let input = self.forget(connection);
            self.handle(input);
        }
    }

    fn forget(&self, connection: ConnectionId) -> Input {
        if let Some(link) = self.0.links.borrow_mut().remove(&connection) {
            link.close();
        }
        Input::Detach { connection }
    }

    fn count(&self, connection: ConnectionId, kind: &'static str) {
        if let Some(codec) = self.0.codecs.borrow().get(&connection) {
            *self.0.counts.borrow_mut().entry((*codec, kind)).or_default() += 1;
        }
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
