//! Writers that have something to write, woken together once the message or the burst of messages is through.

use std::task::Waker;

/// Wakes of writers that are put off until this is flushed or dropped: none is ever lost.
///
/// A reader that finds several messages in its buffer hands all of them on before it wakes anybody. So a writer finds
/// them all and sends them by one system call, instead of being woken, by a lock and perhaps another processor, for each.
#[derive(Debug, Default)]
pub(crate) struct Wakes(Vec<Waker>);

impl Wakes {
    pub(super) fn add(&mut self, writer: Waker) {
        self.0.push(writer);
    }

    /// Takes over the wakes of another one.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.0.append(&mut other.0);
    }

    /// Wakes everybody. Not under a lock that one of them may need.
    pub(crate) fn flush(&mut self) {
        for writer in self.0.drain(..) {
            writer.wake();
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Wake},
    };

    use shared::wamp::{
        Message,
        router::{Class, Outgoing},
    };

    use super::*;
    use crate::{config::QueueLimits, router::queue::Outbound};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_writer_is_woken_once_for_a_burst_when_that_is_flushed_or_lost() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let queue = Outbound::new(QueueLimits::default());
        let times = || woken.0.load(Ordering::Relaxed);
        for round in 0..2 {
            let mut wakes = Wakes::default();
            let mut filled = pin!(queue.filled());
            assert!(filled.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            for _ in 0..3 {
                let message = Arc::new(Outgoing::new(Message::abort("why", "because")));
                queue.push(message, Class::Control, &mut wakes).expect("room");
            }
            assert_eq!(times(), round, "not before the burst is over");
            if round == 0 {
                wakes.flush();
            }
            drop(wakes);
            assert_eq!(times(), round + 1);
            queue.take(&mut Vec::new());
        }
    }
}
