//! All session roots of this process: started, taken over, and ended when their browser stays away.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use shared::{
    error::{Error as NodeError, ErrorKind, Result as NodeResult},
    node::{NodeContext, NodeExt},
    path::Path,
    platform::{default_platform, random_hex},
    session_root::{SessionStarted, StartSession},
    wamp::{
        id::SessionId,
        uri::{Uri, close},
    },
};
use tokio::sync::oneshot;

use super::{Catalogue, ControllerScope, internal, join, member::ServerMemberNode};
use crate::{
    RealmHandle, TreeHost,
    auth::{Root, RootStore, TokenHash},
};

/// Most roots whose trees run for one user: as many as the user may have sockets, and those that wait for a browser.
const ROOTS_PER_USER: usize = 40;

/// First part of every base.
const PREFIX: &str = "session";

/// The roots of one process.
pub(super) struct Roots {
    realm: RealmHandle,
    trees: Arc<dyn TreeHost>,
    store: Arc<dyn RootStore>,
    catalogue: Arc<Catalogue>,
    keep_for: Duration,
    generations: AtomicU64,
    live: Mutex<BTreeMap<String, Live>>,
}

/// A root whose tree runs here, from before it is bound until it is unbound.
struct Live {
    /// Whose it is.
    login: String,
    /// The role that its controllers act with.
    role: String,
    /// Which browser holds it now; a watcher of an older one does nothing.
    holder: SessionId,
    /// Counts up with each browser that took a root; only a later one replaces the holder.
    generation: u64,
    /// Ends the tree, whose task holds the other end. Taken when it was told to end.
    end: Option<oneshot::Sender<()>>,
    /// Completes when the tree is bound, or could not be.
    bound: Shared<BoxFuture<'static, NodeResult<()>>>,
    /// Completes when nothing of the tree is left.
    gone: Shared<BoxFuture<'static, ()>>,
}

/// What a starting browser has to wait for.
enum Found {
    /// A tree that serves it.
    Bound(Shared<BoxFuture<'static, NodeResult<()>>>),
    /// A tree that is ending; a new one can start afterwards.
    Ending(Shared<BoxFuture<'static, ()>>),
}

/// Takes a root off the list when its task ends, however it ends, and then tells who waits for that.
struct Leaving {
    roots: Arc<Roots>,
    base: String,
    _gone: oneshot::Sender<()>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(root) = self.roots.live().remove(&self.base) {
            // A browser that is still there would sit on a dead root: closed, it comes back and gets a new tree.
            let reason = Uri::unchecked(close::KILLED);
            self.roots
                .realm
                .kill(root.holder, reason, Some("The session's tree ended.".to_owned()));
        }
    }
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
            generations: AtomicU64::new(0),
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
        if self.live().values().any(|root| root.holder == session) {
            return Err(NodeError::new(ErrorKind::Refused, "This session has its root already."));
        }
        let (base, secret, resumed) = match self.proven(&request, &login).await? {
            Some((base, secret)) => (base, secret, true),
            None => Self::new_root(),
        };
        // Also for a known root, which is then kept for another while.
        let root = Root {
            base: base.clone(),
            name: login.clone(),
            secret: TokenHash::of(&secret),
        };
        self.store.save_root(root).await.map_err(|error| internal(&error))?;
        // Closes the older generation first, so that none of its late frames reaches the root.
        self.realm.bind_base(session, Uri::strict(&base)?);
        let scope = ControllerScope {
            realm: self.realm.clone(),
            login: login.clone(),
            role: role.clone(),
        };
        // Who bound the base later is the browser of today, whatever the order in which the two go on from here.
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        self.ensure_tree(&base, (session, generation), scope).await?;
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

    fn new_root() -> (String, String, bool) {
        // 128 bits are enough for an address; it is public and proves nothing.
        let base = format!("{PREFIX}.{}", random_hex(&*default_platform(), 16));
        (base, random_hex(&*default_platform(), 32), false)
    }

    /// Makes sure that the root's tree runs and is registered, and that `holder` is the browser it waits for.
    async fn ensure_tree(
        self: &Arc<Self>,
        base: &str,
        holder: (SessionId, u64),
        scope: ControllerScope,
    ) -> NodeResult<()> {
        loop {
            match self.find_or_spawn(base, holder, &scope)? {
                Found::Bound(bound) => return bound.await,
                Found::Ending(gone) => gone.await,
            }
        }
    }

    fn find_or_spawn(
        self: &Arc<Self>,
        base: &str,
        (holder, generation): (SessionId, u64),
        scope: &ControllerScope,
    ) -> NodeResult<Found> {
        let mut live = self.live();
        if let Some(root) = live.get_mut(base) {
            // A tree acts with the rights it was made with: another role needs another tree.
            if root.role != scope.role
                && let Some(end) = root.end.take()
            {
                let _ = end.send(());
            }
            if root.end.is_none() {
                return Ok(Found::Ending(root.gone.clone()));
            }
            if generation < root.generation {
                return Err(NodeError::new(
                    ErrorKind::Canceled,
                    "Another page has taken the session over.",
                ));
            }
            (root.holder, root.generation) = (holder, generation);
            return Ok(Found::Bound(root.bound.clone()));
        }
        if live.values().filter(|root| root.login == scope.login).count() >= ROOTS_PER_USER {
            let message = format!("{ROOTS_PER_USER} sessions are open for this user; close one first.");
            return Err(NodeError::new(ErrorKind::Busy, message));
        }
        let (end, ended) = oneshot::channel();
        let (tell_bound, bound) = oneshot::channel();
        let (tell_gone, gone) = oneshot::channel::<()>();
        let lost = || NodeError::new(ErrorKind::Internal, "The session's tree did not start.");
        let bound = bound
            .map(move |told| told.unwrap_or_else(|_| Err(lost())))
            .boxed()
            .shared();
        let root = Live {
            login: scope.login.clone(),
            role: scope.role.clone(),
            holder,
            generation,
            end: Some(end),
            bound: bound.clone(),
            gone: gone.map(drop).boxed().shared(),
        };
        live.insert(base.to_owned(), root);
        drop(live);
        let leaving = Leaving {
            roots: self.clone(),
            base: base.to_owned(),
            _gone: tell_gone,
        };
        let scope = scope.clone();
        self.trees.spawn_tree(Box::new(move || {
            async move {
                let (roots, base) = (&leaving.roots, &leaving.base);
                if let Err(error) = run_tree(roots, base, scope, tell_bound, ended).await {
                    tracing::warn!(%error, base, "a session tree ended with an error");
                }
            }
            .boxed_local()
        }));
        Ok(Found::Bound(bound))
    }

    /// Waits until the browser left and stayed away.
    async fn end_when_abandoned(self: Arc<Self>, base: String, session: SessionId) {
        self.realm.left(session).await;
        tokio::time::sleep(self.keep_for).await;
        if let Some(root) = self.live().get_mut(&base)
            && root.holder == session
            && let Some(end) = root.end.take()
        {
            let _ = end.send(());
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
