//! The server's half of a session: opens, pairs and closes contexts.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use shared::{
    error::{Error, ErrorKind, Result},
    intent::Intent,
    path::Path,
    prelude::*,
    session_root::{CONTEXT_NAME_LIMIT, ClientMember, PAIRING_TIMEOUT, PairingOffer, ServerMember},
};

use super::{Catalogue, Controller, ControllerScope};

/// Most contexts open at once in one session.
const CONTEXT_LIMIT: usize = 32;

/// `@server`.
#[node(ServerMember)]
pub(super) struct ServerMemberNode {
    catalogue: Arc<Catalogue>,
    scope: ControllerScope,
    contexts: RefCell<BTreeMap<String, Open>>,
    /// Whose session it is, for operators.
    #[init(Value::new(scope.login.clone()))]
    user: Value<String>,
    #[init(Value::new(scope.role.clone()))]
    role: Value<String>,
    /// Titles of the open contexts by name, for operators.
    titles: Dictionary<String>,
}

/// A context that is open, or being opened.
#[derive(Clone)]
struct Open {
    view: &'static str,
    title: &'static str,
    controller: Rc<dyn Controller>,
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
        let candidate = self.catalogue.elect(intent, &self.scope.role)?;
        let controller = (candidate.build)(&self.scope, intent)?;
        let open = Open {
            view: candidate.view,
            title: candidate.title,
            controller,
        };
        self.node_add_dyn(name, open.controller.clone()).await?;
        self.contexts.borrow_mut().insert(name.to_owned(), open.clone());
        self.titles.set(name, open.title.to_owned());
        Ok(open)
    }

    /// Makes `#view` and `#controller` resolve on both sides.
    async fn pair(&self, name: &str, open: &Open) -> Result<()> {
        let bound = || Error::new(ErrorKind::Canceled, "The context was closed.");
        let offer = PairingOffer {
            name: name.to_owned(),
            view: open.view.to_owned(),
            controller: open.controller.node_path().ok_or_else(bound)?.to_string(),
            title: open.title.to_owned(),
        };
        let browser = self
            .remote::<dyn ClientMember>("@client")?
            .with_timeout(Some(PAIRING_TIMEOUT));
        let view = Path::new(&browser.create_view(offer).await?)?;
        // The browser's word: `#view` must not lead anywhere else than to the browser.
        let client = self.resolve("@client")?;
        if !view.is_within(&client) {
            return Err(Error::new(ErrorKind::InvalidArgument, "The view is not below @client."));
        }
        let context = open.controller.node_context().ok_or_else(bound)?;
        context.set_reference("view", view);
        open.controller.clone().paired().await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        match self.contexts.borrow_mut().remove(name) {
            Some(_) => {}
            None => return Ok(()),
        }
        self.titles.remove(name);
        self.node_remove(name).await
    }
}

impl ServerMember for ServerMemberNode {
    async fn open(&self, intent: Intent, name: Option<String>) -> Result<String> {
        let name = self.name_for(name, &intent.content.source)?;
        let known = self.contexts.borrow().get(&name).cloned();
        let (open, fresh) = match known {
            Some(open) => (open, false),
            None => (self.add_controller(&name, &intent).await?, true),
        };
        match self.pair(&name, &open).await {
            Ok(()) => Ok(name),
            Err(error) => {
                // A context without a view would stay for ever; one that had a view waits for it to come back.
                if fresh {
                    self.remove(&name).await?;
                }
                Err(error)
            }
        }
    }

    async fn close(&self, name: String) -> Result<()> {
        self.remove(&name).await
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }
}
