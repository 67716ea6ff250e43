//! The queue from the router to one socket: bounded, never waited for by who fills it.
//!
//! Events and invocations ("bulk") share the limits. Events of resumable subscriptions have a share of their own, half as
//! large, and are forgotten when it is full. Answers and control messages always get in; they are bounded because the
//! reader of the same socket takes no more requests while too many answers wait ([`Outbound::relief`]).

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
};

use axum::body::Bytes;
use shared::wamp::{
    Message, SubscriptionId, Uri,
    router::{Class, Outgoing},
};
use tokio::sync::Notify;

use super::{SocketLimits, wakes::Wakes};
use crate::config::QueueLimits;

/// What a message costs beside its arguments: a guess, good enough for a bound.
const HEAD: usize = 64;

/// How much a writer takes out at once. It is counted out then, so what waits exceeds the limits by no more than this and
/// the last message of it.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 16 * 1024;

/// What the writer of a socket has to do next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send this message.
    Message(Arc<Outgoing>),
    /// Ask whether the other side is still there.
    Ping,
    /// Say that we are there.
    Pong(Bytes),
    /// Everything was taken: close for this reason.
    Close(Uri),
}

/// The queue from the router (who pushes) to the writer of one socket (who pops). Dropping the connection drops it.
#[derive(Debug)]
pub(crate) struct Outbound {
    limits: QueueLimits,
    state: Mutex<State>,
    /// The peer has joined, at least once.
    welcomed: AtomicBool,
    /// The role was granted something that the reader has not seen. Changes under the lock.
    granted: AtomicBool,
    /// The reader of the same socket has to wait. Changes under the lock; the reader looks without taking that.
    held_up: AtomicBool,
    /// Wakes the reader that waits in [`Self::relief`].
    relieved: Notify,
    /// Wakes the one who waits in [`Self::ended`].
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Entry>,
    bulk: Load,
    resumable: Load,
    replies: Load,
    /// The writer, while it waits: it takes everything that it finds.
    writer: Option<Waker>,
    /// An invocation was refused: the router waits to hear of room.
    owes_room: bool,
    ping: bool,
    /// The newest question of the other side; answering that one answers all.
    pong: Option<Bytes>,
    closing: Option<Uri>,
    /// What the role of the session may use.
    granted: SocketLimits,
    /// What was read last waits for a decision.
    paused: bool,
}

/// What waits in one share of the queue.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    frames: usize,
    bytes: usize,
}

impl Load {
    fn add(&mut self, size: usize) {
        self.frames += 1;
        self.bytes += size;
    }

    fn take(&mut self, size: usize) {
        self.frames -= 1;
        self.bytes -= size;
    }

    /// Whether one more fits. A single one always does, however large.
    fn has_room(self, size: usize, frames: usize, bytes: usize) -> bool {
        self.frames == 0 || (self.frames < frames && self.bytes + size <= bytes)
    }
}

#[derive(Debug)]
struct Entry {
    message: Arc<Outgoing>,
    class: Class,
    size: usize,
}

impl Outbound {
    pub(crate) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
            welcomed: AtomicBool::new(false),
            granted: AtomicBool::new(false),
            held_up: AtomicBool::new(false),
            relieved: Notify::new(),
            ended: Notify::new(),
        }
    }

    /// Takes a message. Never waits. The writer hears of it when `wakes` are flushed.
    ///
    /// # Errors
    /// The message, if there is no room: only for events and invocations.
    pub(crate) fn push(&self, message: Arc<Outgoing>, class: Class, wakes: &mut Wakes) -> Result<(), Arc<Outgoing>> {
        let size = HEAD + message.message().payload().map_or(0, shared::wamp::Payload::size);
        // One call brings any number of results in parts: nothing but this queue bounds them.
        let class = if in_parts(message.message()) {
            Class::Event
        } else {
            class
        };
        if matches!(message.message(), Message::Welcome(_)) {
            self.welcomed.store(true, Ordering::Relaxed);
        }
        let mut state = self.state();
        if state.closing.is_some() {
            return Ok(()); // nobody reads it any more
        }
        if !state.has_room(class, size, &self.limits) {
            state.owes_room |= class == Class::Invocation;
            return Err(message);
        }
        state.load(class).add(size);
        state.queue.push_back(Entry { message, class, size });
        self.reconsider(&state);
        if let Some(writer) = state.writer.take() {
            wakes.add(writer);
        }
        Ok(())
    }

    /// Closes after what is queued. The first reason stays.
    pub(crate) fn close(&self, reason: Uri) {
        let mut state = self.state();
        if state.closing.is_none() {
            state.closing = Some(reason);
        }
        self.reconsider(&state);
        self.ended.notify_one();
        wake(state);
    }

    /// Forgets the events and invocations that wait: their reader is too slow, only the farewell is worth sending.
    pub(crate) fn forget_bulk(&self) {
        self.forget(|entry| match entry.class {
            Class::Event | Class::Resumable | Class::Invocation => true,
            Class::Reply | Class::Control => false,
        });
    }

    /// Forgets the events of a resumable subscription; how many there were.
    pub(crate) fn forget_events(&self, subscription: SubscriptionId) -> usize {
        self.forget(|entry| {
            entry.class == Class::Resumable
                && matches!(entry.message.message(), Message::Event(event) if event.subscription == subscription)
        })
    }

    fn forget(&self, goes: impl Fn(&Entry) -> bool) -> usize {
        let mut state = self.state();
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut state.queue).into_iter().partition(goes);
        state.queue = kept;
        for entry in &gone {
            state.load(entry.class).take(entry.size);
        }
        gone.len()
    }

    /// The router holds invocations for this peer. True if there is room for one right now; otherwise [`Self::take`] will
    /// say when there is.
    pub(crate) fn owe_room(&self) -> bool {
        let mut state = self.state();
        state.owes_room = !state.has_room(Class::Invocation, 0, &self.limits);
        !state.owes_room
    }

    /// Whether the peer has joined, at least once.
    pub(crate) fn is_welcomed(&self) -> bool {
        self.welcomed.load(Ordering::Relaxed)
    }

    /// Sets what the role of the session may use.
    pub(crate) fn grant(&self, granted: SocketLimits) {
        let mut state = self.state();
        state.granted = granted;
        self.granted.store(true, Ordering::Release);
    }

    /// What the role allows, if the peer has joined since this was asked last. For the reader of the same socket.
    pub(crate) fn newly_granted(&self) -> Option<SocketLimits> {
        // Asked before each message: the lock is for those few that bring news.
        if !self.granted.load(Ordering::Acquire) {
            return None;
        }
        let state = self.state();
        self.granted.store(false, Ordering::Relaxed);
        Some(state.granted)
    }

    /// Has the writer send a ping.
    pub(crate) fn ping(&self) {
        let mut state = self.state();
        state.ping = true;
        wake(state);
    }

    /// Has the writer answer a ping.
    pub(crate) fn pong(&self, bytes: Bytes) {
        let mut state = self.state();
        state.pong = Some(bytes);
        wake(state);
    }

    /// Waits until [`Self::take`] has something. For the writer only.
    pub(crate) async fn filled(&self) {
        poll_fn(|context| {
            let mut state = self.state();
            if state.is_empty() {
                state.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Takes out what to do next, nothing if there is nothing. True if the router is to be told that there is room for an
    /// invocation.
    pub(crate) fn take(&self, batch: &mut Vec<Next>) -> bool {
        self.take_most(BATCH, batch)
    }

    fn take_most(&self, most: usize, batch: &mut Vec<Next>) -> bool {
        let mut state = self.state();
        if std::mem::take(&mut state.ping) {
            batch.push(Next::Ping);
        }
        batch.extend(state.pong.take().map(Next::Pong));
        let (mut bytes, mut room) = (0, false);
        while batch.len() < most
            && bytes < BATCH_BYTES
            && let Some(entry) = state.queue.pop_front()
        {
            bytes += entry.size;
            room |= state.take(&entry, &self.limits);
            batch.push(Next::Message(entry.message));
        }
        if batch.len() < most && state.queue.is_empty() {
            batch.extend(state.closing.clone().map(Next::Close));
        }
        self.reconsider(&state);
        room
    }

    /// Has the reader of the same socket stop, or go on.
    pub(crate) fn pause(&self, paused: bool) {
        let mut state = self.state();
        state.paused = paused;
        self.reconsider(&state);
    }

    /// Waits while too many answers wait to be sent, or while paused. For the reader of the same socket, before it
    /// takes a request.
    pub(crate) async fn relief(&self) {
        // A wake-up leaves a permit, so none is lost between looking and waiting.
        while self.held_up.load(Ordering::Acquire) {
            self.relieved.notified().await;
        }
    }

    /// Whether the reader has to wait in [`Self::relief`].
    pub(crate) fn is_held_up(&self) -> bool {
        self.held_up.load(Ordering::Acquire)
    }

    /// Whether that is because too many answers wait to be sent.
    pub(crate) fn is_unread(&self) -> bool {
        self.needs_relief(&self.state())
    }

    /// Has the reader wait or go on, by what is in the queue now.
    fn reconsider(&self, state: &State) {
        let held_up = state.closing.is_none() && (state.paused || self.needs_relief(state));
        if held_up == self.held_up.load(Ordering::Relaxed) {
            return;
        }
        self.held_up.store(held_up, Ordering::Release);
        if !held_up {
            self.relieved.notify_one();
        }
    }

    /// Completes when the end was decided. For one to wait in, once.
    pub(crate) async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Queued bytes.
    pub(crate) fn bytes(&self) -> usize {
        let state = self.state();
        state.bulk.bytes + state.resumable.bytes + state.replies.bytes
    }

    fn needs_relief(&self, state: &State) -> bool {
        let Load { frames, bytes } = state.replies;
        frames > self.limits.reserved || (bytes > self.limits.bytes && frames > 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the writer now, when it can have the lock.
fn wake(mut state: MutexGuard<'_, State>) {
    let writer = state.writer.take();
    drop(state);
    if let Some(writer) = writer {
        writer.wake();
    }
}

impl State {
    /// Whether there is nothing for the writer to do.
    fn is_empty(&self) -> bool {
        self.queue.is_empty() && !self.ping && self.pong.is_none() && self.closing.is_none()
    }

    /// Counts an entry out. True if the router waits to hear of room and there is some now.
    fn take(&mut self, entry: &Entry, limits: &QueueLimits) -> bool {
        self.load(entry.class).take(entry.size);
        self.owes_room && self.has_room(Class::Invocation, 0, limits) && std::mem::take(&mut self.owes_room)
    }

    fn has_room(&self, class: Class, size: usize, limits: &QueueLimits) -> bool {
        let frames = self.granted.queue_messages.unwrap_or(limits.frames);
        let bytes = self.granted.queue_bytes.unwrap_or(limits.bytes);
        match class {
            Class::Event | Class::Invocation => self.bulk.has_room(size, frames, bytes),
            Class::Resumable => self.resumable.has_room(size, frames / 2, bytes / 2),
            Class::Reply | Class::Control => true,
        }
    }

    fn load(&mut self, class: Class) -> &mut Load {
        match class {
            Class::Event | Class::Invocation => &mut self.bulk,
            Class::Resumable => &mut self.resumable,
            Class::Reply | Class::Control => &mut self.replies,
        }
    }
}

fn in_parts(message: &Message) -> bool {
    matches!(message, Message::Result(result) if result.details.progress)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shared::wamp::{CodecId, Message, Payload, PublicationId, SubscriptionId, message};

    use super::*;

    fn event(bytes: usize) -> Arc<Outgoing> {
        let payload = Payload::encode(CodecId::Json, &("x".repeat(bytes),)).expect("text can be encoded");
        Arc::new(Outgoing::new(Message::Event(message::Event {
            subscription: SubscriptionId::new(1).expect("an id"),
            publication: PublicationId::new(1).expect("an id"),
            details: message::EventDetails::default(),
            payload,
        })))
    }

    fn taken(queue: &Outbound) -> usize {
        std::iter::from_fn(|| next(queue))
            .take_while(|(next, _)| matches!(next, Next::Message(_)))
            .count()
    }

    /// Wakes the writer at once; whether there was room.
    fn push(queue: &Outbound, message: Arc<Outgoing>, class: Class) -> bool {
        queue.push(message, class, &mut Wakes::default()).is_ok()
    }

    /// The next one alone, and whether the router is to hear of room.
    fn next(queue: &Outbound) -> Option<(Next, bool)> {
        let mut batch = Vec::new();
        let room = queue.take_most(1, &mut batch);
        batch.pop().map(|next| (next, room))
    }

    const ONE: QueueLimits = QueueLimits {
        bytes: 1,
        frames: 1,
        reserved: 1,
    };

    #[test]
    fn events_fill_the_queue_and_answers_get_in_all_the_same() {
        let queue = Outbound::new(ONE);
        assert!(
            push(&queue, event(5000), Class::Event),
            "a single one fits, however large"
        );
        assert!(!push(&queue, event(0), Class::Event));
        assert!(push(&queue, event(0), Class::Reply));
        assert!(push(&queue, event(0), Class::Control));
        assert_eq!(taken(&queue), 3);
        assert_eq!((queue.bytes(), push(&queue, event(0), Class::Event)), (0, true));
    }

    #[test]
    fn the_router_hears_of_room_once_after_it_was_refused() {
        let queue = Outbound::new(ONE);
        push(&queue, event(0), Class::Invocation);
        assert!(!push(&queue, event(0), Class::Invocation));
        assert!(matches!(next(&queue), Some((Next::Message(_), true))));
        assert!(queue.owe_room(), "there is room right now");
        push(&queue, event(0), Class::Invocation);
        assert!(!queue.owe_room());
        assert!(matches!(next(&queue), Some((Next::Message(_), true))));
        push(&queue, event(0), Class::Invocation);
        assert!(
            matches!(next(&queue), Some((Next::Message(_), false))),
            "nobody waits any more"
        );
    }

    #[test]
    fn a_slow_peer_gets_its_farewell_without_the_backlog() {
        let queue = Outbound::new(QueueLimits::default());
        for _ in 0..100 {
            push(&queue, event(10), Class::Event);
        }
        queue.forget_bulk();
        push(&queue, event(0), Class::Control);
        queue.close(Uri::unchecked("why"));
        push(&queue, event(0), Class::Control);
        assert!(matches!(next(&queue), Some((Next::Message(_), false))));
        assert!(matches!(next(&queue), Some((Next::Close(why), false)) if why == "why"));
    }

    #[tokio::test]
    async fn the_reader_waits_while_too_many_answers_wait() {
        let queue = Arc::new(Outbound::new(ONE));
        push(&queue, event(0), Class::Reply);
        queue.relief().await;
        push(&queue, event(0), Class::Reply);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.relief().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert!(next(&queue).is_some());
        waiting.await.expect("the reader goes on");
    }

    fn event_of(subscription: u64, number: u64) -> Arc<Outgoing> {
        let payload = Payload::encode(CodecId::Json, &(number,)).expect("numbers can be encoded");
        Arc::new(Outgoing::new(Message::Event(message::Event {
            subscription: SubscriptionId::new(subscription).expect("an id"),
            publication: PublicationId::new(number).expect("an id"),
            details: message::EventDetails::default(),
            payload,
        })))
    }

    fn id_of(message: &Outgoing) -> (u64, u64) {
        match message.message() {
            Message::Event(event) => (event.subscription.get(), event.publication.get()),
            other => panic!("only events are pushed: {other:?}"),
        }
    }

    /// What a peer and its router do.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Push(Class, u64),
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let class = prop::sample::select(vec![Class::Reply, Class::Invocation, Class::Event, Class::Resumable]);
        let push = (class, 1_u64..4).prop_map(|(class, subscription)| Step::Push(class, subscription));
        prop::collection::vec(prop_oneof![3 => push, 1 => Just(Step::Pop)], 0..200)
    }

    proptest! {
        /// A model of what is taken out: what was taken in, in order, but the events of a subscription that was told.
        #[test]
        fn nothing_is_lost_silently_and_what_is_taken_out_keeps_its_order(steps in steps(), frames in 1_usize..8) {
            let limits = QueueLimits { bytes: 1 << 20, frames, reserved: 4 };
            let queue = Outbound::new(limits);
            let mut expected: VecDeque<(Class, (u64, u64))> = VecDeque::new();
            for (number, step) in (1..).zip(steps) {
                let load = |expected: &VecDeque<(Class, (u64, u64))>, of: &[Class]| {
                    expected.iter().filter(|(class, _)| of.contains(class)).count()
                };
                match step {
                    Step::Push(class, subscription) => {
                        let message = event_of(subscription, number);
                        let room = match class {
                            Class::Reply | Class::Control => true,
                            Class::Event | Class::Invocation => {
                                load(&expected, &[Class::Event, Class::Invocation]) < frames.max(1)
                            }
                            Class::Resumable => load(&expected, &[Class::Resumable]) < (frames / 2).max(1),
                        };
                        let pushed = push(&queue, message, class);
                        prop_assert_eq!(pushed, room, "{:?}", class);
                        if room {
                            expected.push_back((class, (subscription, number)));
                        } else if class == Class::Resumable {
                            let before = expected.len();
                            expected.retain(|(class, (of, _))| *class != Class::Resumable || *of != subscription);
                            let id = SubscriptionId::new(subscription).expect("an id");
                            prop_assert_eq!(queue.forget_events(id), before - expected.len());
                        }
                    }
                    Step::Pop => {
                        let taken = match next(&queue) {
                            Some((Next::Message(message), _)) => Some(id_of(&message)),
                            Some(_) | None => None,
                        };
                        prop_assert_eq!(taken, expected.pop_front().map(|(_, id)| id));
                    }
                }
            }
            let left: Vec<_> = expected.iter().map(|(_, id)| *id).collect();
            let out = std::iter::from_fn(|| match next(&queue) {
                Some((Next::Message(message), _)) => Some(id_of(&message)),
                Some(_) | None => None,
            });
            prop_assert_eq!(out.collect::<Vec<_>>(), left);
            prop_assert_eq!(queue.bytes(), 0, "everything is counted out again");
        }
    }
}
