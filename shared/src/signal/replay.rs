//! The last events of a signal for those who connect later, and how a listener puts them before what it hears live.
//!
//! In one tree nothing can happen between the past and the present: the past is delivered, then the handler is
//! connected. Across the wire a listener subscribes, asks the node for the past, and holds back what arrives meanwhile.
//! Each event has a name, so that one which is in the past and also arrived is taken for what it is. The names of those
//! that the owner fires are numbered: what nobody heard, as the owner had no link, never comes after what was heard since.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use super::{Parcel, SignalPort};
use crate::node::fault::{self, Fault};

/// How many events a signal may keep. All of them must fit into one message.
pub const REPLAY_LIMIT: usize = 256;

/// How many bytes of events from other sessions a signal keeps.
const BYTES_LIMIT: usize = 256 << 10;

/// How long the name of an event may be; a longer one counts for nothing.
pub(crate) const NAME_LIMIT: usize = 64;

/// How many events a listener holds back while it waits for the past; with one more it goes without.
pub(crate) const HELD_LIMIT: usize = 1_024;

/// The last events of a signal.
#[derive(Default)]
pub(super) struct History {
    most: usize,
    last: u64,
    /// What the names of the owner's events begin with.
    life: Option<String>,
    bytes: usize,
    events: VecDeque<(u64, Parcel)>,
}

impl History {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.min(REPLAY_LIMIT),
            ..Self::default()
        }
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.most > 0
    }

    /// The name of the event that its owner fires next.
    pub(super) fn next_name(&mut self, new_life: impl FnOnce() -> String) -> String {
        let life = self.life.get_or_insert_with(new_life);
        format!("{life}.{}", self.last + 1)
    }

    /// Keeps an event; answers those that it pushes out.
    pub(super) fn keep(&mut self, parcel: &Parcel) -> Vec<(u64, Parcel)> {
        if !self.is_kept() {
            return Vec::new();
        }
        self.last += 1;
        self.bytes += parcel.wire_size();
        self.events.push_back((self.last, parcel.detached()));
        let mut forgotten = Vec::new();
        while self.events.len() > self.most || self.bytes > BYTES_LIMIT {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.1.wire_size();
            forgotten.push(oldest);
        }
        forgotten
    }

    pub(super) fn after(&self, position: u64) -> Option<(u64, Parcel)> {
        self.events.iter().find(|(known, _)| *known > position).cloned()
    }

    pub(super) fn forget(&mut self) -> VecDeque<(u64, Parcel)> {
        self.bytes = 0;
        std::mem::take(&mut self.events)
    }
}

/// Delivers what a signal keeps, and what is added while that goes on.
pub(crate) fn catch_up(signal: &dyn SignalPort, deliver: impl Fn(&Parcel)) {
    let mut position = 0;
    while let Some((next, parcel)) = signal.kept_after(position) {
        position = next;
        deliver(&parcel);
    }
}

/// An event with its name, if it has one.
pub(crate) type Named<E> = (Option<Rc<str>>, E);

/// What happens to a [`Latecomer`].
pub(crate) enum Input<E> {
    /// It asks for the past, for the so-manieth time.
    Asks(u64),
    /// An event arrived.
    Live(Named<E>),
    /// The answer to its question of that number.
    Told(u64, Vec<Named<E>>),
    /// There is no answer to it.
    Refused(u64),
}

/// A listener that puts the past before the present. It remembers the names of what it had lately, and so can ask again
/// after a lost link.
pub(crate) struct Latecomer<E> {
    /// The question that is open.
    asked: Option<u64>,
    /// What was held back while an earlier question was open.
    earlier: Vec<Named<E>>,
    /// What was held back since.
    held: Vec<Named<E>>,
    had: BTreeSet<Rc<str>>,
    order: VecDeque<Rc<str>>,
    /// The newest of the owner's events that it had: life, and number.
    newest: Option<(Rc<str>, u64)>,
}

impl<E> Latecomer<E> {
    pub(crate) fn new() -> Self {
        Self {
            asked: None,
            earlier: Vec::new(),
            held: Vec::new(),
            had: BTreeSet::new(),
            order: VecDeque::new(),
            newest: None,
        }
    }

    /// Takes note of what happened; answers the events to deliver now, in order.
    pub(crate) fn handle(&mut self, input: Input<E>) -> Vec<E> {
        match input {
            Input::Asks(number) => {
                self.asked = Some(number);
                self.earlier.append(&mut self.held);
                Vec::new()
            }
            Input::Live(event) => {
                self.held.push(event);
                if self.asked.is_some() && self.earlier.len() + self.held.len() <= HELD_LIMIT {
                    return Vec::new();
                }
                self.release(Vec::new())
            }
            Input::Told(number, mut past) if self.asked == Some(number) => {
                if fault::is(Fault::ReplayDropsHeld) {
                    self.held.clear();
                }
                // What was held back arrived after we had subscribed; what of the past is not among it came before.
                let held = names(&self.held);
                past.retain(|event| !is_among(&held, event));
                // With an earlier link that holds no more: there the past knows the order.
                let told = names(&past);
                self.earlier.retain(|event| !is_among(&told, event));
                self.release(past)
            }
            Input::Refused(number) if self.asked == Some(number) => self.release(Vec::new()),
            Input::Told(..) | Input::Refused(_) => Vec::new(),
        }
    }

    /// Ends the waiting: the past among what was held back, without what was delivered before.
    fn release(&mut self, past: Vec<Named<E>>) -> Vec<E> {
        self.asked = None;
        let (earlier, held) = (std::mem::take(&mut self.earlier), std::mem::take(&mut self.held));
        let fresh = earlier.into_iter().chain(past).chain(held).collect();
        in_order(fresh)
            .filter(|(name, _)| name.as_ref().is_none_or(|name| self.is_new(name)))
            .map(|(_, event)| event)
            .collect()
    }

    fn is_new(&mut self, name: &Rc<str>) -> bool {
        if fault::is(Fault::ReplayDoubles) {
            return true;
        }
        if let Some((life, number)) = numbered(name) {
            let newest = self.newest.as_ref().filter(|(known, _)| **known == *life);
            if newest.is_some_and(|(_, newest)| number <= *newest) {
                return false;
            }
            self.newest = Some((life.into(), number));
        }
        if !self.had.insert(name.clone()) {
            return false;
        }
        self.order.push_back(name.clone());
        if self.order.len() > 2 * REPLAY_LIMIT
            && let Some(oldest) = self.order.pop_front()
        {
            self.had.remove(&oldest);
        }
        true
    }
}

/// Life and number, if an owner gave the name.
fn numbered(name: &str) -> Option<(&str, u64)> {
    let (life, number) = name.rsplit_once('.')?;
    Some((life, number.parse().ok()?))
}

/// The same events, those of each life of the owner in the order in which it fired them.
fn in_order<E>(events: Vec<Named<E>>) -> impl Iterator<Item = Named<E>> {
    let mut places: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for (place, (name, _)) in events.iter().enumerate() {
        if let Some((life, number)) = name.as_deref().and_then(numbered) {
            places.entry(life.to_owned()).or_default().push((number, place));
        }
    }
    let mut order: Vec<usize> = (0..events.len()).collect();
    for places in places.into_values() {
        let mut sorted = places.clone();
        sorted.sort_unstable();
        for ((_, to), (_, from)) in places.into_iter().zip(sorted) {
            order[to] = from;
        }
    }
    let mut events: Vec<_> = events.into_iter().map(Some).collect();
    order.into_iter().filter_map(move |place| events[place].take())
}

fn names<E>(events: &[Named<E>]) -> BTreeSet<Rc<str>> {
    events.iter().filter_map(|(name, _)| name.clone()).collect()
}

fn is_among<E>(names: &BTreeSet<Rc<str>>, (name, _): &Named<E>) -> bool {
    !fault::is(Fault::ReplayDoubles) && name.as_ref().is_some_and(|name| names.contains(name))
}

#[cfg(test)]
mod tests;
