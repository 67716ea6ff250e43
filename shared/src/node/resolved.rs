//! Where queries lead: what a node has resolved is kept, so that the same text costs little the next time.

use std::{
    any::Any,
    cell::RefCell,
    rc::{Rc, Weak},
};

use super::{Callee, NodeContext, Place};
use crate::path::Path;

/// How many queries a node remembers; beyond them the one that was not used for the longest time goes.
const QUERY_LIMIT: usize = 8;

/// The address of a node as another one sees it, shared by the remotes that come of one query.
pub(super) struct Destination {
    /// Of who calls.
    pub(super) context: NodeContext,
    pub(super) path: Path,
    /// What the remotes have found there: a `Found<F>`.
    found: RefCell<Option<Box<dyn Any>>>,
}

/// The callee as its contract sees it, once it was found in its caller's tree.
pub(super) struct Found<F: ?Sized> {
    /// [`Member::moves`](super::member::Member::moves) at that time.
    moves: u64,
    face: Weak<F>,
    place: Weak<Place>,
}

impl<F: ?Sized> Clone for Found<F> {
    fn clone(&self) -> Self {
        let (face, place) = (self.face.clone(), self.place.clone());
        Self { face, place, ..*self }
    }
}

impl<F: ?Sized> Found<F> {
    /// The callee, if no node has come or gone since.
    #[inline]
    pub(super) fn callee(&self, moves: u64) -> Option<Callee<F>> {
        if self.moves != moves {
            return None;
        }
        Some(Callee {
            face: self.face.upgrade()?,
            place: self.place.upgrade()?,
        })
    }
}

impl Destination {
    pub(super) const fn new(context: NodeContext, path: Path) -> Self {
        let found = RefCell::new(None);
        Self { context, path, found }
    }

    /// What was found here for another remote.
    pub(super) fn found<F: ?Sized + 'static>(&self) -> Option<Found<F>> {
        self.found.borrow().as_ref()?.downcast_ref().cloned()
    }

    /// Remembers it for other remotes.
    pub(super) fn keep<F: ?Sized + 'static>(&self, moves: u64, callee: &Callee<F>) -> Found<F> {
        let (face, place) = (Rc::downgrade(&callee.face), Rc::downgrade(&callee.place));
        let found = Found { moves, face, place };
        *self.found.borrow_mut() = Some(Box::new(found.clone()));
        found
    }
}

/// How long the answer to a query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    /// While the node is where it is: `@` and a base.
    Always,
    /// While [`Member::meanings`](super::member::Member::meanings) is this.
    While(u64),
}

/// The queries that a node has used most recently, the latest first.
#[derive(Default)]
pub(super) struct Resolved(RefCell<Vec<Known>>);

struct Known {
    query: Box<str>,
    /// Fingerprint of the contract, so that each has a face of its own; 0 = none.
    contract: u64,
    stands: Stands,
    destination: Rc<Destination>,
}

impl Resolved {
    /// What a query leads to, if that is known and still true.
    #[inline]
    pub(super) fn find(&self, query: &str, contract: u64, meanings: impl FnOnce() -> u64) -> Option<Rc<Destination>> {
        let mut all = self.0.borrow_mut();
        let at = all.iter().position(|known| known.is(query, contract))?;
        if at > 0 {
            all[..=at].rotate_right(1);
        }
        let known = all.first()?;
        let stands = match known.stands {
            Stands::Always => true,
            Stands::While(then) => then == meanings(),
        };
        stands.then(|| known.destination.clone())
    }

    /// Remembers what a query leads to. `meanings` is of before it was resolved: who resolved it may have changed them.
    pub(super) fn keep(&self, query: &str, contract: u64, meanings: u64, destination: &Rc<Destination>) {
        let stands = if query.starts_with('@') {
            Stands::Always
        } else if destination.context.has_resolvers() {
            // Only a resolver knows how long its answer stands.
            return;
        } else {
            Stands::While(meanings)
        };
        let mut all = self.0.borrow_mut();
        all.retain(|known| !known.is(query, contract));
        all.truncate(QUERY_LIMIT - 1);
        all.reserve_exact(1);
        let (query, destination) = (query.into(), destination.clone());
        all.insert(
            0,
            Known {
                query,
                contract,
                stands,
                destination,
            },
        );
    }
}

impl Known {
    #[inline]
    fn is(&self, query: &str, contract: u64) -> bool {
        self.contract == contract && *self.query == *query
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::local_context;

    /// The queries that are known after each was resolved, in this order.
    fn known(queries: &[&str], again: &str) -> (Resolved, Vec<String>) {
        let (context, resolved) = (local_context(), Resolved::default());
        for query in queries {
            let destination = Destination::new(context.clone(), Path::new("a.b").expect("a path"));
            resolved.keep(query, 1, 0, &Rc::new(destination));
            resolved.find(again, 1, || 0);
        }
        let known = resolved
            .0
            .borrow()
            .iter()
            .map(|known| known.query.to_string())
            .collect();
        (resolved, known)
    }

    #[test]
    fn a_node_remembers_eight_queries_and_forgets_what_it_does_not_use() {
        let all: Vec<String> = (0..100).map(|number| format!("@n{number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let (resolved, kept) = known(&all, "@n0");
        assert_eq!(kept, ["@n0", "@n99", "@n98", "@n97", "@n96", "@n95", "@n94", "@n93"]);
        assert_eq!(resolved.0.borrow().capacity(), QUERY_LIMIT);
    }

    #[test]
    fn only_what_depends_on_the_context_ends_with_its_meaning() {
        let (resolved, _) = known(&["@x", "#x", "a.b"], "");
        let found = |query, contract, meanings| resolved.find(query, contract, || meanings).is_some();
        assert!(found("@x", 1, 0) && found("#x", 1, 0) && found("a.b", 1, 0));
        assert!(found("@x", 1, 1) && !found("#x", 1, 1) && !found("a.b", 1, 1));
        assert!(!found("@x", 2, 0), "another contract has another face");
    }
}
