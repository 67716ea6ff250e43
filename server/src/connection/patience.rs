//! How long a socket may be silent: before it has joined, before it is asked whether it is there, before it counts as gone.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::ConnectionLimits;

/// After the time for joining, for what was sent in time: where a machine slept or was busy, the alarm rings before what
/// came meanwhile was read.
const GRACE: Duration = Duration::from_millis(250);

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// HELLO and what the login needs.
    Join,
    /// The same, the time being over.
    LateJoin,
    /// Anything.
    Word,
    /// Anything, after a ping.
    Answer,
}

/// What to do when the alarm rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// Wait on, until then.
    Wait(Instant),
    /// Ask whether the peer is there, and wait until then.
    Ask(Instant),
    /// The peer has not joined in time.
    TooLate,
    /// The peer has not answered in time.
    Gone,
}

/// A socket's silence. One alarm serves for all of it, so that no frame has to set one.
#[derive(Debug)]
pub(super) struct Patience {
    waits: Waits,
    heard: Instant,
    ping_after: Duration,
    pong_within: Duration,
}

impl Patience {
    /// Begins to wait for HELLO; the first ring is due at the moment returned.
    pub(super) fn new(now: Instant, limits: &ConnectionLimits) -> (Self, Instant) {
        let patience = Self {
            waits: Waits::Join,
            heard: now,
            ping_after: limits.ping_after,
            pong_within: limits.pong_within,
        };
        (patience, now + limits.handshake)
    }

    /// The peer has joined, if that is news: when the next ring is due.
    pub(super) fn joined(&mut self) -> Option<Instant> {
        match self.waits {
            Waits::Join | Waits::LateJoin => {
                self.waits = Waits::Word;
                Some(self.heard + self.ping_after)
            }
            Waits::Word | Waits::Answer => None,
        }
    }

    /// Something came, after a silence that ended at `now`.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        if self.waits == Waits::Answer {
            self.waits = Waits::Word;
        }
    }

    /// The alarm rang.
    pub(super) fn rang(&mut self, now: Instant, has_joined: bool) -> Ring {
        match self.waits {
            Waits::Join | Waits::LateJoin if has_joined => self.waits = Waits::Word,
            Waits::Join => {
                self.waits = Waits::LateJoin;
                return Ring::Wait(now + GRACE);
            }
            Waits::LateJoin => return Ring::TooLate,
            Waits::Answer => return Ring::Gone,
            Waits::Word => {}
        }
        let due = self.heard + self.ping_after;
        if now < due {
            return Ring::Wait(due);
        }
        self.waits = Waits::Answer;
        Ring::Ask(now + self.pong_within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn who_joins_is_asked_only_after_a_silence_and_is_gone_only_after_no_answer() {
        let (limits, start) = (ConnectionLimits::default(), Instant::now());
        let (mut patience, first) = Patience::new(start, &limits);
        assert_eq!(first, at(start, 10));
        patience.heard(at(start, 4));
        assert_eq!(patience.joined(), Some(at(start, 24)));
        assert_eq!(patience.joined(), None);
        assert_eq!(patience.rang(at(start, 24), true), Ring::Ask(at(start, 34)));
        patience.heard(at(start, 30));
        assert_eq!(patience.rang(at(start, 34), true), Ring::Wait(at(start, 50)));
        assert_eq!(patience.rang(at(start, 50), true), Ring::Ask(at(start, 60)));
        assert_eq!(patience.rang(at(start, 60), true), Ring::Gone);
    }

    #[test]
    fn a_join_that_was_not_noticed_counts_when_the_time_is_over() {
        let (limits, start) = (ConnectionLimits::default(), Instant::now());
        let (mut patience, first) = Patience::new(start, &limits);
        patience.heard(at(start, 4));
        assert_eq!(patience.rang(first, true), Ring::Wait(at(start, 24)));
    }

    #[test]
    fn words_without_a_join_buy_no_time() {
        let (limits, start) = (ConnectionLimits::default(), Instant::now());
        let (mut patience, first) = Patience::new(start, &limits);
        patience.heard(at(start, 9));
        assert_eq!(patience.rang(first, false), Ring::Wait(first + GRACE));
        patience.heard(first);
        assert_eq!(patience.rang(first + GRACE, false), Ring::TooLate);
    }
}
