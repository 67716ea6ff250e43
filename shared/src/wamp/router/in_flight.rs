//! What is in flight under numbers that nearly always grow: a ring in the order of the numbers.

use std::collections::VecDeque;

use crate::wamp::id::RequestId;

/// Places that a ring may have for each item before those of the items that are gone are given up.
const SPARE: usize = 2;
/// Places that an empty ring keeps.
const KEPT: usize = 16;

/// A map from requests to what is known of them. Adding the newest and finding one cost the same however many there are;
/// what was answered out of order leaves a gap, and there are never more gaps than items by much. Whoever never had
/// anything in flight, as most sessions, has no ring.
#[derive(Debug)]
pub(super) struct InOrder<T>(Option<Box<Ring<T>>>);

#[derive(Debug)]
struct Ring<T> {
    /// Ascending. None = gone; never at the front.
    places: VecDeque<(RequestId, Option<T>)>,
    len: usize,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> InOrder<T> {
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |ring| ring.len)
    }

    pub(super) fn get(&self, request: RequestId) -> Option<&T> {
        let ring = self.0.as_deref()?;
        let place = ring.find(request).ok()?;
        ring.places.get(place)?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, request: RequestId) -> Option<&mut T> {
        let ring = self.0.as_deref_mut()?;
        let place = ring.find(request).ok()?;
        ring.places.get_mut(place)?.1.as_mut()
    }

    /// Adds what is not there yet.
    pub(super) fn insert(&mut self, request: RequestId, item: T) {
        let ring = self.0.get_or_insert_with(|| {
            Box::new(Ring {
                places: VecDeque::new(),
                len: 0,
            })
        });
        ring.len += 1;
        match ring.find(request) {
            Ok(place) => {
                let former = ring.places.get_mut(place).and_then(|(_, slot)| slot.replace(item));
                ring.len -= usize::from(former.is_some());
            }
            Err(place) if place == ring.places.len() => ring.places.push_back((request, Some(item))),
            Err(place) => ring.places.insert(place, (request, Some(item))),
        }
    }

    pub(super) fn remove(&mut self, request: RequestId) -> Option<T> {
        let ring = self.0.as_deref_mut()?;
        let place = ring.find(request).ok()?;
        let item = ring.places.get_mut(place)?.1.take()?;
        ring.len -= 1;
        while ring.places.front().is_some_and(|(_, item)| item.is_none()) {
            ring.places.pop_front();
        }
        if ring.places.len() > SPARE * ring.len + KEPT {
            ring.places.retain(|(_, item)| item.is_some());
        }
        if ring.places.is_empty() {
            ring.places.shrink_to(KEPT);
        }
        Some(item)
    }

    /// In the order of the numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (RequestId, &T)> {
        let places = self.0.iter().flat_map(|ring| &ring.places);
        places.filter_map(|(request, item)| Some((*request, item.as_ref()?)))
    }
}

impl<T> Ring<T> {
    /// Where a number is, or would be.
    fn find(&self, request: RequestId) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.places.front(), self.places.back()) else {
            return Err(0);
        };
        if *last < request {
            return Err(self.places.len());
        }
        // Mostly none is left out.
        let guess = usize::try_from(request.get().wrapping_sub(first.get())).unwrap_or(usize::MAX);
        if self.places.get(guess).is_some_and(|(number, _)| *number == request) {
            return Ok(guess);
        }
        self.places.binary_search_by_key(&request, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn request(number: u64) -> RequestId {
        RequestId::wrapped(number)
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// So far above the highest number until now.
        Next(u64),
        Insert(u64),
        /// The item at this place in the order of numbers.
        Remove(prop::sample::Index),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1_u64..3).prop_map(Step::Next),
            1 => (1_u64..40).prop_map(Step::Insert),
            4 => any::<prop::sample::Index>().prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn it_is_a_map_whose_gaps_are_bounded(steps in prop::collection::vec(step(), 0..200)) {
            let (mut ours, mut theirs, mut highest) = (InOrder::default(), BTreeMap::new(), 0);
            for (turn, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Next(_) | Step::Insert(_) => {
                        let number = match step {
                            Step::Next(more) => highest + more,
                            Step::Insert(number) => number,
                            Step::Remove(_) => continue,
                        };
                        highest = highest.max(number);
                        ours.insert(request(number), turn);
                        theirs.insert(request(number), turn);
                    }
                    Step::Remove(index) if !theirs.is_empty() => {
                        let number = *index.get(&theirs.keys().copied().collect::<Vec<_>>());
                        prop_assert_eq!(ours.remove(number), theirs.remove(&number));
                        prop_assert_eq!(ours.remove(number), None);
                    }
                    Step::Remove(_) => prop_assert_eq!(ours.remove(request(1)), None),
                }
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert!(ours.iter().eq(theirs.iter().map(|(number, item)| (*number, item))));
                for number in (1..45).map(request) {
                    prop_assert_eq!(ours.get(number), theirs.get(&number));
                    prop_assert_eq!(ours.get_mut(number), theirs.get_mut(&number));
                }
                let places = ours.0.as_ref().map_or(0, |ring| ring.places.len());
                prop_assert!(places <= SPARE * theirs.len() + KEPT);
            }
        }
    }
}
