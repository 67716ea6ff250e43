//! How many own calls may be in flight; who asks for more waits in line, outside the tree's inbox.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use futures::channel::oneshot;

#[derive(Debug)]
struct State {
    free: usize,
    waiting: VecDeque<oneshot::Sender<Permit>>,
    closed: bool,
}

/// A count of permits for one thread.
#[derive(Clone, Debug)]
pub(super) struct Credit(Rc<RefCell<State>>);

/// The right to have one call in flight; dropping it gives it to the next in line.
#[derive(Debug)]
pub(super) struct Permit(Credit);

impl Credit {
    pub(super) fn new(count: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            free: count,
            waiting: VecDeque::new(),
            closed: false,
        })))
    }

    /// Waits in line for a permit; none once closed. Cancel safe.
    pub(super) async fn acquire(&self) -> Option<Permit> {
        let receiver = {
            let mut state = self.0.borrow_mut();
            if state.closed {
                return None;
            }
            if state.free > 0 {
                state.free -= 1;
                return Some(Permit(self.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        receiver.await.ok()
    }

    /// Sends everybody in line away.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.0.borrow_mut();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let next = {
            let mut state = self.0.0.borrow_mut();
            // Who has gone away in the meantime is passed over here; a permit that crosses with going away comes
            // back by its own drop.
            loop {
                match state.waiting.pop_front() {
                    Some(sender) if sender.is_canceled() => {}
                    Some(sender) => break Some(sender),
                    None => {
                        state.free += 1;
                        break None;
                    }
                }
            }
        };
        if let Some(sender) = next {
            // If the receiver is gone after all, the returned permit is dropped and tries the next in line.
            drop(sender.send(Permit(self.0.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ready<T>(future: impl Future<Output = T>) -> T {
        future.now_or_never().expect("nothing to wait for")
    }

    #[test]
    fn permits_go_to_the_next_in_line_who_still_waits() {
        let credit = Credit::new(1);
        let first = ready(credit.acquire());
        assert!(first.is_some());
        let mut gives_up = Box::pin(credit.acquire());
        let mut waits = Box::pin(credit.acquire());
        assert!((&mut gives_up).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        drop(gives_up);
        drop(first);
        let second = waits.now_or_never().flatten();
        assert!(second.is_some());
        drop(second);
        assert!(credit.acquire().now_or_never().flatten().is_some(), "no permit is lost");
    }

    #[test]
    fn a_permit_that_crosses_with_giving_up_comes_back() {
        let credit = Credit::new(1);
        let first = ready(credit.acquire());
        let mut waits = Box::pin(credit.acquire());
        assert!((&mut waits).now_or_never().is_none());
        drop(first);
        drop(waits);
        assert!(credit.acquire().now_or_never().flatten().is_some());
    }

    #[test]
    fn closing_sends_everybody_away() {
        let credit = Credit::new(0);
        let mut waits = Box::pin(credit.acquire());
        assert!((&mut waits).now_or_never().is_none());
        credit.close();
        assert!(waits.now_or_never().is_some_and(|permit| permit.is_none()));
        assert!(ready(credit.acquire()).is_none());
    }
}
