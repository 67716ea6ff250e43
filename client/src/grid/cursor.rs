//! A row source over the `Cursor` contract of a node on the server.

use std::{cell::RefCell, rc::Rc, time::Duration};

use shared::{
    data::{
        ChangeSet, EditOutcome, Frame, LookupItem, Query, Range, Resume, RowKey, Snapshot, WindowId, WindowTicket,
        cursor::{Cursor, Mutation},
    },
    error::{ErrorKind, Result},
    node::{Node, NodeExt},
    platform::{PlatformRef, random_hex},
    signal::Connection,
};

use super::source::{Hold, Later, RowSource};

/// Time between two tries to learn what became of an edit.
const AGAIN: Duration = Duration::from_millis(400);
/// How many tries in a row may find no cursor before the context counts as closed.
const TRIES: u32 = 75;

/// Something that can reach the cursor: subscribes for, and calls as, a node of this tree.
pub trait CursorUser: 'static {
    /// The remote, as long as the node is bound.
    ///
    /// # Errors
    /// If the node is not bound, or not paired.
    fn cursor(&self) -> Result<<dyn Cursor as shared::contract::Contract>::Remote>;
    /// Hears a topic as the node; `None` stands for frames that were left out.
    ///
    /// # Errors
    /// If the node is not bound.
    fn hear(&self, topic: &str, on_frame: Rc<dyn Fn(Option<Frame>)>) -> Result<Connection>;
}

/// A cursor at a query such as `#controller.rows`, seen from a node.
pub struct CursorAt<N> {
    node: std::rc::Weak<N>,
    query: &'static str,
}

impl<N: Node> CursorAt<N> {
    /// The cursor that `query` leads to from `node`.
    #[must_use]
    pub fn new(node: &Rc<N>, query: &'static str) -> Self {
        Self {
            node: Rc::downgrade(node),
            query,
        }
    }

    fn node(&self) -> Result<Rc<N>> {
        let gone = || shared::error::Error::new(ErrorKind::Disconnected, "The view is closed.");
        self.node.upgrade().ok_or_else(gone)
    }
}

impl<N: Node + NodeExt> CursorUser for CursorAt<N> {
    fn cursor(&self) -> Result<<dyn Cursor as shared::contract::Contract>::Remote> {
        self.node()?.remote::<dyn Cursor>(self.query)
    }

    fn hear(&self, topic: &str, on_frame: Rc<dyn Fn(Option<Frame>)>) -> Result<Connection> {
        self.node()?
            .connect_topic_resumable(topic, move |frame: Option<Frame>| on_frame(frame))
    }
}

/// The edits of one page at one cursor: numbered without gaps, one at a time.
struct Edits {
    client: String,
    last: u64,
    /// An edit of which nobody knows yet whether it happened.
    pending: Option<(ChangeSet, u64)>,
}

/// A [`RowSource`] over the `Cursor` contract.
pub struct CursorSource {
    user: Rc<dyn CursorUser>,
    platform: PlatformRef,
    edits: Rc<RefCell<Edits>>,
    turn: Rc<futures::lock::Mutex<()>>,
}

impl CursorSource {
    /// A source that calls as `user` does.
    #[must_use]
    pub fn new(user: impl CursorUser, platform: PlatformRef) -> Rc<Self> {
        let edits = Edits {
            client: random_hex(&*platform, 16),
            last: 0,
            pending: None,
        };
        Rc::new(Self {
            user: Rc::new(user),
            platform,
            edits: Rc::new(RefCell::new(edits)),
            turn: Rc::default(),
        })
    }
}

impl RowSource for CursorSource {
    fn prepare(&self, query: Query, range: Range) -> Later<WindowTicket> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.prepare(query, range).await })
    }

    fn subscribe(&self, topic: String, on_frame: Rc<dyn Fn(Option<Frame>)>) -> Later<Hold> {
        let connection = self.user.hear(&topic, on_frame);
        Box::pin(async move {
            let mut connection = connection?;
            connection.ready().await?;
            Ok(Box::new(connection) as Hold)
        })
    }

    fn open(&self, window: WindowId) -> Later<Snapshot> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.open(window).await })
    }

    fn resume(&self, window: WindowId, version: u64) -> Later<Resume> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.resume(window, version).await })
    }

    fn close(&self, window: WindowId) -> Later<()> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.close(window).await })
    }

    fn position(&self, query: Query, key: RowKey) -> Later<Option<u64>> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.position(query, key).await })
    }

    fn save(&self, changes: ChangeSet) -> Later<EditOutcome> {
        let (user, platform) = (self.user.clone(), self.platform.clone());
        let (edits, turn) = (self.edits.clone(), self.turn.clone());
        Box::pin(async move {
            let _turn = turn.lock().await;
            // An edit that nobody knows the fate of goes first: a number must not be used for two. If it fails again, it
            // was not done, and its number is free.
            let pending = edits.borrow().pending.clone();
            if let Some((earlier, number)) = pending {
                let _ = send(&*user, &platform, &edits, earlier, number).await;
                edits.borrow_mut().pending = None;
            }
            let number = edits.borrow().last + 1;
            edits.borrow_mut().pending = Some((changes.clone(), number));
            send(&*user, &platform, &edits, changes, number).await
        })
    }

    fn lookup(&self, field: String, search: String) -> Later<Vec<LookupItem>> {
        let cursor = self.user.cursor();
        Box::pin(async move { cursor?.lookup(field, search).await })
    }
}

/// Sends one edit until its answer is known, over as many links as it takes.
async fn send(
    user: &dyn CursorUser,
    platform: &PlatformRef,
    edits: &RefCell<Edits>,
    changes: ChangeSet,
    mut number: u64,
) -> Result<EditOutcome> {
    let client = edits.borrow().client.clone();
    let mut tries = 0;
    let mut was_corrected = false;
    loop {
        let mutation = Mutation {
            client: client.clone(),
            number,
        };
        let outcome = match user.cursor() {
            Ok(cursor) => cursor.save(changes.clone(), mutation).await,
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(outcome) => {
                let mut edits = edits.borrow_mut();
                edits.last = number;
                edits.pending = None;
                return Ok(outcome);
            }
            Err(error) => error,
        };
        match error.kind {
            ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::Busy => {}
            // After a restart of the server the cursor is there a moment later.
            ErrorKind::NoSuchProcedure if tries < TRIES => tries += 1,
            // What happened is not known: the next edit finds out first.
            ErrorKind::NoSuchProcedure | ErrorKind::Internal => return Err(error),
            ErrorKind::NotAuthorized
            | ErrorKind::InvalidArgument
            | ErrorKind::WrongContract
            | ErrorKind::Conflict
            | ErrorKind::NotFound
            | ErrorKind::Refused
            | ErrorKind::ClientOutdated
            | ErrorKind::Protocol
            | ErrorKind::Application => {
                // An edit that was refused with an error was not counted: its number is free.
                let mut edits = edits.borrow_mut();
                // A server that counts otherwise says which number it waits for, and has done nothing under this one.
                let expected = error
                    .details
                    .get("expected")
                    .and_then(|number| number.parse::<u64>().ok());
                edits.last = expected.map_or(edits.last, |number| number.saturating_sub(1));
                match expected {
                    Some(expected) if !was_corrected => {
                        was_corrected = true;
                        number = expected;
                        edits.pending = Some((changes.clone(), number));
                        continue;
                    }
                    Some(_) | None => {
                        edits.pending = None;
                        return Err(error);
                    }
                }
            }
        }
        platform.sleep(AGAIN).await;
    }
}
