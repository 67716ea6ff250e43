//! A latecomer against a small world of an owner, a router that keeps the order of each link, and somebody else.

use proptest::prelude::*;

use super::*;
use crate::wamp::{codec::CodecId, payload::Payload};

const KEPT: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The owner fires the signal.
    Fire,
    /// The owner fires it while it has no link.
    FireUnheard,
    /// Somebody else fires it.
    FireElsewhere,
    /// The owner's next message reaches the router, the router's next one the owner, and so on.
    FromOwner,
    ToOwner,
    FromListener,
    ToListener,
    /// The listener's link is lost, and there is another.
    Lose,
}

#[derive(Clone, Debug)]
enum Message {
    Event(u32),
    Ask(u64),
    Past(u64, Vec<u32>),
    Subscribe,
    Subscribed,
}

struct World {
    fired: u32,
    log: VecDeque<u32>,
    from_owner: VecDeque<Message>,
    to_owner: VecDeque<Message>,
    from_listener: VecDeque<Message>,
    to_listener: VecDeque<Message>,
    subscribed: bool,
    /// What the listener must get: all that the router saw while it was subscribed, and the past as it was told.
    due: BTreeSet<u32>,
    link: u64,
    listener: Latecomer<u32>,
    got: Vec<u32>,
}

/// Events of others than the owner have numbers from here on.
const OTHERS: u32 = 1_000;

fn named(event: u32) -> Named<u32> {
    let name = if event < OTHERS {
        format!("life.{event}")
    } else {
        event.to_string()
    };
    (Some(name.into()), event)
}

impl World {
    fn new() -> Self {
        Self {
            fired: 0,
            log: VecDeque::new(),
            from_owner: VecDeque::new(),
            to_owner: VecDeque::new(),
            from_listener: VecDeque::new(),
            to_listener: VecDeque::new(),
            subscribed: false,
            due: BTreeSet::new(),
            link: 0,
            listener: Latecomer::new(),
            got: Vec::new(),
        }
    }

    fn keep(&mut self, event: u32) {
        self.log.push_back(event);
        if self.log.len() > KEPT {
            self.log.pop_front();
        }
    }

    fn route(&mut self, event: u32) {
        if self.subscribed {
            self.due.insert(event);
            self.to_listener.push_back(Message::Event(event));
        }
    }

    fn join(&mut self) {
        self.link += 1;
        self.listener.handle(Input::Asks(self.link));
        self.from_listener.push_back(Message::Subscribe);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Fire => {
                self.fired += 1;
                self.keep(self.fired);
                self.from_owner.push_back(Message::Event(self.fired));
            }
            Step::FireUnheard => {
                self.fired += 1;
                self.keep(self.fired);
            }
            Step::FireElsewhere => {
                self.fired += 1;
                let event = OTHERS + self.fired;
                self.to_owner.push_back(Message::Event(event));
                self.route(event);
            }
            Step::FromOwner => match self.from_owner.pop_front() {
                Some(Message::Event(event)) => self.route(event),
                Some(Message::Past(link, past)) if link == self.link => {
                    self.due.extend(&past);
                    self.to_listener.push_back(Message::Past(link, past));
                }
                _ => {}
            },
            Step::ToOwner => match self.to_owner.pop_front() {
                Some(Message::Event(event)) => self.keep(event),
                Some(Message::Ask(link)) => {
                    let past = self.log.iter().copied().collect();
                    self.from_owner.push_back(Message::Past(link, past));
                }
                _ => {}
            },
            Step::FromListener => match self.from_listener.pop_front() {
                Some(Message::Subscribe) => {
                    self.subscribed = true;
                    self.to_listener.push_back(Message::Subscribed);
                }
                Some(message) => self.to_owner.push_back(message),
                None => {}
            },
            Step::ToListener => {
                let input = match self.to_listener.pop_front() {
                    Some(Message::Subscribed) => {
                        self.from_listener.push_back(Message::Ask(self.link));
                        return;
                    }
                    Some(Message::Event(event)) => Input::Live(named(event)),
                    Some(Message::Past(link, past)) => Input::Told(link, past.into_iter().map(named).collect()),
                    Some(Message::Ask(_) | Message::Subscribe) | None => return,
                };
                let now = self.listener.handle(input);
                self.got.extend(now);
            }
            Step::Lose => {
                let lost: Vec<u32> = (self.to_listener.drain(..))
                    .flat_map(|message| match message {
                        Message::Event(event) => vec![event],
                        Message::Past(_, past) => past,
                        Message::Ask(_) | Message::Subscribe | Message::Subscribed => Vec::new(),
                    })
                    .collect();
                // What is lost with a link is due only if it is still in the past later.
                self.due
                    .retain(|event| self.got.contains(event) || !lost.contains(event));
                self.from_listener.clear();
                self.subscribed = false;
                let old = self.link;
                self.join();
                let given_up = self.listener.handle(Input::Refused(old));
                assert!(given_up.is_empty(), "an answer to an old question counts for nothing");
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            for step in [Step::FromOwner, Step::ToOwner, Step::FromListener, Step::ToListener] {
                self.step(step);
            }
        }
    }
}

fn steps(special: Step) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::Fire),
        2 => Just(special),
        3 => Just(Step::FromOwner),
        3 => Just(Step::ToOwner),
        3 => Just(Step::FromListener),
        3 => Just(Step::ToListener),
        1 => Just(Step::Lose),
    ];
    proptest::collection::vec(step, 0..120)
}

fn run(before: u8, steps: &[Step]) -> World {
    let mut world = World::new();
    for _ in 0..before {
        world.step(Step::Fire);
    }
    world.join();
    steps.iter().for_each(|step| world.step(*step));
    world.settle();
    world
}

proptest! {
    #[test]
    fn every_event_that_is_due_comes_once_whoever_fires_it(before in 0..6_u8, steps in steps(Step::FireElsewhere)) {
        let world = run(before, &steps);
        let got: BTreeSet<u32> = world.got.iter().copied().collect();
        prop_assert_eq!(got.len(), world.got.len(), "no repeat: {:?}", world.got);
        prop_assert!(got.is_superset(&world.due), "no gap: got {:?}, due {:?}", world.got, world.due);
    }

    #[test]
    fn what_one_owner_fires_comes_in_order(before in 0..6_u8, steps in steps(Step::Fire)) {
        let world = run(before, &steps);
        prop_assert!(world.got.is_sorted(), "{:?}", world.got);
        let last: Vec<u32> = world.log.iter().copied().collect();
        prop_assert!(world.got.ends_with(&last), "at least the last {KEPT}: {:?}", world.got);
    }

    #[test]
    fn what_the_owner_fired_unheard_never_comes_after_what_was_heard_since(before in 0..6_u8, steps in steps(Step::FireUnheard)) {
        let world = run(before, &steps);
        prop_assert!(world.got.is_sorted_by(|one, next| one < next), "{:?}", world.got);
    }
}

#[test]
fn who_gets_no_answer_goes_without_the_past_but_loses_nothing_live() {
    let mut listener = Latecomer::new();
    listener.handle(Input::Asks(1));
    assert!(listener.handle(Input::Live(named(1))).is_empty());
    assert!(listener.handle(Input::Refused(0)).is_empty());
    assert_eq!(listener.handle(Input::Refused(1)), [1]);
    assert_eq!(listener.handle(Input::Live(named(2))), [2]);
    let late = listener.handle(Input::Told(1, vec![named(0)]));
    assert!(late.is_empty(), "an answer after all would come out of order");
}

#[test]
fn no_more_is_held_back_than_the_limit() {
    let mut listener = Latecomer::new();
    listener.handle(Input::Asks(1));
    let most = u32::try_from(HELD_LIMIT).expect("small");
    for event in 0..most {
        assert!(listener.handle(Input::Live(named(event))).is_empty());
    }
    assert_eq!(listener.handle(Input::Live(named(most))).len(), HELD_LIMIT + 1);
}

#[test]
fn events_of_others_push_older_ones_out_by_their_bytes() {
    let event = |bytes: usize| {
        let text = "x".repeat(bytes);
        Parcel::wire(Payload::encode(CodecId::Msgpack, &(text,)).expect("a text"))
    };
    let mut history = History::new(REPLAY_LIMIT);
    for _ in 0..10 {
        history.keep(&event(BYTES_LIMIT / 4));
    }
    assert_eq!(history.events.len(), 3);
    history.keep(&event(BYTES_LIMIT));
    assert!(history.events.is_empty(), "too big to be kept");
    assert_eq!(history.bytes, 0);
    for _ in 0..2 * REPLAY_LIMIT {
        history.keep(&Parcel::local(1));
    }
    assert_eq!(history.events.len(), REPLAY_LIMIT);
}
