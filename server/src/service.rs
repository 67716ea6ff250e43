//! Session roots: the procedure that browsers start them with, and the trees they live in.
//!
//! A root is found by its base (public, in every URI) and taken over by its secret (256 bits, of which only the hash is
//! kept). A root outlives its browser's link by [`KEEP_FOR`]; its secret outlives the process, so that a browser finds
//! the same base after a restart.

mod catalogue;
#[cfg(feature = "data")]
mod cursor;
mod member;
mod roots;

use std::{rc::Rc, sync::Arc, time::Duration};

use futures::FutureExt;
use shared::{
    error::{Error as NodeError, ErrorKind},
    platform::{default_platform, random_hex},
    session_root::{START_SESSION, SessionStarted, StartSession},
    wamp::{
        message::RegisterOptions,
        payload::Payload,
        peer::{Invocation, Peer},
        uri::Uri,
    },
};
use tokio::runtime::Handle;

pub use self::catalogue::{Candidate, Catalogue, Controller, ControllerScope};
#[cfg(feature = "data")]
pub use self::cursor::{CursorNode, FrameChannel};
use self::roots::Roots;
use crate::{Error, RealmHandle, Result, Service, TreeHost, auth::RootStore, router::Principal};

/// How long a root waits for its browser to come back before it ends.
pub const KEEP_FOR: Duration = Duration::from_secs(120);

/// Starts a session root for each browser that asks.
pub struct Sessions {
    catalogue: Arc<Catalogue>,
    store: Arc<dyn RootStore>,
    keep_for: Duration,
}

impl Sessions {
    /// Roots whose controllers come from `catalogue` and whose secrets are kept in `store`.
    #[must_use]
    pub fn new(catalogue: Catalogue, store: Arc<dyn RootStore>) -> Self {
        Self {
            catalogue: Arc::new(catalogue),
            store,
            keep_for: KEEP_FOR,
        }
    }

    /// Keeps roots without a browser for another time than [`KEEP_FOR`].
    #[must_use]
    pub fn keep_for(mut self, keep_for: Duration) -> Self {
        self.keep_for = keep_for;
        self
    }
}

impl Service for Sessions {
    fn start(&self, realm: &RealmHandle, trees: &Arc<dyn TreeHost>) -> Result<()> {
        let roots = Roots::new(
            realm.clone(),
            trees.clone(),
            self.store.clone(),
            self.catalogue.clone(),
            self.keep_for,
        );
        let main = Handle::current();
        let realm = realm.clone();
        trees.spawn_tree(Box::new(move || {
            async move {
                if let Err(error) = answer(&realm, roots, main).await {
                    tracing::error!(%error, "the session service stopped");
                }
            }
            .boxed_local()
        }));
        Ok(())
    }
}

/// Registers [`START_SESSION`] and stays until the realm is gone.
async fn answer(realm: &RealmHandle, roots: Arc<Roots>, main: Handle) -> Result<(), NodeError> {
    let peer = join(realm, "sessions").await?;
    let codec = peer.codec();
    let handler = move |invocation: Invocation| {
        let (roots, main) = (roots.clone(), main.clone());
        async move {
            let started = main.spawn(start(roots, invocation)).await;
            let started =
                started.map_err(|_| NodeError::new(ErrorKind::Internal, "Starting the session failed."))??;
            Payload::encode(codec, &(started,))
        }
        .boxed_local()
    };
    let procedure = Uri::strict(START_SESSION)?;
    let _registration = peer
        .register(&procedure, RegisterOptions::default(), Rc::new(handler))
        .await?;
    peer.closed().await;
    Ok(())
}

async fn start(roots: Arc<Roots>, invocation: Invocation) -> Result<SessionStarted, NodeError> {
    let unknown = || NodeError::new(ErrorKind::NotAuthorized, "The router did not say who is calling.");
    let session = invocation.details.caller.session().ok_or_else(unknown)?;
    let login = invocation.details.caller.authid().ok_or_else(unknown)?;
    let role = invocation.details.caller.authrole().ok_or_else(unknown)?;
    let (request,): (StartSession,) = invocation.payload.decode_args()?;
    roots.start(session, login.to_owned(), role.to_owned(), request).await
}

/// Joins the realm as a trusted peer of the server's own.
async fn join(realm: &RealmHandle, name: &str) -> Result<Peer, NodeError> {
    let principal = Principal {
        authid: name.to_owned(),
        authrole: "node".to_owned(),
        authmethod: "internal".to_owned(),
        authprovider: "server".to_owned(),
        internal: true,
    };
    realm.internal_peer(default_platform(), principal).await
}

/// What a caller may know about a failure inside: that there was one, and where to look it up.
fn internal(error: &Error) -> NodeError {
    let incident = random_hex(&*default_platform(), 4);
    tracing::error!(%error, incident, "a session could not be served");
    NodeError::new(ErrorKind::Internal, "Something went wrong on the server.").with_incident(incident)
}
