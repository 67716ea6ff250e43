//! Keeps one window of a source live: asks for it, applies its frames, follows the scroll, and survives lost links.

use std::{
    cell::{Cell, RefCell},
    rc::{Rc, Weak},
    time::Duration,
};

use shared::{
    data::{Applied, Frame, Query, Range, Replica},
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
};

use super::source::{Hold, RowSource};

/// Time before a window is asked for again after a failure that may pass.
const RETRY: Duration = Duration::from_millis(700);
/// How many such failures in a row before the user is told.
const PATIENCE: u32 = 6;

/// What is to be shown.
#[derive(Clone, Debug, PartialEq)]
struct Wish {
    query: Query,
    range: Range,
}

struct Held {
    wish: Wish,
    replica: Replica,
    /// Tells frames of this window from frames of the one before and the one after.
    subscription: u64,
    /// Dropping it ends the subscription.
    hold: Option<Hold>,
}

#[derive(Default)]
struct State {
    wish: Option<Wish>,
    held: Option<Held>,
    /// Changed by whatever makes another round necessary.
    turn: u64,
    /// The link is another one than when `held` was opened.
    relinked: bool,
    /// A frame is missing.
    gap: bool,
    failures: u32,
    error: Option<Error>,
    /// Frames of the window that is being opened; `None` where some were left out.
    early: Vec<Option<Frame>>,
    subscriptions: u64,
}

enum Round {
    Nothing,
    CatchUp,
    Fresh { again: Option<Replica> },
}

/// One live window at a time; at most one request for a window is under way and the latest wish wins.
///
/// Invariant: what [`LiveWindow::with`] shows is a window as it was at one version, never a mixture of two.
pub struct LiveWindow {
    this: Weak<Self>,
    source: Rc<dyn RowSource>,
    platform: PlatformRef,
    changed: Box<dyn Fn()>,
    state: RefCell<State>,
    busy: Cell<bool>,
}

impl LiveWindow {
    /// A window that shows nothing yet; `changed` is called after each change of what it shows.
    #[must_use]
    pub fn new(source: Rc<dyn RowSource>, platform: PlatformRef, changed: impl Fn() + 'static) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: this.clone(),
            source,
            platform,
            changed: Box::new(changed),
            state: RefCell::default(),
            busy: Cell::new(false),
        })
    }

    /// Where the rows come from.
    #[must_use]
    pub fn source(&self) -> &Rc<dyn RowSource> {
        &self.source
    }

    /// Shows another query or another part of it, as soon as it is there; until then the rows at hand stay.
    pub fn show(&self, query: Query, range: Range) {
        let wish = Wish { query, range };
        let mut state = self.state.borrow_mut();
        if state.wish.as_ref() == Some(&wish) {
            return;
        }
        state.wish = Some(wish);
        state.error = None;
        state.failures = 0;
        state.turn += 1;
        drop(state);
        self.run();
    }

    /// The link was lost and is back, or the user wants another try: gets the window again, keeping the rows at hand.
    pub fn renew(&self) {
        let mut state = self.state.borrow_mut();
        state.turn += 1;
        state.relinked = true;
        state.error = None;
        state.failures = 0;
        // The subscription ended with its link.
        let hold = state.held.as_mut().and_then(|held| held.hold.take());
        drop(state);
        drop(hold);
        self.run();
    }

    /// The link is lost and its subscriptions with it: nothing is asked until [`LiveWindow::renew`].
    pub fn unlink(&self) {
        let mut state = self.state.borrow_mut();
        state.relinked = true;
        let hold = state.held.as_mut().and_then(|held| held.hold.take());
        drop(state);
        drop(hold);
    }

    /// Looks at the rows at hand and the query that they belong to.
    pub fn with<T>(&self, look: impl FnOnce(Option<(&Query, &Replica)>) -> T) -> T {
        look(
            self.state
                .borrow()
                .held
                .as_ref()
                .map(|held| (&held.wish.query, &held.replica)),
        )
    }

    /// Whether the rows at hand are not those that were wished for.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        let state = self.state.borrow();
        state.wish.as_ref() != state.held.as_ref().map(|held| &held.wish)
    }

    /// What keeps the window from being opened.
    #[must_use]
    pub fn error(&self) -> Option<Error> {
        self.state.borrow().error.clone()
    }

    /// Lets go of the window.
    pub fn stop(&self) {
        let mut state = self.state.borrow_mut();
        state.turn += 1;
        state.wish = None;
        let held = state.held.take();
        drop(state);
        if let Some(held) = held {
            self.let_go(held);
        }
    }

    fn let_go(&self, held: Held) {
        let closing = self.source.close(held.replica.window().clone());
        drop(held);
        // Nothing depends on the answer: a window without subscribers ends by itself.
        self.platform.spawn_local(Box::pin(async move { drop(closing.await) }));
    }

    fn run(&self) {
        let Some(this) = self.this.upgrade().filter(|_| !self.busy.replace(true)) else {
            return;
        };
        self.platform.spawn_local(Box::pin(async move {
            loop {
                let turn = this.state.borrow().turn;
                let wait = this.round().await;
                (this.changed)();
                if let Some(wait) = wait {
                    this.platform.sleep(wait).await;
                } else if this.state.borrow().turn == turn {
                    break;
                }
            }
            this.busy.set(false);
        }));
    }

    /// Does what is needed next; the time to wait before the next try, if it failed in a way that may pass.
    async fn round(&self) -> Option<Duration> {
        let wish = self.state.borrow().wish.clone()?;
        let outcome = match self.plan(&wish) {
            Round::Nothing => Ok(()),
            Round::CatchUp => self.catch_up().await,
            Round::Fresh { again } => self.fetch(wish.clone(), again).await,
        };
        let mut state = self.state.borrow_mut();
        let Err(error) = outcome else {
            state.failures = 0;
            state.error = None;
            return None;
        };
        state.failures += 1;
        let again = match error.kind {
            // The session calls `renew` when it is back.
            ErrorKind::Disconnected => return None,
            ErrorKind::Busy
            | ErrorKind::Timeout
            | ErrorKind::NotFound
            | ErrorKind::NoSuchProcedure
            | ErrorKind::NotAuthorized
            | ErrorKind::Canceled => state.failures < PATIENCE,
            ErrorKind::InvalidArgument
            | ErrorKind::WrongContract
            | ErrorKind::Conflict
            | ErrorKind::Refused
            | ErrorKind::ClientOutdated
            | ErrorKind::Protocol
            | ErrorKind::Internal
            | ErrorKind::Application => false,
        };
        if !again && state.wish.as_ref() == Some(&wish) {
            state.error = Some(error);
        }
        again.then_some(RETRY)
    }

    fn plan(&self, wish: &Wish) -> Round {
        let mut state = self.state.borrow_mut();
        let relinked = std::mem::take(&mut state.relinked);
        match &state.held {
            Some(held) if held.wish == *wish && held.hold.is_some() && !relinked => {
                if state.gap {
                    Round::CatchUp
                } else {
                    Round::Nothing
                }
            }
            Some(held) if held.wish == *wish => Round::Fresh {
                again: Some(held.replica.clone()),
            },
            Some(_) | None => Round::Fresh { again: None },
        }
    }

    /// A frame is missing: asks for what followed after the last one.
    async fn catch_up(&self) -> Result<()> {
        let Some((subscription, window, version)) = self
            .state
            .borrow()
            .held
            .as_ref()
            .map(|held| (held.subscription, held.replica.window().clone(), held.replica.version()))
        else {
            return Ok(());
        };
        // From here on: what is missed while the answer is on its way is not in it.
        self.state.borrow_mut().gap = false;
        let resumed = self.source.resume(window, version).await;
        let mut state = self.state.borrow_mut();
        let Some(held) = state.held.as_mut().filter(|held| held.subscription == subscription) else {
            return Ok(());
        };
        match resumed {
            Ok(resume) => {
                let applied = held.replica.resume(resume);
                // A gap within the answer means that the window is beyond repair: open it anew.
                state.relinked = applied == Applied::Gap;
                state.turn += u64::from(state.relinked);
                Ok(())
            }
            Err(error) => {
                state.relinked = true;
                Err(error)
            }
        }
    }

    /// Gets a window: its ticket, then its frames and its state together. `again` is what is known of it already.
    async fn fetch(&self, wish: Wish, again: Option<Replica>) -> Result<()> {
        let ticket = self.source.prepare(wish.query.clone(), wish.range).await?;
        let subscription = {
            let mut state = self.state.borrow_mut();
            state.subscriptions += 1;
            state.early.clear();
            state.subscriptions
        };
        let this = self.this.clone();
        let subscribing = self.source.subscribe(
            ticket.topic,
            Rc::new(move |frame| {
                if let Some(this) = this.upgrade() {
                    this.arrived(subscription, frame);
                }
            }),
        );
        let (hold, mut replica) = match again.filter(|replica| *replica.window() == ticket.window) {
            // Back after a lost link, and the server still has the window: only what was missed.
            Some(mut replica) => {
                let resuming = self.source.resume(ticket.window.clone(), replica.version());
                let (hold, resumed) = futures::join!(subscribing, resuming);
                let caught_up = match resumed {
                    Ok(resume) => replica.resume(resume) == Applied::Ok,
                    Err(error) if error.kind == ErrorKind::Disconnected => return Err(error),
                    Err(_) => false,
                };
                let replica = if caught_up {
                    replica
                } else {
                    Replica::new(self.source.open(ticket.window).await?)
                };
                (hold?, replica)
            }
            None => {
                let (hold, snapshot) = futures::join!(subscribing, self.source.open(ticket.window));
                (hold?, Replica::new(snapshot?))
            }
        };
        let mut state = self.state.borrow_mut();
        state.gap = false;
        for frame in std::mem::take(&mut state.early) {
            if frame.is_none_or(|frame| replica.apply(frame) == Applied::Gap) {
                state.gap = true;
                state.turn += 1;
                break;
            }
        }
        let held = Held {
            wish,
            replica,
            subscription,
            hold: Some(hold),
        };
        if state.wish.is_none() {
            drop(state);
            self.let_go(held);
            return Ok(());
        }
        let before = state.held.replace(held);
        let same = |before: &Held| {
            state
                .held
                .as_ref()
                .is_some_and(|held| held.replica.window() == before.replica.window())
        };
        let let_go = before.filter(|before| !same(before));
        drop(state);
        if let Some(before) = let_go {
            self.let_go(before);
        }
        Ok(())
    }

    /// A frame came, or frames were left out.
    fn arrived(&self, subscription: u64, frame: Option<Frame>) {
        let mut state = self.state.borrow_mut();
        let latest = state.subscriptions;
        match state.held.as_mut().filter(|held| held.subscription == subscription) {
            Some(held) => match frame.map_or(Applied::Gap, |frame| held.replica.apply(frame)) {
                Applied::Ok => {
                    drop(state);
                    (self.changed)();
                }
                Applied::Stale => {}
                Applied::Gap => {
                    state.gap = true;
                    state.turn += 1;
                    drop(state);
                    self.run();
                }
            },
            None if subscription == latest => state.early.push(frame),
            None => {}
        }
    }
}
