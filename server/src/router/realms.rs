//! The realms of a server, and how a socket gets into the one that its HELLO names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use shared::wamp::{CodecId, Message, Uri, router::Principal};

use super::{
    RealmHandle, SocketLimits,
    history::EventStore,
    queue::Outbound,
    realm::{Attached, Place},
};
use crate::{
    auth::Guard,
    error::{Error, Result},
};

/// What a realm has beside the pure router.
#[derive(Default)]
pub(crate) struct Equipment {
    /// Slows down guessing.
    pub(crate) guard: Arc<Guard>,
    /// What sockets may use, by role.
    pub(crate) sockets: BTreeMap<String, SocketLimits>,
    /// Roles of programs: the ones with limits of their own.
    pub(crate) components: BTreeSet<String>,
    /// Where history survives.
    pub(crate) store: Option<Arc<dyn EventStore>>,
}

/// The realms of a server; the first is that of everything that names none.
#[derive(Clone, Debug)]
pub(crate) struct Realms(Arc<[RealmHandle]>);

impl Realms {
    pub(crate) fn new(realms: Vec<RealmHandle>) -> Result<Self> {
        for (place, realm) in realms.iter().enumerate() {
            if realms[..place].iter().any(|other| other.name() == realm.name()) {
                return Err(Error::configuration(format!(
                    "There are two realms named {:?}",
                    realm.name().as_str()
                )));
            }
        }
        Ok(Self(realms.into()))
    }

    pub(crate) fn first(&self) -> &RealmHandle {
        &self.0[0]
    }

    pub(crate) fn are_many(&self) -> bool {
        self.0.len() > 1
    }

    pub(crate) fn get(&self, name: &str) -> Option<&RealmHandle> {
        self.0.iter().find(|realm| *realm.name() == *name)
    }

    pub(crate) async fn shutdown(&self) {
        futures::future::join_all(self.0.iter().map(RealmHandle::shutdown)).await;
    }
}

/// A socket that has yet to say which realm it wants, and what it brings there.
pub(crate) struct Newcomer {
    pub(crate) codec: CodecId,
    /// Who the transport says it is.
    pub(crate) principal: Box<Principal>,
    /// The realm where that counts.
    pub(crate) home: Uri,
    pub(crate) queue: Arc<Outbound>,
    pub(crate) from: Place,
}

impl Newcomer {
    pub(crate) fn enter(&self, realm: &RealmHandle) -> Attached {
        let principal = if self.home == *realm.name() {
            Principal::clone(&self.principal)
        } else {
            Principal::default()
        };
        realm.attach_socket(self.codec, principal, Arc::clone(&self.queue), self.from)
    }
}

/// Sees to it that each session of a socket is in the realm that it asks for.
pub(crate) struct Usher {
    pub(crate) realms: Realms,
    pub(crate) newcomer: Newcomer,
    /// HELLO came, and no GOODBYE since.
    inside: bool,
}

impl Usher {
    pub(crate) const fn new(realms: Realms, newcomer: Newcomer) -> Self {
        Self {
            realms,
            newcomer,
            inside: false,
        }
    }

    /// Looks at a message before the realm does. A realm that there is not is refused by the one where the socket is.
    pub(crate) fn sees(&mut self, message: &Message, attached: &Attached) {
        if let Message::Hello(hello) = message
            && !std::mem::replace(&mut self.inside, true)
            && let Some(realm) = self.realms.get(hello.realm.as_str())
            && !attached.is_in(realm)
        {
            attached.move_to(self.newcomer.enter(realm));
        } else if let Message::Goodbye(_) = message {
            self.inside = false;
        }
    }
}
