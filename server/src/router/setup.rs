//! What a realm consists of, before it starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use shared::wamp::{
    Uri,
    router::{
        Authentication, Authorizer, AuthorizerProcedure, HistoryConfig, HistoryLimits, HistoryTopics, Limits,
        RouterConfig,
    },
};

#[cfg(feature = "data")]
use crate::data::open_history;
#[cfg(not(feature = "data"))]
use crate::router::history::no_database as open_history;
use crate::{
    auth::Guard,
    error::{Error, ErrorKind, Result},
    router::{EventStore, Stored, realms::Equipment},
};

/// A realm of a server: who may join it, and what each role may do there.
pub struct RealmSetup {
    /// Its name, a URI.
    pub name: String,
    /// Who may do what; by default sessions are confined to their own base.
    pub authorizer: Option<Box<dyn Authorizer + Send>>,
    /// The procedures that decide, by role, what the authorizer leaves open.
    pub authorizers: BTreeMap<String, AuthorizerProcedure>,
    /// Who may join and how that is proven; none = everybody, as whom the transport says.
    pub authentication: Option<Authentication>,
    /// How much sessions may ask for, by role; by default as much as a browser needs.
    pub limits: BTreeMap<String, Limits>,
    /// What sockets may use once their session has the role.
    pub sockets: BTreeMap<String, SocketLimits>,
    /// Roles that may use the meta API.
    pub meta_roles: BTreeSet<String>,
    /// Roles that may look into every node.
    pub operators: BTreeSet<String>,
    /// What it keeps of its events.
    pub history: RealmHistory,
}

/// What history a realm has, and where it survives.
#[derive(Default)]
pub struct RealmHistory {
    /// Of which topics; none of any by default.
    pub topics: HistoryTopics,
    /// How much.
    pub limits: HistoryLimits,
    /// Where it survives the process.
    pub store: Option<Arc<dyn EventStore>>,
    /// Or a database that has a store for each realm, `sqlite:<path>` or `postgres://…`. Needs the feature `data`.
    pub database: Option<String>,
}

impl fmt::Debug for RealmHistory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RealmHistory")
            .field("topics", &self.topics)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl RealmHistory {
    /// Opens the store, and reads what is in it.
    async fn restore(self, realm: &Uri) -> Result<(HistoryConfig, Option<Arc<dyn EventStore>>)> {
        let store = match (self.store, self.database) {
            (None, Some(url)) => Some(open_history(&url, realm).await?),
            (store, _) => store,
        };
        let stored = match &store {
            Some(store) => store.load().await?,
            None => Stored::default(),
        };
        let config = HistoryConfig {
            topics: self.topics,
            limits: self.limits,
            durable: store.is_some(),
            kept: stored.events,
            forgotten: stored.forgotten,
        };
        Ok((config, store))
    }
}

/// What a socket may use once its session has a role; what is not said is as for every socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketLimits {
    /// Bytes of the largest message that it may send.
    pub message: Option<usize>,
    /// Calls per second, on average; four times as many at once.
    pub calls_per_second: Option<u32>,
    /// Bytes of events and invocations that may wait for it.
    pub queue_bytes: Option<usize>,
    /// Events and invocations that may wait for it.
    pub queue_messages: Option<usize>,
}

impl fmt::Debug for RealmSetup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RealmSetup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl RealmSetup {
    /// A realm without roles and logins.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            authorizer: None,
            authorizers: BTreeMap::new(),
            authentication: None,
            limits: BTreeMap::new(),
            sockets: BTreeMap::new(),
            meta_roles: BTreeSet::new(),
            operators: BTreeSet::new(),
            history: RealmHistory::default(),
        }
    }

    /// The name as a URI.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if it cannot be one.
    pub fn uri(&self) -> Result<Uri> {
        Uri::loose(&self.name).map_err(|error| {
            Error::configuration(format!("{:?} cannot be the name of a realm", self.name)).because(error)
        })
    }

    /// The settings of the pure router, and what else the realm has.
    pub(crate) async fn into_parts(
        self,
        contracts: Option<String>,
        guard: Arc<Guard>,
    ) -> Result<(RouterConfig, Equipment)> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::new(ErrorKind::Internal, "The system gives no randomness").because(error))?;
        let (history, store) = self.history.restore(&Uri::unchecked(&*self.name)).await?;
        let equipment = Equipment {
            guard,
            sockets: self.sockets,
            components: self.limits.keys().cloned().collect(),
            store,
        };
        let mut config = RouterConfig::new(u64::from_le_bytes(seed));
        config.contracts = contracts;
        config.limits = self.limits;
        config.meta_roles = self.meta_roles;
        config.operators = self.operators;
        config.authorizers = self.authorizers;
        config.authentication = self.authentication;
        config.history = history;
        config.epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(authorizer) = self.authorizer {
            config.authorizer = authorizer;
        }
        Ok((config, equipment))
    }
}
