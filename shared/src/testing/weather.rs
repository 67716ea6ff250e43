//! Links that behave as networks do: they delay, stall, break and go silent, all by the dice of a simulation.
//!
//! A link is cut between messages. Cutting within one comes to the same: a frame that is not complete never arrives.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    fmt,
    future::poll_fn,
    ops::Range,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use futures::{FutureExt, future::LocalBoxFuture};

use super::Simulation;
use crate::{
    platform::Platform,
    wamp::{
        message::Message,
        transport::{Link, LinkError, MessageSink, MessageSource, SendError},
    },
};

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Both ends notice at once; what is under way still arrives.
    Clean,
    /// Both ends notice at once; what is under way is lost.
    Lost,
    /// Nothing arrives any more, and nobody notices, until the router's patience ends.
    HalfOpen,
    /// The peer notices at once; what it has sent still arrives, and the router notices late: the next connection of
    /// the peer overlaps with this one.
    Overlap,
}

impl Cut {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Clean, Self::Lost, Self::HalfOpen, Self::Overlap];
}

/// One direction.
struct Pipe {
    simulation: Simulation,
    /// In milliseconds.
    delay: Range<u64>,
    queue: RefCell<VecDeque<(Duration, Message)>>,
    waker: RefCell<Option<Waker>>,
    /// Nothing is due before: frames of one connection keep their order.
    not_before: Cell<Duration>,
    is_closed: Cell<bool>,
    is_mute: Cell<bool>,
}

impl Pipe {
    fn new(simulation: &Simulation, delay: Range<u64>) -> Rc<Self> {
        Rc::new(Self {
            simulation: simulation.clone(),
            delay,
            queue: RefCell::default(),
            waker: RefCell::default(),
            not_before: Cell::default(),
            is_closed: Cell::default(),
            is_mute: Cell::default(),
        })
    }

    fn push(&self, message: Message) {
        if self.is_mute.get() || self.is_closed.get() {
            return;
        }
        let delay = Duration::from_millis(self.simulation.pick(self.delay.clone()));
        let due = (self.simulation.now() + delay).max(self.not_before.get());
        self.not_before.set(due);
        self.queue.borrow_mut().push_back((due, message));
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.take();
        waker.into_iter().for_each(Waker::wake);
    }

    fn close(&self, loses: bool) {
        self.is_closed.set(true);
        if loses {
            let lost = self.queue.take();
            drop(lost);
        }
        self.wake();
    }

    /// The next message when it is due; none at the end. Cancel safe.
    async fn pop(&self) -> Option<Message> {
        loop {
            let due = poll_fn(|context| match self.queue.borrow().front() {
                Some((due, _)) => Poll::Ready(Some(*due)),
                None if self.is_closed.get() => Poll::Ready(None),
                None => {
                    *self.waker.borrow_mut() = Some(context.waker().clone());
                    Poll::Pending
                }
            })
            .await?;
            let now = self.simulation.now();
            if now < due {
                self.simulation.sleep(due - now).await;
                continue;
            }
            // What was due may have been lost meanwhile.
            let front = self.queue.borrow_mut().pop_front();
            if let Some((_, message)) = front {
                return Some(message);
            }
        }
    }
}

/// The weather of one link, and the power over it.
#[derive(Clone)]
pub struct Weather {
    simulation: Simulation,
    up: Rc<Pipe>,
    down: Rc<Pipe>,
}

impl Weather {
    /// Puts a link out into the weather: each message takes as many milliseconds as drawn from `delay`.
    #[must_use]
    pub fn over(link: Link, simulation: &Simulation, delay: Range<u64>) -> (Link, Self) {
        let (up, down) = (
            Pipe::new(simulation, delay.clone()),
            Pipe::new(simulation, delay.clone()),
        );
        let Link {
            codec,
            outgoing,
            mut incoming,
        } = link;
        let pipe = up.clone();
        simulation.spawn(async move {
            while let Some(mut message) = pipe.pop().await {
                while let Err(SendError::Full(back)) = outgoing.try_send(message) {
                    outgoing.room().await;
                    message = *back;
                }
            }
            outgoing.close();
        });
        let pipe = down.clone();
        simulation.spawn(async move {
            while let Ok(message) = incoming.receive().await {
                pipe.push(message);
            }
            // A silent link does not tell its end either.
            if !pipe.is_mute.get() {
                pipe.close(false);
            }
        });
        let near = Link {
            codec,
            outgoing: Box::new(Sink(up.clone())),
            incoming: Box::new(Source(down.clone())),
        };
        let weather = Self {
            simulation: simulation.clone(),
            up,
            down,
        };
        (near, weather)
    }

    /// Holds up what is sent towards the router from now on, for some milliseconds.
    pub fn stall_up(&self, milliseconds: u64) {
        let until = self.simulation.now() + Duration::from_millis(milliseconds);
        self.up.not_before.set(self.up.not_before.get().max(until));
    }

    /// Holds up what is sent towards the peer from now on, for some milliseconds.
    pub fn stall_down(&self, milliseconds: u64) {
        let until = self.simulation.now() + Duration::from_millis(milliseconds);
        self.down.not_before.set(self.down.not_before.get().max(until));
    }

    /// Ends the link. Where the router notices late, that is after 1 to 12 seconds.
    pub fn cut(&self, how: Cut) {
        match how {
            Cut::Clean => {
                self.up.close(false);
                self.down.close(false);
            }
            Cut::Lost => {
                self.up.close(true);
                self.down.close(true);
            }
            Cut::HalfOpen => {
                for pipe in [&self.up, &self.down] {
                    pipe.is_mute.set(true);
                    let lost = pipe.queue.take();
                    drop(lost);
                }
                self.notice_late();
            }
            Cut::Overlap => {
                self.down.is_mute.set(true);
                self.down.close(true);
                // The peer sends nothing more; what it has sent stays under way.
                self.up.is_mute.set(true);
                self.notice_late();
            }
        }
    }

    fn notice_late(&self) {
        let (simulation, up) = (self.simulation.clone(), self.up.clone());
        self.simulation.spawn(async move {
            simulation.wait(simulation.pick(1_000..12_000)).await;
            up.close(false);
        });
    }
}

impl fmt::Debug for Weather {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Weather")
            .field("up", &self.up.queue.borrow().len())
            .field("down", &self.down.queue.borrow().len())
            .finish_non_exhaustive()
    }
}

struct Sink(Rc<Pipe>);

impl MessageSink for Sink {
    fn try_send(&self, message: Message) -> Result<(), SendError> {
        if self.0.is_closed.get() {
            return Err(SendError::Closed);
        }
        self.0.push(message);
        Ok(())
    }

    fn room(&self) -> LocalBoxFuture<'_, ()> {
        futures::future::ready(()).boxed_local()
    }

    fn close(&self) {
        // Whoever closes a silent link is not heard.
        if !self.0.is_mute.get() {
            self.0.close(false);
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.close();
    }
}

struct Source(Rc<Pipe>);

impl MessageSource for Source {
    fn receive(&mut self) -> LocalBoxFuture<'_, Result<Message, LinkError>> {
        async { self.0.pop().await.ok_or(LinkError::Closed(None)) }.boxed_local()
    }
}
