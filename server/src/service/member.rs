//! The server's half of a session: opens, pairs and closes contexts.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use futures::{FutureExt, future::LocalBoxFuture};
use shared::{
    error::{Error, ErrorKind, Result},
    intent::Intent,
    node::pairing::{Pair, Pairing, Parties},
    path::Path,
    prelude::*,
    session_root::{CONTEXT_NAME_LIMIT, ClientMember, ClientMemberRemote, PairingOffer, ServerMember},
};

use super::{Catalogue, Controller, ControllerScope};

/// Most contexts open at once in one session.
const CONTEXT_LIMIT: usize = 32;

/// `@server`.
#[node(ServerMember)]
pub(super) struct ServerMemberNode {
    catalogue: Arc<Catalogue>,
    scope: ControllerScope,
    /// None: being opened.
    contexts: RefCell<BTreeMap<String, Option<Open>>>,
    /// Whose session it is, for operators.
    #[init(Value::new(scope.login.clone()))]
    user: Value<String>,
    #[init(Value::new(scope.role.clone()))]
    role: Value<String>,
    /// Titles of the open contexts by name, for operators.
    titles: Dictionary<String>,
}

/// A name that is taken until the context is open. Dropped before, it takes back what was begun.
struct Opening<'a> {
    member: &'a ServerMemberNode,
    name: &'a str,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let is_unfinished = matches!(self.member.contexts.borrow().get(self.name), Some(None));
        if is_unfinished {
            self.member.contexts.borrow_mut().remove(self.name);
            // Binding goes on when nobody waits for it any more.
            let begun = self.member.node_remove(self.name);
            self.member.spawn(async move {
                match begun.await {
                    Err(error) if error.kind != ErrorKind::NotFound => Err(error),
                    Ok(()) | Err(_) => Ok(()),
                }
            });
        }
    }
}

/// A context that is open.
#[derive(Clone)]
struct Open {
    controller: Rc<dyn Controller>,
    pair: Rc<Pair>,
}

/// The browser as the party that shows the view.
struct Browser {
    member: ClientMemberRemote,
    offer: PairingOffer,
}

impl Parties for Browser {
    fn invite(&self, _role: &str) -> LocalBoxFuture<'static, Result<Path>> {
        let (member, offer) = (self.member.clone(), self.offer.clone());
        async move { Ok(Path::new(&member.create_view(offer).await?)?) }.boxed_local()
    }

    fn dismiss(&self, _role: &str) -> LocalBoxFuture<'static, ()> {
        let (member, name) = (self.member.clone(), self.offer.name.clone());
        async move { drop(member.drop_view(name).await) }.boxed_local()
    }
}

impl ServerMemberNode {
    pub(super) fn make(catalogue: Arc<Catalogue>, scope: ControllerScope) -> Rc<Self> {
        Self::new(catalogue, scope, RefCell::default())
    }

    /// The name asked for if it is a good one, else the first free one of the source.
    fn name_for(&self, asked: Option<String>, source: &str) -> Result<String> {
        let contexts = self.contexts.borrow();
        match asked {
            Some(name) => {
                let sound = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
                if name.is_empty() || name.len() > CONTEXT_NAME_LIMIT || !name.bytes().all(sound) {
                    let message = "A context's name has 1 to 64 of the characters a-z, 0-9 and _.";
                    return Err(Error::new(ErrorKind::InvalidArgument, message));
                }
                Ok(name)
            }
            None => (1..)
                .map(|number| format!("{source}_{number}"))
                .find(|name| !contexts.contains_key(name))
                .ok_or_else(|| Error::new(ErrorKind::Busy, "No name is free.")),
        }
    }

    /// Elects, makes and binds a controller under `name`.
    async fn add_controller(&self, name: &str, intent: &Intent) -> Result<Open> {
        if self.contexts.borrow().len() >= CONTEXT_LIMIT {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{CONTEXT_LIMIT} pages are open; close one first."),
            ));
        }
        // From here on the name counts: many that open at once pass the limit one by one.
        self.contexts.borrow_mut().insert(name.to_owned(), None);
        let _opening = Opening { member: self, name };
        let candidate = self.catalogue.elect(intent, &self.scope.role)?;
        let controller = (candidate.build)(&self.scope, intent)?;
        self.node_add_dyn(name, controller.clone()).await?;
        let (server, client) = (self.resolve("@server")?, self.resolve("@client")?);
        let place = server.join(name)?;
        let browser = Browser {
            member: self.remote::<dyn ClientMember>("@client")?,
            offer: PairingOffer {
                name: name.to_owned(),
                view: candidate.view.to_owned(),
                controller: place.to_string(),
                title: candidate.title.to_owned(),
            },
        };
        let pairing = Pairing::new("controller", place, [("view".to_owned(), client)])?;
        let pair = Pair::new(controller.clone(), pairing, Rc::new(browser))?;
        let open = Open { controller, pair };
        self.contexts.borrow_mut().insert(name.to_owned(), Some(open.clone()));
        self.titles.set(name, candidate.title.to_owned());
        Ok(open)
    }

    /// Forgets the contexts that a controller of theirs has stopped, or that were never paired.
    fn prune(&self) {
        self.contexts.borrow_mut().retain(|name, open| {
            let stays = open.as_ref().is_none_or(|open| !open.pair.is_ended());
            if !stays {
                self.titles.remove(name);
            }
            stays
        });
    }
}

fn being_opened() -> Error {
    Error::new(ErrorKind::Busy, "This page is just being opened.")
}

impl ServerMember for ServerMemberNode {
    async fn open(&self, intent: Intent, name: Option<String>) -> Result<String> {
        self.prune();
        let name = self.name_for(name, &intent.content.source)?;
        let known = self.contexts.borrow().get(&name).cloned();
        let (open, is_fresh) = match known {
            Some(Some(open)) => (open, false),
            Some(None) => return Err(being_opened()),
            None => (self.add_controller(&name, &intent).await?, true),
        };
        let mut paired = open.pair.invite().await;
        if paired.is_ok() {
            paired = open.controller.paired().await;
            if paired.is_err() && is_fresh {
                // One that never worked would stay for ever; one that did waits for its view to come back.
                open.pair.stop(None).await?;
            }
        }
        self.prune();
        paired.map(|()| name)
    }

    async fn close(&self, name: String) -> Result<()> {
        if matches!(self.contexts.borrow().get(&name), Some(None)) {
            return Err(being_opened());
        }
        let open = self.contexts.borrow_mut().remove(&name).flatten();
        match open {
            Some(open) => {
                self.titles.remove(&name);
                open.pair.stop(Some("view")).await
            }
            None => Ok(()),
        }
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
