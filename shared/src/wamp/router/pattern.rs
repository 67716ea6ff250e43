//! An index of names and patterns: which of them match a name, and which one wins.

use std::{collections::BTreeMap, ops::Bound};

use crate::wamp::uri::{MatchPolicy, Uri};

/// Values by name or pattern, each policy in a space of its own.
#[derive(Debug)]
pub(super) struct Patterns<V> {
    exact: BTreeMap<Uri, V>,
    prefix: BTreeMap<Uri, V>,
    /// By number of components, which a wildcard fixes.
    wildcard: BTreeMap<usize, BTreeMap<Uri, V>>,
}

impl<V> Default for Patterns<V> {
    fn default() -> Self {
        Self {
            exact: BTreeMap::new(),
            prefix: BTreeMap::new(),
            wildcard: BTreeMap::new(),
        }
    }
}

fn components(name: &str) -> usize {
    name.split('.').count()
}

impl<V: Copy> Patterns<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty() && self.wildcard.is_empty()
    }

    pub(super) fn get(&self, policy: MatchPolicy, uri: &Uri) -> Option<V> {
        match policy {
            MatchPolicy::Exact => self.exact.get(uri),
            MatchPolicy::Prefix => self.prefix.get(uri),
            MatchPolicy::Wildcard => self
                .wildcard
                .get(&components(uri.as_str()))
                .and_then(|same| same.get(uri)),
        }
        .copied()
    }

    pub(super) fn insert(&mut self, policy: MatchPolicy, uri: Uri, value: V) {
        match policy {
            MatchPolicy::Exact => self.exact.insert(uri, value),
            MatchPolicy::Prefix => self.prefix.insert(uri, value),
            MatchPolicy::Wildcard => self
                .wildcard
                .entry(components(uri.as_str()))
                .or_default()
                .insert(uri, value),
        };
    }

    pub(super) fn remove(&mut self, policy: MatchPolicy, uri: &Uri) {
        match policy {
            MatchPolicy::Exact => {
                self.exact.remove(uri);
            }
            MatchPolicy::Prefix => {
                self.prefix.remove(uri);
            }
            MatchPolicy::Wildcard => {
                let count = components(uri.as_str());
                if let Some(same) = self.wildcard.get_mut(&count) {
                    same.remove(uri);
                    if same.is_empty() {
                        self.wildcard.remove(&count);
                    }
                }
            }
        }
    }

    /// Every match: the exact one, then prefixes, longest first, then wildcards.
    pub(super) fn matches<'a>(&'a self, name: &'a str) -> impl Iterator<Item = V> + 'a {
        let exact = self.exact.get(name).into_iter();
        exact
            .chain(self.prefixes(name))
            .chain(self.wildcards(name).map(|(_, value)| value))
            .copied()
    }

    /// The one match that a call goes to: exact, else the longest prefix, else the wildcard whose runs of literal
    /// components are longer, compared run by run.
    pub(super) fn best(&self, name: &str) -> Option<V> {
        self.exact
            .get(name)
            .or_else(|| self.prefixes(name).next())
            .or_else(|| {
                let best = self
                    .wildcards(name)
                    .max_by(|(one, _), (other, _)| runs(one).cmp(runs(other)));
                best.map(|(_, value)| value)
            })
            .copied()
    }

    fn wildcards<'a>(&'a self, name: &'a str) -> Wildcards<'a, V> {
        // Counting the components is left until there is a wildcard at all.
        let same = if self.wildcard.is_empty() {
            None
        } else {
            self.wildcard.get(&components(name))
        };
        Wildcards {
            open: same.map(|_| (String::new(), Some(name))).into_iter().collect(),
            same,
            looked: 0,
        }
    }

    fn prefixes<'a>(&'a self, name: &'a str) -> Prefixes<'a, V> {
        Prefixes {
            map: &self.prefix,
            name,
            end: Some(Bound::Included(name.len())),
        }
    }
}

/// The prefixes of a name in a sorted map, longest first, without trying each length: the greatest key up to the name
/// either is a prefix, or shows how far the next candidate can reach at most.
struct Prefixes<'a, V> {
    map: &'a BTreeMap<Uri, V>,
    name: &'a str,
    /// How much of the name candidates may cover.
    end: Option<Bound<usize>>,
}

impl<'a, V> Iterator for Prefixes<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        while let Some(end) = self.end {
            let upper = match end {
                Bound::Included(length) => Bound::Included(self.name.get(..length)?),
                Bound::Excluded(length) => Bound::Excluded(self.name.get(..length)?),
                Bound::Unbounded => Bound::Unbounded,
            };
            let (key, value) = self.map.range::<str, _>((Bound::Unbounded, upper)).next_back()?;
            let key = key.as_str();
            let mut common = key.bytes().zip(self.name.bytes()).take_while(|(a, b)| a == b).count();
            if common == key.len() {
                self.end = Some(Bound::Excluded(common));
                return Some(value);
            }
            while !self.name.is_char_boundary(common) {
                common -= 1;
            }
            self.end = Some(Bound::Included(common));
        }
        None
    }
}

/// The wildcards that match a name, in a sorted map of those with as many components. Follows the name from left to right
/// and only where there is a pattern that begins like that, so that what others have subscribed to costs nothing.
struct Wildcards<'a, V> {
    same: Option<&'a BTreeMap<Uri, V>>,
    /// Beginnings of patterns that match so far, each with what is left of the name; none = nothing is left.
    open: Vec<(String, Option<&'a str>)>,
    /// How many beginnings were looked for.
    looked: usize,
}

impl<'a, V> Iterator for Wildcards<'a, V> {
    type Item = (&'a str, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        let same = self.same?;
        while let Some((begin, left)) = self.open.pop() {
            let Some(left) = left else {
                match same.get_key_value(begin.as_str()) {
                    Some((pattern, value)) => return Some((pattern.as_str(), value)),
                    None => continue,
                }
            };
            let (component, rest) = match left.split_once('.') {
                Some((component, rest)) => (component, Some(rest)),
                None => (left, None),
            };
            let dot = if rest.is_some() { "." } else { "" };
            let blank = (!component.is_empty()).then_some("");
            for component in [Some(component), blank].into_iter().flatten() {
                let begin = format!("{begin}{component}{dot}");
                self.looked += 1;
                let first = same
                    .range::<str, _>((Bound::Included(begin.as_str()), Bound::Unbounded))
                    .next();
                if first.is_some_and(|(pattern, _)| pattern.as_str().starts_with(&begin)) {
                    self.open.push((begin, rest));
                }
            }
        }
        None
    }
}

/// The lengths of a wildcard's runs of literal components: what is compared on a conflict.
fn runs(pattern: &str) -> impl Iterator<Item = usize> + '_ {
    let mut components = pattern.split('.').peekable();
    std::iter::from_fn(move || {
        components.peek()?;
        Some(
            components
                .by_ref()
                .take_while(|component| !component.is_empty())
                .count(),
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(entries: &[(MatchPolicy, &str)]) -> Patterns<usize> {
        let mut patterns = Patterns::default();
        for (number, (policy, uri)) in entries.iter().enumerate() {
            patterns.insert(*policy, Uri::unchecked(*uri), number);
        }
        patterns
    }

    #[test]
    fn exact_wins_over_the_longest_prefix_which_wins_over_wildcards() {
        use MatchPolicy::{Exact, Prefix, Wildcard};
        let patterns = index(&[
            (Exact, "a1.b2.c3.d4.e55"),
            (Prefix, "a1.b2.c3"),
            (Prefix, "a1.b2.c3.d4"),
            (Wildcard, "a1.b2..d4.e5"),
            (Wildcard, "a1.b2.c33..e5"),
            (Wildcard, "a1.b2..d4.e5..g7"),
            (Wildcard, "a1.b2..d4..f6.g7"),
        ]);
        for (name, winner) in [
            ("a1.b2.c3.d4.e55", Some(0)),
            ("a1.b2.c3.d98.e74", Some(1)),
            ("a1.b2.c3.d4.e325", Some(2)),
            ("a1.b2.c55.d4.e5", Some(3)),
            ("a1.b2.x.d4.e5.x.g7", Some(5)),
            ("a1.b2.x.d4.x.f6.g7", Some(6)),
            ("a1.b2.x.d4.e5.f6.g7", Some(5)),
            ("a2.b2.c2.d2.e2", None),
            // Prefixes are string prefixes, so this is not left to the wildcard 'a1.b2.c33..e5'.
            ("a1.b2.c33.d4.e5", Some(1)),
        ] {
            assert_eq!(patterns.best(name), winner, "{name}");
        }
    }

    #[test]
    fn what_was_removed_matches_no_more() {
        use MatchPolicy::{Exact, Prefix, Wildcard};
        for policy in [Exact, Prefix, Wildcard] {
            let mut patterns = index(&[(policy, "a.b")]);
            assert_eq!(patterns.best("a.b"), Some(0));
            patterns.remove(policy, &Uri::unchecked("a.b"));
            assert_eq!(patterns.best("a.b"), None);
            assert!(patterns.wildcard.is_empty());
        }
    }

    #[test]
    fn what_others_subscribe_to_costs_a_publication_nothing() {
        let mut patterns = Patterns::default();
        for number in 0..10_000 {
            let base = format!("base{number}");
            patterns.insert(MatchPolicy::Wildcard, Uri::unchecked(format!("{base}..c.d")), number);
            patterns.insert(MatchPolicy::Prefix, Uri::unchecked(format!("{base}.")), number);
        }
        let mut found = patterns.wildcards("base77.b.c.d");
        assert_eq!(found.by_ref().map(|(_, value)| *value).collect::<Vec<_>>(), [77]);
        assert!(found.looked <= 8, "{} beginnings for four components", found.looked);
        let mut found = patterns.wildcards("other.b.c.d");
        assert!(found.next().is_none() && found.looked <= 2);
    }

    fn policy() -> impl Strategy<Value = MatchPolicy> {
        prop::sample::select(vec![MatchPolicy::Exact, MatchPolicy::Prefix, MatchPolicy::Wildcard])
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_each_pattern_finds(
            entries in prop::collection::vec((policy(), "[abé.]{0,6}"), 0..30),
            name in "[abé.]{0,8}",
        ) {
            let entries: Vec<_> = entries.iter().map(|(policy, uri)| (*policy, uri.as_str())).collect();
            let patterns = index(&entries);
            let mut found: Vec<_> = patterns.matches(&name).map(|number| entries[number]).collect();
            let mut expected: Vec<_> = entries
                .iter()
                .copied()
                .filter(|(policy, uri)| Uri::unchecked(*uri).matches(*policy, &name))
                .collect();
            found.sort_unstable();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(found, expected);
        }
    }
}
