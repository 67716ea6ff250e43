//! All session roots of this process: started, taken over, and ended when their browser stays away.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use shared::{
    error::{Error as NodeError, ErrorKind, Result as NodeResult},
    node::{NodeContext, NodeExt},
    path::Path,
    platform::{default_platform, random_hex},
    session_root::{SessionStarted, StartSession},
    wamp::{id::SessionId, uri::Uri},
};
use tokio::sync::oneshot;

use super::{Catalogue, ControllerScope, internal, join, member::ServerMemberNode};
use crate::{
    RealmHandle, TreeHost,
    auth::{Root, RootStore, TokenHash},
};

/// First part of every base.
const PREFIX: &str = "session";

/// The roots of one process.
pub(super) struct Roots {
    realm: RealmHandle,
    trees: Arc<dyn TreeHost>,
    store: Arc<dyn RootStore>,
    catalogue: Arc<Catalogue>,
    keep_for: Duration,
    live: Mutex<BTreeMap<String, Live>>,
}

/// A root whose tree runs here.
struct Live {
    /// Which browser holds it now; a watcher of an older one does nothing.
    holder: SessionId,
    /// Ends the tree. Its task holds the other end.
    end: oneshot::Sender<()>,
}

impl Roots {
    pub(super) fn new(
        realm: RealmHandle,
        trees: Arc<dyn TreeHost>,
        store: Arc<dyn RootStore>,
        catalogue: Arc<Catalogue>,
        keep_for: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            realm,
            trees,
            store,
            catalogue,
            keep_for,
            live: Mutex::default(),
        })
    }

    /// Gives a browser session its root: the one it proves to own, else a new one.
    pub(super) async fn start(
        self: Arc<Self>,
        session: SessionId,
        login: String,
        role: String,
        request: StartSession,
    ) -> NodeResult<SessionStarted> {
        let (base, secret, resumed) = match self.proven(&request, &login).await? {
            Some((base, secret)) => (base, secret, true),
            None => self.new_root(&login).await?,
        };
        // Closes the older generation first, so that none of its late frames reaches the root.
        self.realm
            .bind_base(session, Uri::strict(&base)?)
            .await
            .map_err(|error| internal(&error))?;
        let scope = ControllerScope {
            realm: self.realm.clone(),
            login: login.clone(),
            role: role.clone(),
        };
        self.ensure_tree(&base, session, scope).await?;
        tokio::spawn(self.clone().end_when_abandoned(base.clone(), session));
        Ok(SessionStarted {
            base,
            secret,
            resumed,
            login,
            role,
        })
    }

    /// Base and secret of the root that the request proves to own.
    async fn proven(&self, request: &StartSession, login: &str) -> NodeResult<Option<(String, String)>> {
        let Some(resume) = &request.resume else { return Ok(None) };
        let known = self
            .store
            .find_root(&resume.base)
            .await
            .map_err(|error| internal(&error))?;
        let owned = known.is_some_and(|root| root.name == login && root.secret.matches(&resume.secret));
        Ok(owned.then(|| (resume.base.clone(), resume.secret.clone())))
    }

    async fn new_root(&self, login: &str) -> NodeResult<(String, String, bool)> {
        // 128 bits are enough for an address; it is public and proves nothing.
        let base = format!("{PREFIX}.{}", random_hex(&*default_platform(), 16));
        let secret = random_hex(&*default_platform(), 32);
        let root = Root {
            base: base.clone(),
            name: login.to_owned(),
            secret: TokenHash::of(&secret),
        };
        self.store.save_root(root).await.map_err(|error| internal(&error))?;
        Ok((base, secret, false))
    }

    /// Makes sure that the root's tree runs and is registered, and that `holder` is the browser it waits for.
    async fn ensure_tree(self: &Arc<Self>, base: &str, holder: SessionId, scope: ControllerScope) -> NodeResult<()> {
        if let Some(live) = self.live().get_mut(base) {
            live.holder = holder;
            return Ok(());
        }
        let (end, ended) = oneshot::channel();
        let (ready, bound) = oneshot::channel();
        self.live().insert(base.to_owned(), Live { holder, end });
        let (roots, base) = (self.clone(), base.to_owned());
        self.trees.spawn_tree(Box::new(move || {
            async move {
                if let Err(error) = run_tree(&roots, &base, scope, ready, ended).await {
                    tracing::warn!(%error, base, "a session tree ended with an error");
                }
                roots.live().remove(&base);
            }
            .boxed_local()
        }));
        bound
            .await
            .unwrap_or_else(|_| Err(NodeError::new(ErrorKind::Internal, "The session's tree did not start.")))
    }

    /// Waits until the browser left and stayed away.
    async fn end_when_abandoned(self: Arc<Self>, base: String, session: SessionId) {
        self.realm.left(session).await;
        tokio::time::sleep(self.keep_for).await;
        let mut live = self.live();
        if live.get(&base).is_some_and(|root| root.holder == session)
            && let Some(root) = live.remove(&base)
        {
            let _ = root.end.send(());
        }
    }

    fn live(&self) -> MutexGuard<'_, BTreeMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds the server's member, tells `ready`, and unbinds all when `ended`.
async fn run_tree(
    roots: &Roots,
    base: &str,
    scope: ControllerScope,
    ready: oneshot::Sender<NodeResult<()>>,
    ended: oneshot::Receiver<()>,
) -> NodeResult<()> {
    let bound = async || -> NodeResult<_> {
        let peer = join(&roots.realm, base).await?;
        let context = NodeContext::root(default_platform(), Some(peer.clone()));
        let member = ServerMemberNode::make(roots.catalogue.clone(), scope);
        member.node_bind(Path::root(base)?.join("server")?, &context).await?;
        Ok((peer, context))
    };
    match bound().await {
        Ok((peer, context)) => {
            let _ = ready.send(Ok(()));
            futures::future::select(ended, peer.closed().boxed_local()).await;
            let unbound = context.shutdown().await;
            peer.leave("wamp.close.normal").await;
            unbound
        }
        Err(error) => {
            let _ = ready.send(Err(error.clone()));
            Err(error)
        }
    }
}
