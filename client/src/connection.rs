//! The link to the server: when to open it, how it moves messages, and how its state reaches the user.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use futures::future::{AbortHandle, LocalBoxFuture, abortable};
use leptos::{
    leptos_dom::helpers::WindowListenerHandle,
    prelude::{Set, document, window_event_listener_untyped},
    reactive::signal::ArcRwSignal,
};
use shared::{
    error::{Error, ErrorKind, Result},
    platform::{PlatformRef, random_id},
    wamp::{
        peer::{CloseReason, Join, Peer},
        uri::close,
    },
};
use web_sys::VisibilityState;

mod probe;
pub mod schedule;
pub mod websocket;

pub use schedule::{LinkState, Timing};

use schedule::{Input, Output, Schedule};
use websocket::Closer;

/// Why there is no point in connecting again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server speaks another version of the contracts.
    Outdated,
    /// The server does not know the user any more.
    LoggedOut,
    /// The same session is used elsewhere now, such as in a copy of the tab.
    Moved,
}

/// What goes on above the link.
pub trait LinkUser {
    /// A session is joined; the link counts as live when this is done.
    fn joined(&self, peer: Peer) -> LocalBoxFuture<'static, Result<()>>;
    /// The session that was joined, or was being joined, is gone.
    fn lost(&self);
    /// Any round trip to the server: what counts is that something comes back.
    fn ping(&self) -> LocalBoxFuture<'static, Result<()>>;
    /// There will be no other session.
    fn ended(&self, ending: Ending);
}

struct Attempt {
    number: u64,
    abort: AbortHandle,
    closer: Rc<RefCell<Option<Closer>>>,
}

/// Keeps a session over one link after another.
pub struct Connector {
    platform: PlatformRef,
    url: String,
    join: Join,
    user: Rc<dyn LinkUser>,
    schedule: RefCell<Schedule>,
    attempt: RefCell<Option<Attempt>>,
    timer: Cell<u64>,
    /// What the user is told.
    pub state: ArcRwSignal<LinkState>,
    listeners: RefCell<Vec<WindowListenerHandle>>,
}

impl Connector {
    /// Connects to `url`, and goes on connecting until there is no point in it.
    #[must_use]
    pub fn start(platform: PlatformRef, url: String, join: Join, timing: Timing, user: Rc<dyn LinkUser>) -> Rc<Self> {
        let seed = random_id(&*platform);
        let this = Rc::new(Self {
            platform,
            url,
            join,
            user,
            schedule: RefCell::new(Schedule::new(timing, seed)),
            attempt: RefCell::default(),
            timer: Cell::new(0),
            state: ArcRwSignal::new(LinkState::Connecting),
            listeners: RefCell::default(),
        });
        this.listen();
        this.input(Input::Start);
        this
    }

    /// There is no point in going on.
    pub fn end(self: &Rc<Self>, ending: Ending) {
        self.input(Input::End);
        self.user.ended(ending);
    }

    /// What the browser says about the network and the page.
    fn listen(self: &Rc<Self>) {
        let listener = |name: &'static str, input: fn() -> Input| {
            let this = Rc::downgrade(self);
            window_event_listener_untyped(name, move |_| {
                if let Some(this) = this.upgrade() {
                    this.input(input());
                }
            })
        };
        let seen = || {
            if document().visibility_state() == VisibilityState::Visible {
                Input::Visible
            } else {
                Input::Hidden
            }
        };
        let listeners = vec![
            listener("online", || Input::Online),
            listener("offline", || Input::Offline),
            // `visibilitychange` bubbles from the document; `pageshow` comes after the back button or a woken machine.
            listener("visibilitychange", seen),
            listener("pageshow", seen),
        ];
        *self.listeners.borrow_mut() = listeners;
    }

    fn input(self: &Rc<Self>, input: Input) {
        let outputs = self.schedule.borrow_mut().handle(input);
        for output in outputs {
            match output {
                Output::Connect(number) => self.connect(number),
                Output::Drop(number) => self.drop_attempt(number),
                Output::Ping(number) => self.ping(number),
                Output::Arm(number, delay) => self.arm(number, delay),
                Output::Show(state) => self.state.set(state),
            }
        }
    }

    fn arm(self: &Rc<Self>, number: u64, delay: Duration) {
        self.timer.set(number);
        let this = Rc::downgrade(self);
        let sleep = self.platform.sleep(delay);
        self.platform.spawn_local(Box::pin(async move {
            sleep.await;
            if let Some(this) = this.upgrade().filter(|this| this.timer.get() == number) {
                this.input(Input::Timer(number));
            }
        }));
    }

    fn ping(self: &Rc<Self>, number: u64) {
        let this = Rc::downgrade(self);
        let (ping, platform) = (self.user.ping(), self.platform.clone());
        self.platform.spawn_local(Box::pin(async move {
            let asked = platform.now();
            let answer = ping.await;
            let nothing = |error: &Error| {
                matches!(
                    error.kind,
                    // Nobody there: the router answers, but the session's tree on the server has ended.
                    ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Canceled | ErrorKind::NoSuchProcedure
                )
            };
            // Any other refusal is an answer too.
            if let Some(this) = this.upgrade().filter(|_| !answer.as_ref().is_err_and(nothing)) {
                this.input(Input::Answered {
                    ping: number,
                    after: platform.now().saturating_sub(asked),
                });
            }
        }));
    }

    fn drop_attempt(&self, number: u64) {
        let attempt = self.attempt.borrow_mut().take_if(|attempt| attempt.number == number);
        if let Some(attempt) = attempt {
            attempt.abort.abort();
            if let Some(closer) = attempt.closer.take() {
                closer.close();
            }
            self.user.lost();
        }
    }

    fn connect(self: &Rc<Self>, number: u64) {
        let closer: Rc<RefCell<Option<Closer>>> = Rc::default();
        let (work, abort) = abortable(Self::work(self.clone(), closer.clone(), number));
        *self.attempt.borrow_mut() = Some(Attempt { number, abort, closer });
        let this = Rc::downgrade(self);
        self.platform.spawn_local(Box::pin(async move {
            let Ok(outcome) = work.await else { return };
            let Some(this) = this.upgrade() else { return };
            this.drop_attempt(number);
            match ending(&outcome) {
                Some(ending) => this.end(ending),
                None => this.input(Input::Lost {
                    attempt: number,
                    retry_after: None,
                }),
            }
        }));
    }

    /// One life of a link: opens it, joins, and waits for its end.
    async fn work(self: Rc<Self>, closer: Rc<RefCell<Option<Closer>>>, number: u64) -> Result<CloseReason> {
        let opened = websocket::open(&self.url, self.platform.clone()).await;
        if opened.is_err() && probe::is_logged_out().await {
            return Err(Error::new(ErrorKind::NotAuthorized, "The login has ended."));
        }
        let (link, handle) = opened?;
        *closer.borrow_mut() = Some(handle);
        let peer = Peer::join(self.platform.clone(), link, self.join.clone()).await?;
        self.user.joined(peer.clone()).await?;
        self.input(Input::Joined(number));
        Ok(peer.closed().await)
    }
}

/// What the end of a link says about further ones.
fn ending(outcome: &Result<CloseReason>) -> Option<Ending> {
    match outcome {
        Ok(reason) => (reason.uri.as_str() == close::REPLACED).then_some(Ending::Moved),
        Err(error) => match error.kind {
            ErrorKind::ClientOutdated => Some(Ending::Outdated),
            ErrorKind::NotAuthorized => Some(Ending::LoggedOut),
            ErrorKind::NoSuchProcedure
            | ErrorKind::InvalidArgument
            | ErrorKind::WrongContract
            | ErrorKind::Timeout
            | ErrorKind::Canceled
            | ErrorKind::Disconnected
            | ErrorKind::Busy
            | ErrorKind::Conflict
            | ErrorKind::NotFound
            | ErrorKind::Refused
            | ErrorKind::Protocol
            | ErrorKind::Internal
            | ErrorKind::Application => None,
        },
    }
}
