//! The browser's half of a session root: joins, comes back to the same root, and pairs views with controllers.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::{Rc, Weak},
};

use futures::{FutureExt, future::LocalBoxFuture};
use leptos::{
    prelude::{GetUntracked, Set, Update, WithUntracked, window},
    reactive::signal::ArcRwSignal,
};
use shared::{
    error::{Error, ErrorKind, Result},
    intent::Intent,
    node::{downcast, pairing::join_pair},
    path::Path,
    platform::PlatformRef,
    prelude::*,
    session_root::{ClientMember, PairingOffer, Resume, START_SESSION, ServerMember, SessionStarted, StartSession},
    wamp::{message::CallOptions, payload::Payload, peer::Peer, uri::Uri},
};
use web_sys::Storage;

use crate::{
    claim::claim,
    connection::{Ending, LinkUser},
    view::{View, Views},
};

/// Where the proof of the session root is kept: it lives and dies with the tab.
const STORED: &str = "coati.session";

/// A context that is open, as the tab bar shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenContext {
    /// Its name, the same on the server.
    pub name: String,
    /// Which view it has.
    pub view: String,
    /// What people read.
    pub title: String,
}

/// `@client`.
#[node(ClientMember)]
pub struct ClientMemberNode {
    registry: Views,
    views: RefCell<BTreeMap<String, Rc<dyn View>>>,
    contexts: ArcRwSignal<Vec<OpenContext>>,
    wanted: Wanted,
}

/// What the user wants open, in order.
type Wanted = Rc<RefCell<Vec<Want>>>;

/// A context that the user wants open.
#[derive(Clone)]
struct Want {
    name: String,
    intent: Intent,
    /// It was open once: when its controller stops it then, the user has to want it again.
    opened: bool,
}

impl ClientMemberNode {
    fn view(&self, name: &str) -> Option<Rc<dyn View>> {
        self.views.borrow().get(name).cloned()
    }

    /// The view of the offer: the one at hand, else a new one; bound below this node.
    async fn place(&self, offer: &PairingOffer) -> Result<Rc<dyn View>> {
        let view = match self.view(&offer.name) {
            Some(view) => view,
            None => {
                let unknown = || Error::new(ErrorKind::NotFound, format!("There is no view '{}'.", offer.view));
                self.registry.get(&offer.view).ok_or_else(unknown)?(offer)
            }
        };
        if view.node_core().phase() == Phase::Unbound {
            self.node_add_dyn(&offer.name, view.clone()).await?;
        }
        self.views.borrow_mut().insert(offer.name.clone(), view.clone());
        Ok(view)
    }

    /// Stops a context on both sides.
    async fn stop(&self, name: String) -> Result<()> {
        self.wanted.borrow_mut().retain(|want| want.name != name);
        // The server's half ends with the session at the latest.
        if let Ok(server) = self.remote::<dyn ServerMember>("@server") {
            let _ = server.close(name.clone()).await;
        }
        self.drop_view(name).await
    }
}

impl ClientMember for ClientMemberNode {
    async fn create_view(&self, offer: PairingOffer) -> Result<String> {
        let view = self.place(&offer).await?;
        let bound = || Error::new(ErrorKind::Canceled, "The view was closed while it was being opened.");
        let names = vec![
            ("controller".to_owned(), Path::new(&offer.controller)?),
            ("view".to_owned(), view.node_path().ok_or_else(bound)?),
        ];
        let (member, name) = (view.node_parent(), offer.name.clone());
        let member = member.as_ref().map(Rc::downgrade);
        let path = join_pair(&(view.clone() as Rc<dyn Node>), names, move || {
            let member = member.as_ref().and_then(Weak::upgrade).and_then(downcast::<Self>);
            let name = name.clone();
            async move {
                match member {
                    Some(member) => member.stop(name).await,
                    None => Ok(()),
                }
            }
            .boxed_local()
        })?;
        self.contexts.update(|all| {
            let open = OpenContext {
                name: offer.name.clone(),
                view: offer.view.clone(),
                title: offer.title.clone(),
            };
            match all.iter_mut().find(|known| known.name == offer.name) {
                Some(known) => *known = open,
                None => all.push(open),
            }
        });
        view.on_paired();
        Ok(path.to_string())
    }

    async fn drop_view(&self, name: String) -> Result<()> {
        self.wanted
            .borrow_mut()
            .retain(|want| want.name != name || !want.opened);
        let view = self.views.borrow_mut().remove(&name);
        self.contexts.update(|all| all.retain(|known| known.name != name));
        match view {
            Some(view) => view.node_unbind().await,
            None => Ok(()),
        }
    }
}

/// A user's session in this tab.
pub struct Session {
    this: Weak<Self>,
    platform: PlatformRef,
    context: NodeContext,
    member: Rc<ClientMemberNode>,
    /// The contexts that the user wants open.
    wanted: Wanted,
    /// Counts the sessions joined, so that work for an older one stops.
    joins: Cell<u64>,
    /// Contexts that are open.
    pub contexts: ArcRwSignal<Vec<OpenContext>>,
    /// Who is logged in, and the base; none before the first join.
    pub started: ArcRwSignal<Option<SessionStarted>>,
    /// Why the session is over for good.
    pub ending: ArcRwSignal<Option<Ending>>,
    /// What kept a context from being opened.
    pub trouble: ArcRwSignal<Option<Error>>,
}

impl Session {
    /// A session that has not joined yet; `home` are the contexts to open first.
    #[must_use]
    pub fn new(platform: PlatformRef, views: Views, home: Vec<Intent>) -> Rc<Self> {
        let contexts = ArcRwSignal::new(Vec::new());
        // The names are fixed, so that a page that is loaded again finds what it had open.
        let name = |(number, intent): (usize, &Intent)| format!("{}_{}", intent.content.source, number + 1);
        let want = |(number, intent): (usize, &Intent)| Want {
            name: name((number, intent)),
            intent: intent.clone(),
            opened: false,
        };
        let wanted: Wanted = Rc::new(RefCell::new(home.iter().enumerate().map(want).collect()));
        let member = ClientMemberNode::new(views, RefCell::default(), contexts.clone(), wanted.clone());
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            context: NodeContext::root(platform.clone(), None),
            platform,
            member,
            wanted,
            joins: Cell::new(0),
            contexts,
            started: ArcRwSignal::new(None),
            ending: ArcRwSignal::new(None),
            trouble: ArcRwSignal::new(None),
        })
    }

    /// The view of an open context.
    #[must_use]
    pub fn view(&self, name: &str) -> Option<Rc<dyn View>> {
        self.member.view(name)
    }

    /// Where a context stands among those that the user wants, whichever of them opened first.
    #[must_use]
    pub fn place(&self, name: &str) -> usize {
        let wanted = self.wanted.borrow();
        wanted.iter().position(|want| want.name == name).unwrap_or(wanted.len())
    }

    /// Opens one more context.
    pub fn open(&self, intent: Intent) {
        let source = intent.content.source.clone();
        let free = |name: &String| !self.wanted.borrow().iter().any(|want| want.name == *name);
        let name = (1_u64..)
            .map(|number| format!("{source}_{number}"))
            .find(free)
            .unwrap_or(source);
        self.wanted.borrow_mut().push(Want {
            name,
            intent,
            opened: false,
        });
        self.reopen();
    }

    /// Closes a context, on both sides.
    pub fn close(&self, name: &str) {
        let (member, name) = (self.member.clone(), name.to_owned());
        self.platform
            .spawn_local(Box::pin(async move { drop(member.stop(name).await) }));
    }

    /// Pairs every wanted context that is not open, or all of them after a reconnect.
    fn reopen(&self) {
        let Some(this) = self.this.upgrade() else { return };
        let joins = self.joins.get();
        self.platform.spawn_local(Box::pin(async move {
            let wanted = this.wanted.borrow().clone();
            let opening = wanted.into_iter().map(|want| this.open_one(want.name, want.intent));
            let outcomes = futures::future::join_all(opening).await;
            let failed = outcomes.into_iter().find_map(Result::err);
            if this.joins.get() == joins
                && failed
                    .as_ref()
                    .is_none_or(|error| error.kind != ErrorKind::Disconnected)
            {
                this.trouble.set(failed);
            }
        }));
    }

    async fn open_one(&self, name: String, intent: Intent) -> Result<()> {
        let server = self.member.remote::<dyn ServerMember>("@server")?;
        let name = server.open(intent, Some(name)).await?;
        let mut wanted = self.wanted.borrow_mut();
        let opened = wanted.iter_mut().filter(|want| want.name == name);
        opened.for_each(|want| want.opened = true);
        Ok(())
    }

    /// Tries again to open what could not be opened.
    pub fn retry(&self) {
        self.trouble.set(None);
        self.reopen();
    }

    async fn join(self: Rc<Self>, peer: Peer) -> Result<()> {
        let first = self.joins.get() == 0;
        let resume = match stored() {
            // A page that has just loaded may be the copy of one that lives.
            Some(resume) if first && !claim(&resume.base).await => None,
            resume => resume,
        };
        let request = StartSession { resume };
        let payload = Payload::encode(peer.codec(), &(request,))?;
        let answer = peer
            .call(&Uri::unchecked(START_SESSION), payload, CallOptions::default())
            .await?;
        let (started,): (SessionStarted,) = answer.decode_args()?;
        if first && !started.resumed {
            claim(&started.base).await;
        }
        store(&Resume {
            base: started.base.clone(),
            secret: started.secret.clone(),
        });
        let path = Path::root(&started.base)?.join("client")?;
        if self
            .member
            .node_path()
            .is_some_and(|known| known.as_str() != path.as_str())
        {
            // Another root: the views move there with all that they show.
            self.member.node_unbind().await?;
        }
        // What is refused here is tried again with the next link; the session is usable without it.
        let refused = self.context.set_peer(Some(peer)).await;
        if self.member.node_core().phase() == Phase::Unbound {
            self.member.node_bind(path, &self.context).await?;
        } else {
            refused?;
        }
        self.joins.set(self.joins.get() + 1);
        self.context.insert(started.clone());
        self.started.set(Some(started));
        self.reopen();
        Ok(())
    }
}

impl LinkUser for Session {
    fn joined(&self, peer: Peer) -> LocalBoxFuture<'static, Result<()>> {
        match self.this.upgrade() {
            Some(this) => this.join(peer).boxed_local(),
            None => futures::future::ready(Ok(())).boxed_local(),
        }
    }

    fn lost(&self) {
        self.joins.set(self.joins.get() + 1);
        let views: Vec<_> = self.member.views.borrow().values().cloned().collect();
        views.iter().for_each(|view| view.on_lost());
        let context = self.context.clone();
        self.platform.spawn_local(Box::pin(async move {
            // Without a peer there is nothing to refuse.
            let _ = context.set_peer(None).await;
        }));
    }

    fn ping(&self) -> LocalBoxFuture<'static, Result<()>> {
        // Without the contract, so that it is one round trip and not two.
        match self.member.remote_dyn("@server") {
            Ok(server) => async move { server.call("ping", [(); 0]).await }.boxed_local(),
            Err(error) => futures::future::ready(Err(error)).boxed_local(),
        }
    }

    fn ended(&self, ending: Ending) {
        if self.ending.with_untracked(Option::is_none) {
            self.ending.set(Some(ending));
        }
    }
}

impl Session {
    /// The session's base, once there is one.
    #[must_use]
    pub fn base(&self) -> Option<String> {
        self.started.get_untracked().map(|started| started.base)
    }
}

fn storage() -> Option<Storage> {
    // A browser may forbid it; then a loaded page begins a new session.
    window().session_storage().ok().flatten()
}

fn stored() -> Option<Resume> {
    let text = storage()?.get_item(STORED).ok()??;
    serde_json::from_str(&text).ok()
}

fn store(resume: &Resume) {
    if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(resume)) {
        // Full or forbidden storage costs a new session at the next load.
        let _ = storage.set_item(STORED, &text);
    }
}
