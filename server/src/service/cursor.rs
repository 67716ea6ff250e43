//! The server's cursor node: lets one session open, move and edit live windows over one data source.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

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

use tokio::sync::Notify;

use super::{ControllerScope, join};
use crate::{
    RealmHandle, Service, TreeHost,
    data::{DataHub, FramePublisher, Origin, Viewer},
};

/// Windows that one cursor may hold at once; a grid needs two while it scrolls.
const WINDOW_LIMIT: usize = 16;

/// Frames on their way from the feed to the realm.
const FRAME_QUEUE: usize = 1_024;

/// A cursor over one source, for one user.
#[node(Cursor)]
pub struct CursorNode {
    hub: DataHub,
    source: &'static str,
    scope: ControllerScope,
    windows: RefCell<BTreeMap<WindowId, Held>>,
    /// What the windows show, for operators.
    shown: Value<Vec<(Query, Range)>>,
}

/// What a session has of a window; dropping it takes both back.
struct Held {
    realm: RealmHandle,
    session: SessionId,
    topic: Uri,
    shows: (Query, Range),
    _hold: Hold,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.realm.revoke(self.session, self.topic.clone());
    }
}

/// One hold on a window, from the moment that the hub counts it.
struct Hold {
    hub: DataHub,
    window: WindowId,
    viewer: Viewer,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.hub.close(&self.window, &self.viewer);
    }
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

    /// Brings what operators see up to date.
    fn tell(&self) {
        let shown = self.windows.borrow().values().map(|held| held.shows.clone()).collect();
        self.shown.set_if_new(shown);
    }

    fn held(&self, window: &WindowId) -> Result<()> {
        let known = self.windows.borrow().contains_key(window);
        known
            .then_some(())
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "The window is not open."))
    }
}

impl Cursor for CursorNode {
    async fn prepare(&self, query: Query, range: Range) -> Result<WindowTicket> {
        let caller = Caller::current().and_then(|caller| caller.session);
        let session =
            caller.ok_or_else(|| Error::new(ErrorKind::NotAuthorized, "Only a session can hold a window."))?;
        let viewer = self.viewer();
        let shows = (query.clone(), range);
        let ticket = self.hub.prepare(self.source, query, range, &viewer)?;
        let hold = Hold {
            hub: self.hub.clone(),
            window: ticket.window.clone(),
            viewer,
        };
        let topic = Uri::strict(&ticket.topic)?;
        // What an older link of the same browser held goes only now: the window that is asked for again stays alive.
        self.windows.borrow_mut().retain(|_, held| held.session == session);
        if !self.windows.borrow().contains_key(&ticket.window) {
            let mut windows = self.windows.borrow_mut();
            if windows.len() >= WINDOW_LIMIT {
                let message = format!("{WINDOW_LIMIT} windows are open; close one first.");
                return Err(Error::new(ErrorKind::Busy, message));
            }
            let realm = self.scope.realm.clone();
            windows.insert(
                ticket.window.clone(),
                Held {
                    realm,
                    session,
                    topic: topic.clone(),
                    shows,
                    _hold: hold,
                },
            );
        }
        self.tell();
        self.scope.realm.grant(session, topic);
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
        self.windows.borrow_mut().remove(&window);
        self.tell();
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
        self.windows.borrow_mut().clear();
    }
}

/// Carries frames from the feed, which runs anywhere, to the realm, where a peer of this service publishes them.
///
/// The feed never waits. When the realm lags by `FRAME_QUEUE` frames, a window's later frames replace each other: its
/// clients then see a gap in the versions and resume, so what is shown is late but never wrong.
#[derive(Clone, Debug, Default)]
pub struct FrameChannel {
    waiting: Arc<Mutex<Waiting>>,
    /// Rung for each frame; the publishing task waits for it.
    bell: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<(String, Frame)>,
    /// The newest frame of each window that did not fit into the queue any more. At most one for each open window.
    late: BTreeMap<String, Frame>,
}

impl FrameChannel {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn next(&self) -> (String, Frame) {
        loop {
            let next = {
                let mut waiting = self.waiting();
                waiting.queue.pop_front().or_else(|| waiting.late.pop_first())
            };
            match next {
                Some(next) => return next,
                None => self.bell.notified().await,
            }
        }
    }

    /// Publishes until the realm is gone.
    async fn publish_all(&self, realm: &RealmHandle) -> Result<()> {
        let peer = join(realm, "frames").await?;
        let closed = peer.closed().fuse();
        let mut closed = std::pin::pin!(closed);
        loop {
            let (topic, frame) = futures::select_biased! {
                _ = closed => return Ok(()),
                next = self.next().fuse() => next,
            };
            let payload = Payload::encode(peer.codec(), &(frame,))?;
            // Acknowledged, so that this task goes no faster than the realm.
            let published = peer
                .publish_acknowledged(&Uri::strict(&topic)?, payload, PublishOptions::default())
                .await;
            if let Err(error) = published {
                tracing::warn!(%error, topic, "a frame was not published");
            }
        }
    }
}

impl FramePublisher for FrameChannel {
    fn publish(&self, topic: &str, frame: &Frame) {
        let mut waiting = self.waiting();
        if waiting.queue.len() < FRAME_QUEUE && !waiting.late.contains_key(topic) {
            waiting.queue.push_back((topic.to_owned(), frame.clone()));
        } else if waiting.late.insert(topic.to_owned(), frame.clone()).is_some() {
            metrics::counter!("coati_frames_merged_total").increment(1);
        }
        drop(waiting);
        self.bell.notify_one();
    }
}

impl Service for FrameChannel {
    fn start(&self, realm: &RealmHandle, trees: &Arc<dyn TreeHost>) -> crate::Result<()> {
        let (realm, channel) = (realm.clone(), self.clone());
        trees.spawn_tree(Box::new(move || {
            async move {
                if let Err(error) = channel.publish_all(&realm).await {
                    tracing::error!(%error, "frames are not published any more");
                }
            }
            .boxed_local()
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: u64) -> Frame {
        Frame {
            version,
            position: version,
            total: 0,
            order: None,
            rows: Vec::new(),
        }
    }

    #[tokio::test]
    async fn when_the_realm_lags_the_newest_frame_of_a_window_still_arrives() {
        let channel = FrameChannel::default();
        let total = FRAME_QUEUE as u64 + 10;
        for version in 1..=total {
            channel.publish("busy", &frame(version));
        }
        channel.publish("quiet", &frame(1));
        let mut seen = Vec::new();
        for _ in 0..FRAME_QUEUE + 2 {
            seen.push(channel.next().await);
        }
        assert_eq!(seen[0], ("busy".to_owned(), frame(1)));
        assert_eq!(
            seen[FRAME_QUEUE],
            ("busy".to_owned(), frame(total)),
            "the gap before it makes clients resume"
        );
        assert_eq!(seen[FRAME_QUEUE + 1], ("quiet".to_owned(), frame(1)));
        assert!(channel.next().now_or_never().is_none());
    }
}
