//! Reactive state: what runs again when, and what does not; values, computed values, watches and dictionaries.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use coati_shared::{
    prelude::*,
    state::{StateCell, untracked},
    testing,
};

/// A watch that counts its runs.
fn counted(mut look: impl FnMut() + 'static) -> (Watch, Rc<Cell<u32>>) {
    let runs = Rc::new(Cell::new(0));
    let count = runs.clone();
    let watch = Watch::new(move || {
        count.set(count.get() + 1);
        look();
    });
    (watch, runs)
}

/// A computed value that counts how often it is computed.
fn counting<T: PartialEq + Send + Sync + 'static>(
    compute: impl Fn() -> T + Send + Sync + 'static,
) -> (Computed<T>, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let computed = Computed::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        compute()
    });
    (computed, runs)
}

fn count(runs: &AtomicU32) -> u32 {
    runs.load(Ordering::Relaxed)
}

#[testing::test]
async fn a_watch_runs_at_once_after_each_change_and_never_after_it_is_dropped() {
    let _context = testing::local_context();
    let (value, seen) = (Value::new(1), Rc::new(RefCell::new(Vec::new())));
    let (watch, runs) = counted({
        let (value, seen) = (value.clone(), seen.clone());
        move || seen.borrow_mut().push(value.get())
    });
    assert_eq!(runs.get(), 1, "at once");
    value.set(2);
    testing::settle().await;
    value.set(3);
    value.set(4);
    testing::settle().await;
    assert_eq!(*seen.borrow(), [1, 2, 4], "once for changes that come together");
    drop(watch);
    value.set(5);
    testing::settle().await;
    assert_eq!(runs.get(), 3);
    assert_eq!(value.get(), 5, "state stays readable");
}

#[testing::test]
async fn a_watch_can_guard_itself_and_reads_nothing_that_is_untracked() {
    let _context = testing::local_context();
    let (is_on, value) = (Value::new(false), Value::new(1));
    let (_watch, runs) = counted({
        let (is_on, value) = (is_on.clone(), value.clone());
        move || {
            if is_on.get() {
                let _ = value.get();
            }
            untracked(|| value.get());
        }
    });
    value.set(2);
    testing::settle().await;
    assert_eq!(runs.get(), 1, "the guard keeps it from depending on the value");
    is_on.set(true);
    testing::settle().await;
    value.set(3);
    testing::settle().await;
    assert_eq!(runs.get(), 3);
}

#[testing::test]
async fn a_computed_value_tells_its_readers_only_of_another_result() {
    let _context = testing::local_context();
    let value = Value::new(1_u32);
    let (is_prime, inner) = counting({
        let value = value.clone();
        move || (2..=value.get()).any(|one| one == value.get() && (2..one).all(|other| !one.is_multiple_of(other)))
    });
    let (_watch, outer) = counted({
        let is_prime = is_prime.clone();
        move || {
            let _ = is_prime.get();
        }
    });
    for (next, inner_runs, outer_runs) in [(1, 1, 1), (2, 2, 2), (2, 2, 2), (3, 3, 2), (4, 4, 3)] {
        value.set_if_new(next);
        testing::settle().await;
        assert_eq!((count(&inner), outer.get()), (inner_runs, outer_runs), "at {next}");
    }
}

#[testing::test]
async fn nobody_computes_what_nobody_reads() {
    let _context = testing::local_context();
    let value = Value::new(1);
    let (doubled, runs) = counting({
        let value = value.clone();
        move || value.get() * 2
    });
    value.set(2);
    testing::settle().await;
    assert_eq!(count(&runs), 0, "it was never read");
    let watch = || {
        let doubled = doubled.clone();
        let watch = move || {
            let _ = doubled.get();
        };
        counted(watch).0
    };
    let (one, two) = (watch(), watch());
    assert_eq!(count(&runs), 1, "one computation for both");
    drop(one);
    value.set(3);
    testing::settle().await;
    assert_eq!(count(&runs), 2);
    drop(two);
    value.set(4);
    testing::settle().await;
    assert_eq!(count(&runs), 2, "the last reader is gone");
    assert_eq!((doubled.get(), count(&runs)), (8, 3), "fresh when read");
    let _three = watch();
    value.set(5);
    testing::settle().await;
    assert_eq!((doubled.get(), count(&runs)), (10, 4));
}

#[testing::test]
async fn what_is_not_there_yet_is_said_by_the_type() {
    let undefined: Value<Option<u32>> = Value::default();
    assert_eq!(undefined.get(), None);
    let dictionary: Dictionary<u32> = Dictionary::new();
    assert_eq!(dictionary.get("missing"), None);
}

/// Who runs again: readers of everything, of the keys, of one key; and one that sets a key.
struct Readers {
    dictionary: Dictionary<u32>,
    all: Rc<Cell<u32>>,
    keys: Rc<Cell<u32>>,
    key: Rc<Cell<u32>>,
    _watches: [Watch; 3],
}

impl Readers {
    fn new() -> Self {
        let dictionary = Dictionary::new();
        let of = |look: fn(&Dictionary<u32>)| {
            let dictionary = dictionary.clone();
            counted(move || look(&dictionary))
        };
        let (all_watch, all) = of(|dictionary| drop(dictionary.entries()));
        let (keys_watch, keys) = of(|dictionary| drop(dictionary.keys()));
        let (key_watch, key) = of(|dictionary| {
            let _ = dictionary.get("a");
        });
        Self {
            dictionary,
            all,
            keys,
            key,
            _watches: [all_watch, keys_watch, key_watch],
        }
    }

    /// Runs since the last question: all, keys, key.
    async fn ran(&self) -> (u32, u32, u32) {
        testing::settle().await;
        let ran = (self.all.get(), self.keys.get(), self.key.get());
        for cell in [&self.all, &self.keys, &self.key] {
            cell.set(0);
        }
        ran
    }
}

#[testing::test]
async fn readers_of_a_dictionary_are_told_of_what_they_read() {
    let _context = testing::local_context();
    let readers = Readers::new();
    let dictionary = &readers.dictionary;
    assert_eq!(readers.ran().await, (1, 1, 1), "at once");
    dictionary.set("b", 1);
    assert_eq!(readers.ran().await, (1, 1, 0), "another key was added");
    dictionary.set("a", 1);
    assert_eq!(readers.ran().await, (1, 1, 1), "the key was added");
    dictionary.set("a", 2);
    assert_eq!(readers.ran().await, (1, 0, 1), "its value changed");
    dictionary.set("a", 2);
    assert_eq!(readers.ran().await, (0, 0, 0), "an equal value tells nobody");
    assert_eq!(dictionary.remove("a"), Some(2));
    assert_eq!(readers.ran().await, (1, 1, 1), "the key is gone");
    assert_eq!((dictionary.get("a"), dictionary.remove("a")), (None, None));
    assert_eq!(readers.ran().await, (0, 0, 0));
    assert_eq!(dictionary.entries(), [("b".to_owned(), 1)]);
}

#[testing::test]
async fn a_watch_may_set_a_key_that_others_read() {
    let _context = testing::local_context();
    let (source, readers) = (Value::new(1), Readers::new());
    readers.ran().await;
    let (_setter, runs) = counted({
        let (source, dictionary) = (source.clone(), readers.dictionary.clone());
        move || dictionary.set("a", source.get())
    });
    assert_eq!(readers.ran().await, (1, 1, 1));
    source.set(2);
    assert_eq!(readers.ran().await, (1, 0, 1));
    assert_eq!(runs.get(), 2, "the setter does not depend on what it sets");
}

#[testing::test]
async fn a_dictionary_in_a_dictionary_is_followed_while_it_is_there() {
    let _context = testing::local_context();
    let (outer, inner) = (Dictionary::<Dictionary<u32>>::new(), Dictionary::new());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let (_watch, runs) = counted({
        let (outer, seen) = (outer.clone(), seen.clone());
        move || {
            let inner = outer.get("inner");
            seen.borrow_mut().push(inner.and_then(|inner| inner.get("x")));
        }
    });
    outer.set("inner", inner.clone());
    testing::settle().await;
    inner.set("x", 1);
    testing::settle().await;
    inner.set("x", 2);
    testing::settle().await;
    outer.remove("inner");
    testing::settle().await;
    assert_eq!(*seen.borrow(), [None, None, Some(1), Some(2), None]);
    inner.set("x", 3);
    testing::settle().await;
    assert_eq!(runs.get(), 5, "its later changes are not seen");
}

#[testing::test]
async fn a_nodes_dictionary_is_state_by_name() -> Result<()> {
    #[node]
    struct Basket {
        pieces: Dictionary<u32>,
    }

    let basket = Basket::new();
    basket.pieces.set("apples", 3);
    let state = basket.node_state();
    let cell: Rc<dyn StateCell> = state[0].cell.clone().expect("serialises");
    assert_eq!(
        (state[0].name, cell.read_json()?.as_str()),
        ("pieces", r#"{"apples":3}"#)
    );
    cell.write_json(r#"{"pears":1}"#)?;
    assert_eq!(basket.pieces.entries(), [("pears".to_owned(), 1)]);
    assert_eq!(
        cell.write_json("[]").map_err(|error| error.kind),
        Err(ErrorKind::InvalidArgument)
    );
    Ok(())
}
