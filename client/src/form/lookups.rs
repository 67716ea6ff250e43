//! What the lookup fields of a form offer: short lists at once, long ones by searching; no browser types.

use std::collections::BTreeMap;

use shared::data::LookupItem;

use crate::parts::Choices;

/// A list of this length was cut by the server: there may be more.
const CUT: usize = 100;

/// What lookup fields offer, and the texts of all keys seen so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lookups {
    offered: BTreeMap<&'static str, Choices>,
    long: BTreeMap<&'static str, bool>,
    texts: BTreeMap<(&'static str, String), String>,
}

impl Lookups {
    /// Another form is opened: the lists are asked for again.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The server answered. Once a list was too long, it stays one that is searched.
    pub(super) fn offer(&mut self, field: &'static str, items: Vec<LookupItem>) {
        if items.len() >= CUT {
            self.long.insert(field, true);
        }
        let choices: Choices = items
            .into_iter()
            .map(|item| (item.key.to_string(), item.text))
            .collect();
        for (key, text) in &choices {
            self.name(field, key.clone(), text.clone());
        }
        self.offered.insert(field, choices);
    }

    /// The text of a key became known.
    pub(super) fn name(&mut self, field: &'static str, key: String, text: String) {
        self.texts.insert((field, key), text);
    }

    /// The text of a key, or the key where it is not known.
    pub(super) fn text(&self, field: &'static str, key: &str) -> String {
        self.texts
            .get(&(field, key.to_owned()))
            .map_or(key, String::as_str)
            .to_owned()
    }

    /// The values that a field offers now.
    pub(super) fn offered(&self, field: &str) -> &[(String, String)] {
        self.offered.get(field).map_or(&[], Vec::as_slice)
    }

    /// Whether the field has more values than one list shows.
    pub(super) fn is_long(&self, field: &str) -> bool {
        self.long.contains_key(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(keys: std::ops::Range<i64>) -> Vec<LookupItem> {
        keys.map(|key| LookupItem {
            key: key.into(),
            text: format!("Site {key}"),
        })
        .collect()
    }

    #[test]
    fn a_key_keeps_its_text_when_the_list_no_longer_has_it() {
        let mut lookups = Lookups::default();
        lookups.name("site", "7".to_owned(), "Leeds".to_owned());
        lookups.offer("site", items(0..3));
        assert_eq!(lookups.text("site", "7"), "Leeds");
        lookups.offer("site", items(2..3));
        assert_eq!(lookups.text("site", "1"), "Site 1");
        assert_eq!(lookups.text("site", "9"), "9", "an unknown key stands for itself");
        assert_eq!(lookups.offered("site").len(), 1);
    }

    #[test]
    fn a_list_that_was_cut_is_searched_from_then_on() {
        let mut lookups = Lookups::default();
        lookups.offer("site", items(0..99));
        assert!(!lookups.is_long("site"));
        lookups.offer("site", items(0..100));
        lookups.offer("site", items(0..2));
        assert!(lookups.is_long("site"));
    }
}
