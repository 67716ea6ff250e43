//! What a realm consists of, before it starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use shared::wamp::{
    Uri,
    router::{Authentication, Authorizer, AuthorizerProcedure, Limits, RouterConfig},
};

use crate::error::{Error, ErrorKind, Result};

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

    /// The settings of the pure router, and those of its sockets.
    pub(crate) fn into_parts(
        self,
        contracts: Option<String>,
    ) -> Result<(RouterConfig, BTreeMap<String, SocketLimits>)> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)
            .map_err(|error| Error::new(ErrorKind::Internal, "The system gives no randomness").because(error))?;
        let mut config = RouterConfig::new(u64::from_le_bytes(seed));
        config.contracts = contracts;
        config.limits = self.limits;
        config.meta_roles = self.meta_roles;
        config.operators = self.operators;
        config.authorizers = self.authorizers;
        config.authentication = self.authentication;
        config.epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Some(authorizer) = self.authorizer {
            config.authorizer = authorizer;
        }
        Ok((config, self.sockets))
    }
}
