//! A replica against an owner that lives several times, over a medium that drops, doubles and mixes up.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Change,
    /// The owner's life ends, with or without a farewell, and another begins.
    Restart(bool),
    /// A session that the owner once had is over.
    Obituary,
    /// The so-manieth update under way arrives, is doubled, or is lost.
    Deliver(usize),
    Double(usize),
    Drop(usize),
    /// The so-manieth question is answered, or fails.
    Answer(usize),
    Fail(usize, ErrorKind),
    Lose,
    Wait,
}

struct World {
    life: u32,
    version: u64,
    value: u32,
    had: BTreeSet<(u32, u64, u32)>,
    updates: Vec<Update<u32>>,
    questions: Vec<u64>,
    waits: bool,
    replica: Replica<u32>,
    shown: Vec<u32>,
    status: MirrorStatus,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            life: 0,
            version: 0,
            value: 0,
            had: BTreeSet::new(),
            updates: Vec::new(),
            questions: Vec::new(),
            waits: false,
            replica: Replica::new(),
            shown: Vec::new(),
            status: MirrorStatus::Loading,
        };
        world.change();
        world.input(Input::Attached);
        world
    }

    fn current(&self) -> Update<u32> {
        Update(self.life.to_string(), self.version, vec![self.value])
    }

    fn change(&mut self) {
        self.version += 1;
        // Values only grow, so that going back would show.
        self.value += 1;
        self.had.insert((self.life, self.version, self.value));
        self.updates.push(self.current());
    }

    fn input(&mut self, input: Input<u32>) {
        for output in self.replica.handle(input) {
            match output {
                Output::Ask(number) => self.questions.push(number),
                Output::Show(value) => self.shown.push(value),
                Output::Status(status) => self.status = status,
                Output::Wait => self.waits = true,
            }
        }
    }

    fn step(&mut self, step: Step) {
        let pick = |index: usize, all: usize| (all > 0).then(|| index % all);
        match step {
            Step::Change => self.change(),
            Step::Restart(farewell) => {
                if farewell {
                    self.updates.push(Update(self.life.to_string(), self.version, vec![]));
                }
                self.life += 1;
                self.version = 0;
                self.change();
            }
            Step::Obituary => self.updates.push(Update(String::new(), 0, vec![])),
            Step::Deliver(index) => {
                if let Some(index) = pick(index, self.updates.len()) {
                    let update = self.updates.remove(index);
                    self.input(Input::Update(update));
                }
            }
            Step::Double(index) => {
                if let Some(index) = pick(index, self.updates.len()) {
                    self.updates.push(self.updates[index].clone());
                }
            }
            Step::Drop(index) => {
                if let Some(index) = pick(index, self.updates.len()) {
                    self.updates.remove(index);
                }
            }
            Step::Answer(index) => {
                if let Some(index) = pick(index, self.questions.len()) {
                    let number = self.questions.remove(index);
                    self.input(Input::Answer(number, Ok(self.current())));
                }
            }
            Step::Fail(index, kind) => {
                if let Some(index) = pick(index, self.questions.len()) {
                    let number = self.questions.remove(index);
                    self.input(Input::Answer(number, Err(kind)));
                }
            }
            Step::Lose => {
                self.input(Input::Detached);
                assert_eq!(self.status, MirrorStatus::Lost(ErrorKind::Disconnected));
                self.updates.clear();
                self.input(Input::Attached);
            }
            Step::Wait => {
                if std::mem::take(&mut self.waits) {
                    self.input(Input::Waited);
                }
            }
        }
    }

    /// One more change, and everything arrives.
    fn settle(&mut self) {
        self.change();
        for _ in 0..10_000 {
            self.step(Step::Deliver(0));
            self.step(Step::Answer(0));
            self.step(Step::Wait);
            if self.updates.is_empty() && self.questions.is_empty() {
                return;
            }
        }
        panic!("it asks for ever");
    }
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(ErrorKind::Timeout),
        Just(ErrorKind::NoSuchProcedure),
        Just(ErrorKind::Internal),
    ];
    prop_oneof![
        6 => Just(Step::Change),
        1 => any::<bool>().prop_map(Step::Restart),
        1 => Just(Step::Obituary),
        6 => any::<usize>().prop_map(Step::Deliver),
        1 => any::<usize>().prop_map(Step::Double),
        1 => any::<usize>().prop_map(Step::Drop),
        4 => any::<usize>().prop_map(Step::Answer),
        1 => (any::<usize>(), kind).prop_map(|(index, kind)| Step::Fail(index, kind)),
        1 => Just(Step::Lose),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_is_lost_doubled_or_late_the_replica_ends_at_what_the_owner_has(
        steps in proptest::collection::vec(step(), 0..150)
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            let known: BTreeSet<u32> = world.had.iter().map(|(_, _, value)| *value).collect();
            prop_assert!(world.shown.iter().all(|value| known.contains(value)), "only what the owner had");
            prop_assert!(world.shown.is_sorted(), "never back: {:?}", world.shown);
            prop_assert!(world.replica.early.len() <= EARLY_LIMIT);
        }
        world.settle();
        prop_assert_eq!(world.status, MirrorStatus::Live);
        prop_assert_eq!(world.shown.last(), Some(&world.value));
    }
}

#[test]
fn one_change_after_the_other_is_shown_without_asking_again() {
    let mut world = World::new();
    world.step(Step::Answer(0));
    world.updates.clear();
    for _ in 0..5 {
        world.step(Step::Change);
        world.step(Step::Deliver(0));
    }
    assert_eq!((world.shown.len(), world.questions.len()), (6, 0));
}

#[test]
fn an_owner_that_ends_is_lost_and_found_when_it_speaks_again() {
    let mut world = World::new();
    world.step(Step::Answer(0));
    world.step(Step::Restart(true));
    world.updates.remove(0);
    world.step(Step::Deliver(0));
    assert_eq!(world.status, MirrorStatus::Lost(ErrorKind::NoSuchProcedure));
    world.step(Step::Deliver(0));
    assert_eq!(world.status, MirrorStatus::Loading);
    world.step(Step::Answer(0));
    assert_eq!((world.status, world.shown.last()), (MirrorStatus::Live, Some(&2)));
}

#[test]
fn only_an_owner_that_was_late_is_asked_again_by_the_clock() {
    for (kind, waits) in [
        (ErrorKind::Timeout, true),
        (ErrorKind::NoSuchProcedure, false),
        (ErrorKind::InvalidArgument, false),
    ] {
        let mut world = World::new();
        world.step(Step::Fail(0, kind));
        assert_eq!((world.status, world.waits), (MirrorStatus::Lost(kind), waits));
        world.step(Step::Wait);
        assert_eq!(world.questions.len(), usize::from(waits));
    }
}
