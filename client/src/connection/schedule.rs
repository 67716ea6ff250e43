//! When to connect, when to ask whether the link still lives, when to give it up: a pure state machine.

use std::time::Duration;

/// The figures of reconnecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The second attempt comes within this; each further one within twice the time of the one before.
    pub first_delay: Duration,
    /// No delay is longer.
    pub longest_delay: Duration,
    /// How long an attempt to open and join may take.
    pub open_deadline: Duration,
    /// Time between two questions whether the other side is there, while the page is in sight.
    pub ping_interval: Duration,
    /// The same while the page is hidden.
    pub hidden_interval: Duration,
    /// The shortest time to wait for the answer.
    pub shortest_deadline: Duration,
    /// The longest time to wait for the answer.
    pub longest_deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(200),
            longest_delay: Duration::from_secs(10),
            open_deadline: Duration::from_secs(8),
            ping_interval: Duration::from_secs(2),
            hidden_interval: Duration::from_secs(20),
            shortest_deadline: Duration::from_secs(1),
            longest_deadline: Duration::from_secs(5),
        }
    }
}

/// What the user is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Not joined yet, or joining again.
    #[default]
    Connecting,
    /// Joined; what is on the screen is live.
    Live,
    /// The browser says that there is no network.
    Offline,
    /// Ended for good: logged out, outdated, or left.
    Ended,
}

/// Something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Begin.
    Start,
    /// The attempt of this number has joined.
    Joined(u64),
    /// The attempt of this number failed, or its link is gone; `retry_after` if the other side named a time.
    Lost {
        /// Which attempt.
        attempt: u64,
        /// What the other side asked for.
        retry_after: Option<Duration>,
    },
    /// The browser has a network again.
    Online,
    /// The browser has none.
    Offline,
    /// The page is in sight again, or the machine woke up.
    Visible,
    /// The page is hidden.
    Hidden,
    /// The question of this number was answered after this time.
    Answered {
        /// Which question.
        ping: u64,
        /// Round trip.
        after: Duration,
    },
    /// The timer of this number has run out.
    Timer(u64),
    /// There is no point in going on.
    End,
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a link and join; report under this number.
    Connect(u64),
    /// Drop the link or attempt of this number; nothing of it is to be reported any more.
    Drop(u64),
    /// Ask the other side for any answer; report under this number.
    Ping(u64),
    /// Report [`Input::Timer`] with this number after this time. An older number need not be reported any more.
    Arm(u64, Duration),
    /// Tell the user.
    Show(LinkState),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Waiting,
    Opening,
    Resting,
    Asking(u64),
    Ended,
}

/// Decides when to connect and when a link is dead.
#[derive(Debug)]
pub struct Schedule {
    timing: Timing,
    phase: Phase,
    attempt: u64,
    failures: u32,
    timer: u64,
    ping: u64,
    round_trip: Duration,
    /// Questions in a row that were not answered in time.
    misses: u32,
    hidden: bool,
    offline: bool,
    shown: Option<LinkState>,
    seed: u64,
}

impl Schedule {
    /// A schedule at rest. `seed` spreads the clients of a server that comes back.
    #[must_use]
    pub fn new(timing: Timing, seed: u64) -> Self {
        Self {
            timing,
            phase: Phase::Idle,
            attempt: 0,
            failures: 0,
            timer: 0,
            ping: 0,
            round_trip: Duration::ZERO,
            misses: 0,
            hidden: false,
            offline: false,
            shown: None,
            seed: seed | 1,
        }
    }

    /// The number of the attempt or link that counts.
    #[must_use]
    pub fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Takes one input; the outputs are to be carried out in order.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.phase == Phase::Ended {
            return outputs;
        }
        match input {
            Input::Start => {
                if self.phase == Phase::Idle {
                    self.connect(&mut outputs);
                }
            }
            Input::Joined(attempt) => {
                if attempt == self.attempt && self.phase == Phase::Opening {
                    self.failures = 0;
                    self.show(LinkState::Live, &mut outputs);
                    self.rest(&mut outputs);
                }
            }
            Input::Lost { attempt, retry_after } => {
                if attempt == self.attempt && !matches!(self.phase, Phase::Waiting | Phase::Idle) {
                    self.lost(retry_after, &mut outputs);
                }
            }
            Input::Online => {
                self.offline = false;
                self.nudge(&mut outputs);
            }
            Input::Offline => {
                self.offline = true;
                self.show(LinkState::Offline, &mut outputs);
                if self.joined() {
                    self.ask(&mut outputs);
                }
            }
            Input::Visible => {
                self.hidden = false;
                self.nudge(&mut outputs);
            }
            Input::Hidden => self.hidden = true,
            Input::Answered { ping, after } => {
                if self.phase == Phase::Asking(ping) {
                    self.learn(after);
                    // Browsers call a machine offline that can well reach its own server.
                    self.offline = false;
                    self.show(LinkState::Live, &mut outputs);
                    self.rest(&mut outputs);
                }
            }
            Input::Timer(timer) => {
                if timer == self.timer {
                    self.timed_out(&mut outputs);
                }
            }
            Input::End => {
                if !matches!(self.phase, Phase::Idle | Phase::Waiting) {
                    outputs.push(Output::Drop(self.attempt));
                }
                self.phase = Phase::Ended;
                self.show(LinkState::Ended, &mut outputs);
            }
        }
        outputs
    }

    fn joined(&self) -> bool {
        matches!(self.phase, Phase::Resting | Phase::Asking(_))
    }

    /// A sign that the network or the user is back: do at once what was waiting for its time.
    fn nudge(&mut self, outputs: &mut Vec<Output>) {
        match self.phase {
            Phase::Waiting => {
                self.failures = 0;
                self.connect(outputs);
            }
            Phase::Resting => self.ask(outputs),
            Phase::Idle | Phase::Opening | Phase::Asking(_) | Phase::Ended => {}
        }
    }

    fn timed_out(&mut self, outputs: &mut Vec<Output>) {
        match self.phase {
            Phase::Waiting => self.connect(outputs),
            Phase::Opening => {
                outputs.push(Output::Drop(self.attempt));
                self.lost(None, outputs);
            }
            Phase::Resting => self.ask(outputs),
            Phase::Asking(_) => {
                // The link is half open. This is news, not a failing server: try again at once, but be more patient
                // with the next link, or a network slower than the deadline would never be trusted.
                self.misses += 1;
                outputs.push(Output::Drop(self.attempt));
                self.connect(outputs);
            }
            Phase::Idle | Phase::Ended => {}
        }
    }

    fn connect(&mut self, outputs: &mut Vec<Output>) {
        self.attempt += 1;
        self.phase = Phase::Opening;
        self.show(
            if self.offline {
                LinkState::Offline
            } else {
                LinkState::Connecting
            },
            outputs,
        );
        outputs.push(Output::Connect(self.attempt));
        self.arm(self.timing.open_deadline, outputs);
    }

    fn lost(&mut self, retry_after: Option<Duration>, outputs: &mut Vec<Output>) {
        let delay = match retry_after {
            // Half to one and a half times what was asked, so that not all come back in the same moment.
            Some(asked) => asked.mul_f64(0.5 + self.fraction()),
            None => {
                let reach = self.timing.first_delay.saturating_mul(1 << self.failures.min(16));
                reach.min(self.timing.longest_delay).mul_f64(self.fraction())
            }
        };
        self.failures += 1;
        self.phase = Phase::Waiting;
        self.show(
            if self.offline {
                LinkState::Offline
            } else {
                LinkState::Connecting
            },
            outputs,
        );
        self.arm(delay, outputs);
    }

    fn rest(&mut self, outputs: &mut Vec<Output>) {
        self.phase = Phase::Resting;
        let interval = if self.hidden {
            self.timing.hidden_interval
        } else {
            self.timing.ping_interval
        };
        self.arm(interval, outputs);
    }

    fn ask(&mut self, outputs: &mut Vec<Output>) {
        self.ping += 1;
        self.phase = Phase::Asking(self.ping);
        outputs.push(Output::Ping(self.ping));
        let patience = self.timing.shortest_deadline * (1 << self.misses.min(3)) + self.round_trip.saturating_mul(4);
        self.arm(patience.min(self.timing.longest_deadline), outputs);
    }

    fn learn(&mut self, after: Duration) {
        self.misses = 0;
        // Quick to become patient, slow to become strict.
        self.round_trip = if after > self.round_trip {
            after
        } else {
            (self.round_trip * 7 + after) / 8
        };
    }

    fn arm(&mut self, delay: Duration, outputs: &mut Vec<Output>) {
        self.timer += 1;
        outputs.push(Output::Arm(self.timer, delay));
    }

    fn show(&mut self, state: LinkState, outputs: &mut Vec<Output>) {
        if self.shown != Some(state) {
            self.shown = Some(state);
            outputs.push(Output::Show(state));
        }
    }

    /// The next number from 0 to 1 (xorshift: jitter needs no secrecy).
    fn fraction(&mut self) -> f64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn armed(outputs: &[Output]) -> (u64, Duration) {
        let found = outputs.iter().rev().find_map(|output| match output {
            Output::Arm(timer, delay) => Some((*timer, *delay)),
            Output::Connect(_) | Output::Drop(_) | Output::Ping(_) | Output::Show(_) => None,
        });
        found.expect("a timer is armed")
    }

    fn live() -> (Schedule, u64) {
        let mut schedule = Schedule::new(Timing::default(), 7);
        schedule.handle(Input::Start);
        let outputs = schedule.handle(Input::Joined(1));
        assert!(outputs.contains(&Output::Show(LinkState::Live)));
        let (timer, _) = armed(&outputs);
        (schedule, timer)
    }

    #[test]
    fn a_half_open_link_is_dropped_and_replaced_at_once() {
        let (mut schedule, timer) = live();
        let asked = schedule.handle(Input::Timer(timer));
        assert!(asked.contains(&Output::Ping(1)));
        let (deadline, patience) = armed(&asked);
        assert!(patience <= Duration::from_secs(1));
        let outputs = schedule.handle(Input::Timer(deadline));
        assert_eq!(
            &outputs[..3],
            [Output::Drop(1), Output::Show(LinkState::Connecting), Output::Connect(2)]
        );
    }

    #[test]
    fn an_answer_in_time_keeps_the_link_and_a_late_one_is_nobodys() {
        let (mut schedule, timer) = live();
        let (deadline, _) = armed(&schedule.handle(Input::Timer(timer)));
        let answered = schedule.handle(Input::Answered {
            ping: 1,
            after: Duration::from_millis(30),
        });
        assert!(
            matches!(answered[..], [Output::Arm(..)]),
            "nothing but the next interval: {answered:?}"
        );
        assert!(
            schedule.handle(Input::Timer(deadline)).is_empty(),
            "the old deadline is void"
        );
        assert!(
            schedule
                .handle(Input::Answered {
                    ping: 1,
                    after: Duration::ZERO
                })
                .is_empty()
        );
    }

    #[test]
    fn a_network_slower_than_the_deadline_is_trusted_in_the_end() {
        let (mut schedule, mut timer) = live();
        for (attempt, milliseconds) in [(2, 1_000), (3, 2_000), (4, 4_000), (5, 5_000)] {
            let (deadline, patience) = armed(&schedule.handle(Input::Timer(timer)));
            assert_eq!(patience, Duration::from_millis(milliseconds));
            schedule.handle(Input::Timer(deadline));
            (timer, _) = armed(&schedule.handle(Input::Joined(attempt)));
        }
    }

    #[test]
    fn a_slow_network_gets_more_patience() {
        let (mut schedule, timer) = live();
        schedule.handle(Input::Timer(timer));
        let (timer, _) = armed(&schedule.handle(Input::Answered {
            ping: 1,
            after: Duration::from_millis(600),
        }));
        let (_, patience) = armed(&schedule.handle(Input::Timer(timer)));
        assert_eq!(patience, Duration::from_millis(1_000 + 2_400));
    }

    #[test]
    fn coming_back_online_or_into_sight_does_not_wait() {
        for sign in [Input::Online, Input::Visible] {
            let (mut schedule, _) = live();
            for _ in 0..8 {
                let attempt = schedule.attempt();
                let (timer, _) = armed(&schedule.handle(Input::Lost {
                    attempt,
                    retry_after: None,
                }));
                schedule.handle(Input::Timer(timer));
            }
            let attempt = schedule.attempt();
            schedule.handle(Input::Lost {
                attempt,
                retry_after: None,
            });
            assert!(
                schedule.handle(sign).contains(&Output::Connect(attempt + 1)),
                "{sign:?} connects at once"
            );
            let (mut schedule, _) = live();
            assert!(
                schedule.handle(sign).contains(&Output::Ping(1)),
                "{sign:?} asks at once"
            );
        }
    }

    #[test]
    fn an_attempt_that_hangs_is_given_up() {
        let mut schedule = Schedule::new(Timing::default(), 7);
        let (timer, delay) = armed(&schedule.handle(Input::Start));
        assert_eq!(delay, Timing::default().open_deadline);
        assert_eq!(schedule.handle(Input::Timer(timer))[0], Output::Drop(1));
    }

    #[test]
    fn reports_of_an_older_attempt_change_nothing() {
        let (mut schedule, timer) = live();
        let (deadline, _) = armed(&schedule.handle(Input::Timer(timer)));
        schedule.handle(Input::Timer(deadline));
        assert!(
            schedule
                .handle(Input::Lost {
                    attempt: 1,
                    retry_after: None
                })
                .is_empty()
        );
        assert!(schedule.handle(Input::Joined(1)).is_empty());
    }

    #[test]
    fn the_end_is_final() {
        let (mut schedule, timer) = live();
        let outputs = schedule.handle(Input::End);
        assert_eq!(outputs, [Output::Drop(1), Output::Show(LinkState::Ended)]);
        assert!(schedule.handle(Input::Timer(timer)).is_empty());
        assert!(schedule.handle(Input::Online).is_empty());
    }

    proptest! {
        #[test]
        fn delays_grow_to_their_limit_with_full_jitter(seed in any::<u64>(), failures in 0..40_u32) {
            let mut schedule = Schedule::new(Timing::default(), seed);
            schedule.handle(Input::Start);
            for failure in 0..=failures {
                let attempt = schedule.attempt();
                let (timer, delay) = armed(&schedule.handle(Input::Lost { attempt, retry_after: None }));
                let reach = Duration::from_millis(200).saturating_mul(1 << failure.min(16)).min(Duration::from_secs(10));
                prop_assert!(delay <= reach, "{delay:?} after failure {failure}");
                prop_assert!(schedule.handle(Input::Timer(timer)).contains(&Output::Connect(attempt + 1)));
            }
        }

        #[test]
        fn a_time_named_by_the_server_is_kept_within_half(seed in any::<u64>(), seconds in 1..60_u64) {
            let mut schedule = Schedule::new(Timing::default(), seed);
            schedule.handle(Input::Start);
            let asked = Duration::from_secs(seconds);
            let (_, delay) = armed(&schedule.handle(Input::Lost { attempt: 1, retry_after: Some(asked) }));
            prop_assert!(delay >= asked / 2 && delay <= asked * 3 / 2);
        }

        #[test]
        fn whatever_happens_a_timer_or_an_end_is_ahead(inputs in prop::collection::vec(0..9_u8, 0..80)) {
            let mut schedule = Schedule::new(Timing::default(), 3);
            let (mut timer, _) = armed(&schedule.handle(Input::Start));
            let mut open = 1_i32;
            for input in inputs {
                let attempt = schedule.attempt();
                let input = match input {
                    0 => Input::Joined(attempt),
                    1 => Input::Lost { attempt, retry_after: None },
                    2 => Input::Online,
                    3 => Input::Offline,
                    4 => Input::Visible,
                    5 => Input::Hidden,
                    6 => Input::Answered { ping: 1, after: Duration::from_millis(5) },
                    _ => Input::Timer(timer),
                };
                let lost = matches!(input, Input::Lost { .. });
                let outputs = schedule.handle(input);
                for output in &outputs {
                    match output {
                        Output::Arm(next, _) => timer = *next,
                        Output::Connect(_) => { prop_assert!(open <= 0 || !lost); open = 1; }
                        Output::Drop(_) => open = 0,
                        Output::Ping(_) | Output::Show(_) => {}
                    }
                }
                // The newest timer always leads on: asking, connecting or giving up.
                let mut copy = Schedule { phase: schedule.phase, ..Schedule::new(Timing::default(), 3) };
                copy.timer = timer;
                prop_assert!(!copy.handle(Input::Timer(timer)).is_empty());
            }
        }
    }
}
