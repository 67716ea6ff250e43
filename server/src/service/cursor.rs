//! The server's cursor node: lets one session open, move and edit live windows over one data source.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, sync::Arc};

use futures::FutureExt;
use shared::{
    data::{
        ChangeSet, EditOutcome, Frame, LookupItem, Query, Range, Resume, RowKey, Snapshot, WindowId, WindowTicket,
        cursor::{Cursor, Mutation},
    },
    error::{Error, ErrorKind, Result},
    prelude::*,
    wamp::{id::SessionId, message::PublishOptions, payload::Payload, uri::Uri},
};

use super::{ControllerScope, join};
use crate::{
    RealmHandle, Service, TreeHost,
    data::{DataHub, FramePublisher, Origin, Viewer},
};

/// Windows that one cursor may hold at once; a grid needs two while it scrolls.
const WINDOW_LIMIT: usize = 16;

/// Frames on their way from the feed to the realm. The feed never waits: beyond this a frame is dropped, its version is
/// missing, and the clients of that window resume.
const FRAME_QUEUE: usize = 1_024;

/// A cursor over one source, for one user.
#[node(Cursor)]
pub struct CursorNode {
    hub: DataHub,
    source: &'static str,
    scope: ControllerScope,
    windows: RefCell<BTreeMap<WindowId, Held>>,
}

struct Held {
    session: SessionId,
    topic: Uri,
}

impl CursorNode {
    /// A cursor over the source of that name.
    #[must_use]
    pub fn over(hub: DataHub, source: &'static str, scope: &ControllerScope) -> Rc<Self> {
        Self::new(hub, source, scope.clone(), RefCell::default())
    }

    fn viewer(&self) -> Viewer {
        Viewer::new(&self.scope.login, &self.scope.role)
    }

    fn held(&self, window: &WindowId) -> Result<()> {
        let known = self.windows.borrow().contains_key(window);
        known
            .then_some(())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "The window is not open."))
    }

    fn release(&self, window: &WindowId) {
        if let Some(held) = self.windows.borrow_mut().remove(window) {
            self.scope.realm.revoke(held.session, held.topic);
            self.hub.close(window);
        }
    }
}

impl Cursor for CursorNode {
    async fn prepare(&self, query: Query, range: Range) -> Result<WindowTicket> {
        let caller = Caller::current().and_then(|caller| caller.session);
        let session =
            caller.ok_or_else(|| Error::new(ErrorKind::NotAuthorized, "Only a session can hold a window."))?;
        // A generation of the browser that is gone holds nothing any more.
        let stale: Vec<_> = self
            .windows
            .borrow()
            .iter()
            .filter(|(_, held)| held.session != session)
            .map(|(id, _)| id.clone())
            .collect();
        stale.iter().for_each(|window| self.release(window));
        if self.windows.borrow().len() >= WINDOW_LIMIT {
            return Err(Error::new(
                ErrorKind::Busy,
                format!("{WINDOW_LIMIT} windows are open; close one first."),
            ));
        }
        let ticket = self.hub.prepare(self.source, query, range, &self.viewer())?;
        let topic = Uri::strict(&ticket.topic)?;
        self.scope
            .realm
            .grant(session, topic.clone())
            .await
            .map_err(|error| super::internal(&error))?;
        let before = self
            .windows
            .borrow_mut()
            .insert(ticket.window.clone(), Held { session, topic });
        if before.is_some() {
            // The same window twice is one hold.
            self.hub.close(&ticket.window);
        }
        Ok(ticket)
    }

    async fn open(&self, window: WindowId) -> Result<Snapshot> {
        self.held(&window)?;
        self.hub.open(window).await
    }

    async fn resume(&self, window: WindowId, version: u64) -> Result<Resume> {
        self.held(&window)?;
        self.hub.resume(window, version).await
    }

    async fn close(&self, window: WindowId) -> Result<()> {
        self.release(&window);
        Ok(())
    }

    async fn position(&self, query: Query, key: RowKey) -> Result<Option<u64>> {
        self.hub.position_of(self.source, query, key, self.viewer()).await
    }

    async fn save(&self, changes: ChangeSet, mutation: Mutation) -> Result<EditOutcome> {
        let origin = Origin {
            client: mutation.client,
            mutation: mutation.number,
        };
        self.hub.save(self.source, changes, Some(origin), self.viewer()).await
    }

    async fn lookup(&self, field: String, search: String) -> Result<Vec<LookupItem>> {
        self.hub.lookup(self.source, &field, search, self.viewer()).await
    }
}

#[handlers]
impl CursorNode {
    #[handler(on_node_unbind)]
    fn let_go(&self) {
        let held: Vec<_> = self.windows.borrow().keys().cloned().collect();
        held.iter().for_each(|window| self.release(window));
    }
}

/// Carries frames from the feed, which runs anywhere, to the realm, where a peer of this service publishes them.
#[derive(Clone, Debug)]
pub struct FrameChannel {
    /// Held by the feed. Capacity [`FRAME_QUEUE`].
    frames: async_channel::Sender<(String, Frame)>,
    /// Taken by the publishing task when the server starts.
    queue: async_channel::Receiver<(String, Frame)>,
}

impl Default for FrameChannel {
    fn default() -> Self {
        let (frames, queue) = async_channel::bounded(FRAME_QUEUE);
        Self { frames, queue }
    }
}

impl FramePublisher for FrameChannel {
    fn publish(&self, topic: &str, frame: &Frame) {
        if self.frames.try_send((topic.to_owned(), frame.clone())).is_err() {
            metrics::counter!("coati_frames_dropped_total").increment(1);
        }
    }
}

impl Service for FrameChannel {
    fn start(&self, realm: &RealmHandle, trees: &Arc<dyn TreeHost>) -> crate::Result<()> {
        let (realm, queue) = (realm.clone(), self.queue.clone());
        trees.spawn_tree(Box::new(move || {
            async move {
                if let Err(error) = publish_all(&realm, queue).await {
                    tracing::error!(%error, "frames are not published any more");
                }
            }
            .boxed_local()
        }));
        Ok(())
    }
}

/// Publishes until the realm is gone.
async fn publish_all(realm: &RealmHandle, queue: async_channel::Receiver<(String, Frame)>) -> Result<()> {
    let peer = join(realm, "frames").await?;
    let mut closed = std::pin::pin!(peer.closed().fuse());
    loop {
        let (topic, frame) = futures::select_biased! {
            _ = closed => return Ok(()),
            next = queue.recv().fuse() => match next {
                Ok(next) => next,
                Err(_) => return Ok(()),
            },
        };
        let payload = Payload::encode(peer.codec(), &(frame,))?;
        peer.publish(&Uri::strict(&topic)?, payload, PublishOptions::default())?;
    }
}
