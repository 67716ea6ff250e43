//! Puts a server together from its parts and runs it.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use shared::wamp::{MatchPolicy, Uri};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::{AccountStore, Authenticator, Guard},
    component::{Component, Components},
    config::{Config, RawAddress, Tls},
    connection::{CloseWhy, RawListener, Sockets},
    error::{Error, ErrorKind, Result},
    http::{
        self, App, AppState, HostPolicy, ReadyCheck, SessionCookie,
        assets::{Asset, Client},
    },
    router::{Authentication, Authorizer, EventStore, HistoryLimits, Limits, RealmHandle, RealmSetup, realms::Realms},
    shutdown, telemetry,
    tls::ServerTls,
    tree_host::{ThreadTreeHost, TreeHost},
};

/// A part of the application that lives on the server: it joins the realm and starts trees.
pub trait Service: Send + Sync {
    /// Starts the service; the server answers `/readyz` once all have started.
    ///
    /// # Errors
    /// What keeps it from starting ends the start of the server.
    fn start(&self, realm: &RealmHandle, trees: &Arc<dyn TreeHost>) -> Result<()>;
}

/// A Coati server.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// A server with default settings, no client, no accounts and no services.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            config: Config::default(),
            assets: &[],
            site: None,
            title: "Coati".to_owned(),
            client: None,
            realm: Box::new(RealmSetup::new("realm1")),
            more_realms: Vec::new(),
            contracts: None,
            accounts: None,
            services: Vec::new(),
            ready_checks: Vec::new(),
            components: Vec::new(),
        }
    }
}

/// Collects what a server consists of.
#[must_use]
pub struct ServerBuilder {
    config: Config,
    assets: &'static [Asset],
    site: Option<PathBuf>,
    title: String,
    client: Option<String>,
    realm: Box<RealmSetup>,
    more_realms: Vec<RealmSetup>,
    contracts: Option<String>,
    accounts: Option<Arc<dyn AccountStore>>,
    services: Vec<Arc<dyn Service>>,
    ready_checks: Vec<(String, ReadyCheck)>,
    components: Vec<Component>,
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ServerBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ServerBuilder {
    /// The settings.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Where to listen, whatever the settings say.
    pub fn address(mut self, address: SocketAddr) -> Self {
        self.config.address = address;
        self
    }

    /// The name of the program, shown as the pages' title.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// The client: `name` is the stem of its script, WASM and style, `assets` its embedded files. Without any, they are
    /// read from the folder of [`Self::site`] at each request.
    pub fn client(mut self, name: impl Into<String>, assets: &'static [Asset]) -> Self {
        self.client = Some(name.into());
        self.assets = assets;
        self
    }

    /// The folder of the client's files while developing; by default `COATI_SITE`, else `target/site`.
    pub fn site(mut self, folder: impl Into<PathBuf>) -> Self {
        self.site = Some(folder.into());
        self
    }

    /// A certificate of our own and its key, both files in PEM: see [`Config::tls`].
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.config.tls = Some(Tls {
            certificate: certificate.into(),
            key: key.into(),
        });
        self
    }

    /// The realm's name.
    pub fn realm(mut self, name: impl Into<String>) -> Self {
        self.realm.name = name.into();
        self
    }

    /// The realms, instead of what was said about the one before. The first is that of the services and components, and
    /// the one where a login by our pages counts; clients choose by HELLO.
    pub fn realms(mut self, realms: impl IntoIterator<Item = RealmSetup>) -> Self {
        let mut realms = realms.into_iter();
        if let Some(first) = realms.next() {
            *self.realm = first;
        }
        self.more_realms = realms.collect();
        self
    }

    /// Who may join the realm and how that is proven; by default everybody, as whom the transport says.
    pub fn authentication(mut self, authentication: Authentication) -> Self {
        self.realm.authentication = Some(authentication);
        self
    }

    /// The fingerprint of all contracts: clients that were built against others are told to reload.
    pub fn contracts(mut self, fingerprint: impl Into<String>) -> Self {
        self.contracts = Some(fingerprint.into());
        self
    }

    /// Who may do what in the realm; by default sessions are confined to their own base.
    pub fn authorizer(mut self, authorizer: Box<dyn Authorizer + Send>) -> Self {
        self.realm.authorizer = Some(authorizer);
        self
    }

    /// How much sessions of a role may ask for; by default as much as a browser needs.
    pub fn role_limits(mut self, role: impl Into<String>, limits: Limits) -> Self {
        self.realm.limits.insert(role.into(), limits);
        self
    }

    /// A role that may use the meta API: see all sessions, registrations and subscriptions, and end them.
    pub fn meta_role(mut self, role: impl Into<String>) -> Self {
        self.realm.meta_roles.insert(role.into());
        self
    }

    /// A role whose people are operators when they come with a token, as at the operator's prompt: they may use the meta
    /// API, look into nodes, and call, publish and subscribe everywhere, without a rate. Each request is logged under the
    /// target `audit`. Their pages have no such rights.
    pub fn operators(mut self, role: impl Into<String>) -> Self {
        self.realm.operators.insert(role.into());
        self
    }

    /// Accounts that log in. Without any, everybody may open a socket and is `anonymous`.
    pub fn accounts(mut self, accounts: Arc<dyn AccountStore>) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// One more service.
    pub fn service(mut self, service: Arc<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// One more question for `/readyz`.
    pub fn ready_check(mut self, name: impl Into<String>, check: ReadyCheck) -> Self {
        self.ready_checks.push((name.into(), check));
        self
    }

    /// One more component, which runs for as long as the server does.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// Keeps the last `events` of each topic that the name or pattern matches, for `wamp.subscription.get_events`. In
    /// memory, unless there is a store.
    pub fn history(mut self, policy: MatchPolicy, topic: Uri, events: usize) -> Self {
        let history = &mut self.realm.history;
        history.topics = std::mem::take(&mut history.topics).keep(policy, topic, events);
        self
    }

    /// How much history is kept in all.
    pub fn history_limits(mut self, limits: HistoryLimits) -> Self {
        self.realm.history.limits = limits;
        self
    }

    /// Where history survives the process.
    pub fn history_store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.realm.history.store = Some(store);
        self
    }

    /// As [`Self::history_store`], with a store in this database, `sqlite:<path>` or `postgres://…`. Needs the feature
    /// `data`.
    pub fn history_database(mut self, url: impl Into<String>) -> Self {
        self.realm.history.database = Some(url.into());
        self
    }

    /// Starts the server and returns as soon as it serves.
    ///
    /// # Errors
    /// Wrong settings, a taken address, a service that does not start.
    pub async fn start(mut self) -> Result<Running> {
        self.config.validate()?;
        self.components.iter().try_for_each(Component::validate)?;
        telemetry::metrics();
        let tls = self.config.tls.as_ref().map(ServerTls::open).transpose()?;
        let listener = listen(self.config.address).await?;
        let address = listener
            .local_addr()
            .map_err(|error| Error::new(ErrorKind::Io, "The socket has no address").because(error))?;
        let raw = self.bind_raw_sockets(tls.as_ref()).await?;
        let component_roles = self.realm.limits.keys().cloned().collect();
        let operators = self.realm.operators.clone();
        let realms = Box::pin(self.start_realms()).await?;
        let realm = realms.first().clone();
        let tree_threads = Arc::new(ThreadTreeHost::start(self.config.tree_threads)?);
        let trees: Arc<dyn TreeHost> = tree_threads.clone();
        let client = choose_client(self.client, self.assets, self.site);
        let sockets = Arc::new(Sockets::new(&self.config.connections));
        if let Some(changes) = self.accounts.as_ref().and_then(|store| store.changes()) {
            let sockets = Arc::downgrade(&sockets);
            changes.listen(move |name| {
                if let Some(sockets) = sockets.upgrade() {
                    sockets.close_user(name, CloseWhy::AccountChanged);
                }
            });
        }
        let authenticator = self
            .accounts
            .map(|store| Arc::new(Authenticator::new(store, self.config.logins)));
        let app: App = Arc::new(AppState {
            policy: HostPolicy::new(&self.config, address),
            cookie: SessionCookie::new(self.config.is_secure(), address.port()),
            client,
            title: self.title,
            realm: realm.clone(),
            realms,
            tasks: TaskTracker::new(),
            sockets,
            places: Arc::new(Semaphore::new(self.config.connections.total)),
            authenticator,
            component_roles,
            operators,
            ready_checks: self.ready_checks,
            serving: AtomicBool::new(false),
            started: Instant::now(),
            reload_port: http::reload_port(),
            config: self.config,
        });
        for service in &self.services {
            service.start(&realm, &trees)?;
        }
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let limits = app.config.connections;
        tasks.spawn(http::accept(
            listener,
            tls.clone(),
            http::routes(app.clone()),
            app.clone(),
            stop.clone(),
            tasks.clone(),
        ));
        let raw_addresses = raw.iter().filter_map(RawListener::address).collect();
        for listener in raw {
            tasks.spawn(listener.accept(app.clone(), stop.clone()));
        }
        app.serving.store(true, Ordering::Release);
        if let Some(tls) = &tls {
            tasks.spawn(tls.clone().reload_when_told(stop.clone()));
        }
        let secure = if tls.is_some() { "s" } else { "" };
        tracing::info!(url = %format_args!("http{secure}://{address}/"), realm = %realm.name(), "listening");
        tracing::info!(
            connections = limits.total,
            per_address = limits.per_address,
            requests_per_address = limits.requests_per_address,
            browser_message = limits.browser_message,
            component_message = limits.component_message,
            queue_bytes = limits.queue.bytes,
            queue_messages = limits.queue.frames,
            "limits in force"
        );
        let environment = BTreeMap::from([
            ("COATI_URL".to_owned(), format!("ws{secure}://{address}/ws")),
            ("COATI_REALM".to_owned(), realm.name().to_string()),
        ]);
        let components = Components::start(self.components, &environment);
        Ok(Running {
            address,
            components,
            raw_addresses,
            app,
            trees: tree_threads,
            stop,
            tls,
        })
    }

    async fn bind_raw_sockets(&self, tls: Option<&ServerTls>) -> Result<Vec<RawListener>> {
        let mut listeners = Vec::new();
        for settings in &self.config.raw_sockets {
            if let (RawAddress::Tcp(_) | RawAddress::Tls(_), true) = (&settings.address, self.accounts.is_some()) {
                return Err(Error::configuration(format!(
                    "{} in raw_sockets would let everybody who reaches it in without a login; use a Unix socket",
                    settings.address
                )));
            }
            listeners.push(RawListener::bind(settings, tls).await?);
            tracing::info!(address = %settings.address, role = settings.role, "takes RawSocket connections");
        }
        Ok(listeners)
    }

    async fn start_realms(&mut self) -> Result<Realms> {
        let main = std::mem::replace(&mut *self.realm, RealmSetup::new(""));
        let more = std::mem::take(&mut self.more_realms);
        let guard = Arc::new(Guard::default());
        let mut realms = Vec::new();
        for setup in std::iter::once(main).chain(more) {
            let name = setup.uri()?;
            // Our own clients belong to the first realm.
            let parts = setup.into_parts(self.contracts.take(), Arc::clone(&guard));
            let (config, equipment) = parts.await?;
            realms.push(RealmHandle::start_with(
                name,
                config,
                equipment,
                &self.config.connections,
            ));
        }
        Realms::new(realms)
    }

    /// Starts the server and runs it until SIGTERM or Ctrl-C.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn run(self) -> Result<()> {
        // Watched from the beginning: a signal during the start must end the program orderly too.
        let requested = tokio::spawn(shutdown::requested());
        let running = self.start().await?;
        requested
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "Watching for signals failed").because(error))??;
        running.stop().await;
        Ok(())
    }
}

/// A server that serves. Dropping it does not end it; [`Self::stop`] does.
#[derive(Debug)]
pub struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) raw_addresses: Vec<SocketAddr>,
    pub(crate) components: Components,
    pub(crate) app: App,
    pub(crate) trees: Arc<ThreadTreeHost>,
    pub(crate) stop: CancellationToken,
    tls: Option<ServerTls>,
}

impl Running {
    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The TCP addresses that take RawSocket connections, in the order of [`Config::raw_sockets`].
    #[must_use]
    pub fn raw_addresses(&self) -> &[SocketAddr] {
        &self.raw_addresses
    }

    /// The realm.
    #[must_use]
    pub fn realm(&self) -> &RealmHandle {
        &self.app.realm
    }

    /// Reads the files of the certificate again, as SIGHUP does; what was read before stays if they are not right.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] with a line that says what is wrong with which file.
    pub fn reload_certificate(&self) -> Result<()> {
        self.tls.as_ref().map_or(Ok(()), ServerTls::reload)
    }

    /// One of the realms.
    #[must_use]
    pub fn realm_named(&self, name: &str) -> Option<&RealmHandle> {
        self.app.realms.get(name)
    }

    /// Ends the server orderly, within [`Config::shutdown_within`].
    pub async fn stop(self) {
        shutdown::end(self).await;
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Error::new(
            ErrorKind::AddressTaken,
            format!("The address {address} is taken: stop the program that listens there, or choose another port"),
        ),
        _ => Error::new(ErrorKind::Io, format!("Cannot listen on {address}")).because(error),
    })
}

fn choose_client(name: Option<String>, assets: &'static [Asset], site: Option<PathBuf>) -> Client {
    let Some(name) = name else { return Client::None };
    if !assets.is_empty() {
        return Client::embedded(assets, &name);
    }
    let from_environment = || {
        ["COATI_SITE", "LEPTOS_SITE_ROOT"]
            .into_iter()
            .find_map(std::env::var_os)
            .map(PathBuf::from)
    };
    let folder = site
        .or_else(from_environment)
        .unwrap_or_else(|| PathBuf::from("target/site"));
    let client = Client::Folder { folder, name };
    if let Client::Folder { folder, .. } = &client
        && client.start().is_none()
    {
        tracing::warn!(folder = %folder.display(), "no client found: run `make run`, which builds it first");
    }
    client
}
