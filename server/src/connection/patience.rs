//! How long a socket may be silent: before it has joined, before it is asked whether it is there, before it counts as gone.
//!
//! A time after which a socket is given up is waited for in parts. Where the whole machine stands still for a while, that
//! takes one part, not all of them: what came meanwhile, and what the peer has yet to do, still count.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::ConnectionLimits;

/// Parts of a time after which a socket is given up. One more follows, for what came at the last moment.
const PARTS: u32 = 20;

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// HELLO and what the login needs, for so many parts more.
    Join(u32),
    /// Anything.
    Word,
    /// Anything, after a ping, for so many parts more.
    Answer(u32),
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
    handshake: Duration,
}

impl Patience {
    /// Begins to wait for HELLO; the first ring is due at the moment returned.
    pub(super) fn new(now: Instant, limits: &ConnectionLimits) -> (Self, Instant) {
        let patience = Self {
            waits: Waits::Join(PARTS),
            heard: now,
            ping_after: limits.ping_after,
            pong_within: limits.pong_within,
            handshake: limits.handshake,
        };
        (patience, now + limits.handshake / PARTS)
    }

    /// The peer has joined, if that is news: when the next ring is due.
    pub(super) fn joined(&mut self) -> Option<Instant> {
        matches!(self.waits, Waits::Join(_)).then(|| {
            self.waits = Waits::Word;
            self.heard + self.ping_after
        })
    }

    /// Something came, after a silence that ended at `now`.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        if matches!(self.waits, Waits::Answer(_)) {
            self.waits = Waits::Word;
        }
    }

    /// The alarm rang.
    pub(super) fn rang(&mut self, now: Instant, has_joined: bool) -> Ring {
        match self.waits {
            Waits::Join(_) if has_joined => self.waits = Waits::Word,
            Waits::Join(0) => return Ring::TooLate,
            Waits::Join(left) => {
                self.waits = Waits::Join(left - 1);
                return Ring::Wait(now + self.handshake / PARTS);
            }
            Waits::Answer(0) => return Ring::Gone,
            Waits::Answer(left) => {
                self.waits = Waits::Answer(left - 1);
                return Ring::Wait(now + self.pong_within / PARTS);
            }
            Waits::Word => {}
        }
        let due = self.heard + self.ping_after;
        if now < due {
            return Ring::Wait(due);
        }
        self.waits = Waits::Answer(PARTS);
        Ring::Ask(now + self.pong_within / PARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// Rings on time, as long as it only waits: how much later, and what it says then.
    fn rings(patience: &mut Patience, mut now: Instant) -> (Duration, Ring) {
        let begin = now;
        loop {
            match patience.rang(now, false) {
                Ring::Wait(due) => now = due,
                other => return (now - begin, other),
            }
        }
    }

    #[test]
    fn who_joins_is_asked_only_after_a_silence_and_is_gone_only_after_no_answer() {
        let (limits, start) = (ConnectionLimits::default(), Instant::now());
        let (mut patience, _) = Patience::new(start, &limits);
        patience.heard(at(start, 4));
        assert_eq!(patience.joined(), Some(at(start, 24)));
        assert_eq!(patience.joined(), None);
        let soon = limits.pong_within / PARTS;
        assert_eq!(patience.rang(at(start, 24), true), Ring::Ask(at(start, 24) + soon));
        patience.heard(at(start, 30));
        assert_eq!(patience.rang(at(start, 34), true), Ring::Wait(at(start, 50)));
        assert_eq!(patience.rang(at(start, 50), true), Ring::Ask(at(start, 50) + soon));
        assert_eq!(
            rings(&mut patience, at(start, 50) + soon),
            (limits.pong_within, Ring::Gone)
        );
    }

    #[test]
    fn a_join_that_was_not_noticed_counts_when_the_alarm_rings() {
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
        assert_eq!(rings(&mut patience, first), (limits.handshake, Ring::TooLate));
    }

    /// A build beside it, a snapshot of a virtual machine: nothing runs for a minute, at either end.
    #[test]
    fn while_the_machine_stands_still_nobody_is_late() {
        let (limits, start) = (ConnectionLimits::default(), Instant::now());
        let (mut patience, first) = Patience::new(start, &limits);
        let awake = first + Duration::from_secs(60);
        let due = awake + limits.handshake / PARTS;
        assert_eq!(patience.rang(awake, false), Ring::Wait(due));
        let rest = limits.handshake - limits.handshake / PARTS;
        assert_eq!(rings(&mut patience, due), (rest, Ring::TooLate));

        let (mut patience, _) = Patience::new(start, &limits);
        patience.joined();
        assert!(matches!(patience.rang(at(start, 20), true), Ring::Ask(_)));
        assert!(
            matches!(patience.rang(at(start, 80), true), Ring::Wait(_)),
            "no answer was read yet"
        );
    }
}
