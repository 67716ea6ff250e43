//! A router on the same thread as its peers, over memory links: for tests, and for trees that need no server.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use crate::{
    platform::PlatformRef,
    wamp::{
        codec::CodecId,
        id::SessionId,
        router::{Class, ConnectionId, Input, Outgoing, Output, Principal, Router},
        transport::{
            Link, SendError,
            memory::{self, LaneSender},
        },
        uri::{Uri, close},
    },
};

/// How many events may wait for a peer, beyond the capacity of its link, before it is closed as too slow.
const EVENT_LIMIT: usize = 4_096;

struct State {
    platform: PlatformRef,
    router: RefCell<Router>,
    lanes: RefCell<BTreeMap<ConnectionId, LaneSender>>,
    last: Cell<u64>,
    /// The deadline that a task already sleeps for.
    alarm: Cell<Option<Duration>>,
}

/// A realm on one thread. Cheap to clone.
#[derive(Clone)]
pub struct LocalRealm(Rc<State>);

impl LocalRealm {
    /// Runs `router` on the platform's thread.
    #[must_use]
    pub fn new(platform: PlatformRef, router: Router) -> Self {
        Self(Rc::new(State {
            platform,
            router: RefCell::new(router),
            lanes: RefCell::default(),
            last: Cell::new(0),
            alarm: Cell::new(None),
        }))
    }

    /// A link for one more peer. At most `capacity` calls, publications and invocations wait in each direction.
    #[must_use]
    pub fn connect(&self, principal: Principal, codec: CodecId, capacity: usize) -> Link {
        let (link, far) = memory::link(capacity, codec);
        let connection = ConnectionId(self.0.last.get() + 1);
        self.0.last.set(connection.0);
        self.0.lanes.borrow_mut().insert(connection, far.outgoing);
        self.handle(Input::Attach {
            connection,
            codec,
            principal,
        });
        let this = self.clone();
        self.0.platform.spawn_local(Box::pin(async move {
            while let Some(message) = far.incoming.receive().await {
                let message = Box::new(message);
                this.handle(Input::Message { connection, message });
            }
            this.handle(Input::Detach { connection });
            let lane = this.0.lanes.borrow_mut().remove(&connection);
            lane.iter().for_each(LaneSender::close);
        }));
        link
    }

    /// Feeds the router and carries out what it says.
    pub fn handle(&self, input: Input) {
        let outputs = {
            let mut router = self.0.router.borrow_mut();
            let mut outputs = router.handle(Input::Tick {
                now: self.0.platform.now(),
            });
            outputs.extend(router.handle(input));
            outputs
        };
        let slow = outputs
            .into_iter()
            .filter_map(|output| self.carry_out(output))
            .collect::<Vec<SessionId>>();
        for session in slow {
            let message = Some("Events came faster than they were taken.".to_owned());
            self.handle(Input::Kill {
                session,
                reason: Uri::unchecked(close::TOO_SLOW),
                message,
            });
        }
        self.set_alarm();
    }

    /// Asks the router something.
    pub fn with_router<T>(&self, ask: impl FnOnce(&Router) -> T) -> T {
        ask(&self.0.router.borrow())
    }

    /// The session to be closed, if a peer is too slow.
    fn carry_out(&self, output: Output) -> Option<SessionId> {
        match output {
            Output::Send {
                connection,
                message,
                class,
            } => {
                let lane = self.0.lanes.borrow().get(&connection).cloned()?;
                let message = Outgoing::into_message(message);
                match class {
                    Class::Reply | Class::Control => drop(lane.send_beyond(message)),
                    Class::Event if lane.len() >= EVENT_LIMIT => {
                        return self.0.router.borrow().session_at(connection);
                    }
                    Class::Resumable if lane.len() >= EVENT_LIMIT => {
                        let message = Arc::new(Outgoing::new(message));
                        self.handle(Input::Behind { connection, message });
                    }
                    Class::Event | Class::Resumable => drop(lane.send_beyond(message)),
                    Class::Invocation => {
                        if let Err(SendError::Full(message)) = lane.try_send(message) {
                            let message = Arc::new(Outgoing::new(*message));
                            self.0
                                .router
                                .borrow_mut()
                                .handle(Input::Undelivered { connection, message });
                            self.say_when_there_is_room(connection, lane);
                        }
                    }
                }
            }
            // Who wants history to survive runs the router of a server.
            Output::Store(change) => {
                let (numbers, kept) = (change.number..=change.number, false);
                self.handle(Input::Stored { numbers, kept });
            }
            // Peers in this process wait for their answers or are few.
            Output::Pause { .. } => {}
            Output::Close { connection, .. } => {
                let lane = self.0.lanes.borrow_mut().remove(&connection);
                lane.iter().for_each(LaneSender::close);
            }
        }
        None
    }

    fn say_when_there_is_room(&self, connection: ConnectionId, lane: LaneSender) {
        let this = self.clone();
        self.0.platform.spawn_local(Box::pin(async move {
            lane.room().await;
            let invocations = lane.free();
            drop(lane);
            this.handle(Input::Room {
                connection,
                invocations,
            });
            // What is still held waits for the next room.
            let lane = this.0.lanes.borrow().get(&connection).cloned();
            if let Some(lane) = lane.filter(|_| this.with_router(|router| router.is_stalled(connection))) {
                this.say_when_there_is_room(connection, lane);
            }
        }));
    }

    fn set_alarm(&self) {
        let Some(deadline) = self.with_router(Router::next_deadline) else {
            return;
        };
        if self.0.alarm.get().is_some_and(|alarm| alarm <= deadline) {
            return;
        }
        self.0.alarm.set(Some(deadline));
        let this = self.clone();
        self.0.platform.spawn_local(Box::pin(async move {
            this.0
                .platform
                .sleep(deadline.saturating_sub(this.0.platform.now()))
                .await;
            if this.0.alarm.get() == Some(deadline) {
                this.0.alarm.set(None);
            }
            let now = this.0.platform.now();
            this.handle(Input::Tick { now });
        }));
    }
}
