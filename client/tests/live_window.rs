//! The grid's live window against a source that loses frames, links and windows: it always ends equal to the source.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use coati_client::grid::{Hold, Later, RowSource, live::LiveWindow};
use proptest::prelude::*;
use shared::{
    data::{
        ChangeSet, EditOutcome, Frame, LookupItem, Query, Range, Resume, Row, RowKey, Snapshot, Sorter, WindowId,
        WindowTicket,
    },
    error::{Error, ErrorKind, Result},
    platform::default_platform,
    testing,
};

type Listener = Rc<dyn Fn(Option<Frame>)>;

/// One window of the source, with all its frames.
#[derive(Clone)]
struct Window {
    range: Range,
    version: u64,
    rows: Vec<Row>,
    frames: Vec<Frame>,
}

/// A server and the link to it, both easily broken.
#[derive(Default)]
struct Source {
    values: RefCell<Vec<(i64, i64)>>,
    windows: RefCell<BTreeMap<String, Window>>,
    listeners: RefCell<BTreeMap<u64, (String, Listener)>>,
    numbers: Cell<u64>,
    /// Counts the lives of the server: a window's name is never used for another one.
    life: Cell<u64>,
    down: Cell<bool>,
    deaf: Cell<bool>,
    calls: RefCell<Vec<&'static str>>,
    running: Cell<usize>,
    most_running: Cell<usize>,
}

impl Source {
    fn new(rows: i64) -> Rc<Self> {
        let this = Rc::new(Self::default());
        *this.values.borrow_mut() = (0..rows).map(|key| (key, 0)).collect();
        this
    }

    /// Whoever listens first.
    fn listener(&self) -> Listener {
        let listeners = self.listeners.borrow();
        listeners.values().next().expect("somebody listens").1.clone()
    }

    fn rows(&self, range: Range) -> Vec<Row> {
        let values = self.values.borrow();
        let rows = values.iter().skip(range.start as usize).take(range.length as usize);
        rows.map(|(key, value)| Row::new((*key).into(), vec![(*key).into(), (*value).into()]))
            .collect()
    }

    /// Changes the values and publishes what that means for each window.
    fn change(&self, change: impl FnOnce(&mut Vec<(i64, i64)>)) {
        change(&mut self.values.borrow_mut());
        let total = self.values.borrow().len() as u64;
        let names: Vec<String> = self.windows.borrow().keys().cloned().collect();
        for name in names {
            let Some(mut window) = self.windows.borrow().get(&name).cloned() else {
                continue;
            };
            let rows = self.rows(window.range);
            window.version += 1;
            let order = Some(rows.iter().map(|row| row.key.clone()).collect());
            let changed = rows.iter().filter(|row| !window.rows.contains(row)).cloned().collect();
            let frame = Frame {
                version: window.version,
                position: 0,
                total,
                order,
                rows: changed,
            };
            window.frames.push(frame.clone());
            window.rows = rows;
            self.windows.borrow_mut().insert(name.clone(), window);
            let listeners: Vec<Listener> = self
                .listeners
                .borrow()
                .values()
                .filter(|(topic, _)| *topic == name)
                .map(|(_, heard)| heard.clone())
                .collect();
            if !self.deaf.get() && !self.down.get() {
                listeners.iter().for_each(|heard| heard(Some(frame.clone())));
            }
        }
    }

    /// The server is killed: windows are gone, edits stay.
    fn kill(&self) {
        self.break_link();
        self.windows.borrow_mut().clear();
        self.life.set(self.life.get() + 1);
    }

    /// The link breaks: nobody is subscribed any more.
    fn break_link(&self) {
        self.down.set(true);
        self.listeners.borrow_mut().clear();
    }
}

/// The source as a grid sees it.
struct Remote(Rc<Source>);

impl Remote {
    fn answer<T: 'static>(
        &self,
        call: &'static str,
        answer: impl FnOnce(&Rc<Source>) -> Result<T> + 'static,
    ) -> Later<T> {
        let source = self.0.clone();
        source.calls.borrow_mut().push(call);
        Box::pin(async move {
            source.running.set(source.running.get() + 1);
            source
                .most_running
                .set(source.most_running.get().max(source.running.get()));
            tokio::task::yield_now().await;
            let down = source.down.get();
            let outcome = if down {
                Err(Error::new(ErrorKind::Disconnected, "down"))
            } else {
                answer(&source)
            };
            tokio::task::yield_now().await;
            source.running.set(source.running.get() - 1);
            outcome
        })
    }
}

struct Listening(Rc<Source>, u64);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.borrow_mut().remove(&self.1);
    }
}

fn missing() -> Error {
    Error::new(ErrorKind::NotFound, "There is no such window.")
}

impl RowSource for Remote {
    fn prepare(&self, _: Query, range: Range) -> Later<WindowTicket> {
        self.answer("prepare", move |source| {
            let name = format!("{}-{}-{}", source.life.get(), range.start, range.length);
            let rows = source.rows(range);
            let fresh = || Window {
                range,
                version: 1,
                rows,
                frames: Vec::new(),
            };
            source.windows.borrow_mut().entry(name.clone()).or_insert_with(fresh);
            Ok(WindowTicket {
                window: WindowId(name.clone()),
                topic: name,
            })
        })
    }
    fn subscribe(&self, topic: String, on_frame: Listener) -> Later<Hold> {
        self.answer("subscribe", move |source| {
            let number = source.numbers.get();
            source.numbers.set(number + 1);
            source.listeners.borrow_mut().insert(number, (topic, on_frame));
            Ok(Box::new(Listening(source.clone(), number)) as Hold)
        })
    }
    fn open(&self, window: WindowId) -> Later<Snapshot> {
        self.answer("open", move |source| {
            let Window {
                range, version, rows, ..
            } = source.windows.borrow().get(&window.0).cloned().ok_or_else(missing)?;
            let total = source.values.borrow().len() as u64;
            Ok(Snapshot {
                topic: window.0.clone(),
                window,
                version,
                position: 0,
                total,
                range,
                rows,
            })
        })
    }
    fn resume(&self, window: WindowId, version: u64) -> Later<Resume> {
        self.answer("resume", move |source| {
            let known = source.windows.borrow().get(&window.0).cloned().ok_or_else(missing)?;
            Ok(Resume::Frames(
                known
                    .frames
                    .into_iter()
                    .filter(|frame| frame.version > version)
                    .collect(),
            ))
        })
    }
    fn close(&self, _: WindowId) -> Later<()> {
        self.answer("close", |_| Ok(()))
    }
    fn position(&self, _: Query, _: RowKey) -> Later<Option<u64>> {
        self.answer("position", |_| Ok(None))
    }
    fn save(&self, _: ChangeSet) -> Later<EditOutcome> {
        self.answer("save", |_| Ok(EditOutcome::default()))
    }
    fn lookup(&self, _: String, _: String) -> Later<Vec<LookupItem>> {
        self.answer("lookup", |_| Ok(Vec::new()))
    }
}

fn live(source: &Rc<Source>) -> Rc<LiveWindow> {
    LiveWindow::new(Rc::new(Remote(source.clone())), default_platform(), || {})
}

fn shown(live: &LiveWindow) -> Vec<Row> {
    live.with(|held| {
        held.map(|(_, replica)| replica.rows().cloned().collect())
            .unwrap_or_default()
    })
}

#[test]
fn the_latest_wish_wins_and_one_request_is_under_way_at_a_time() {
    testing::run(async {
        let source = Source::new(10_000);
        let live = live(&source);
        for start in (0..5_000).step_by(100) {
            live.show(Query::default(), Range::new(start, 100));
            if start == 1_000 {
                testing::settle().await;
                source.calls.borrow_mut().clear();
            }
        }
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(4_900, 100)));
        assert!(!live.is_behind());
        let prepared = source.calls.borrow().iter().filter(|call| **call == "prepare").count();
        assert_eq!(prepared, 1, "places that were scrolled past were not asked for");
        assert!(
            source.most_running.get() <= 3,
            "subscribe and open run together, and a close beside them"
        );
    });
}

#[test]
fn a_lost_frame_is_noticed_with_the_next_and_made_good() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(0, 100));
        testing::settle().await;
        source.deaf.set(true);
        source.change(|values| values[3].1 = 7);
        source.deaf.set(false);
        source.calls.borrow_mut().clear();
        source.change(|values| values[4].1 = 8);
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(0, 100)));
        assert_eq!(*source.calls.borrow(), ["resume"], "nothing but what was missed");
    });
}

#[test]
fn who_is_told_that_frames_were_left_out_asks_for_them_once() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(0, 100));
        testing::settle().await;
        source.deaf.set(true);
        (0..20).for_each(|number| source.change(|values| values[number].1 = 7));
        source.deaf.set(false);
        source.calls.borrow_mut().clear();
        source.listener()(None);
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(0, 100)));
        assert_eq!(*source.calls.borrow(), ["resume"]);
    });
}

#[test]
fn a_frame_that_overtakes_the_answer_to_a_resume_is_not_lost() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(0, 100));
        testing::settle().await;
        source.deaf.set(true);
        source.change(|values| values[3].1 = 7);
        source.deaf.set(false);
        let heard = source.listener();
        source.calls.borrow_mut().clear();
        heard(None);
        while source.running.get() == 0 {
            tokio::task::yield_now().await;
        }
        // The server has answered and the answer is on its way: this frame is not in it, and nothing comes after it.
        tokio::task::yield_now().await;
        source.change(|values| values[4].1 = 8);
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(0, 100)));
    });
}

#[test]
fn after_a_lost_link_the_same_window_goes_on_from_its_version() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(100, 100));
        testing::settle().await;
        source.break_link();
        live.unlink();
        source.change(|values| values.truncate(150));
        assert_eq!(shown(&live).len(), 100, "what is on the screen stays there");
        source.down.set(false);
        source.calls.borrow_mut().clear();
        live.renew();
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(100, 100)));
        assert_eq!(*source.calls.borrow(), ["prepare", "subscribe", "resume"]);
        source.change(|values| values[140].1 = 9);
        assert_eq!(shown(&live), source.rows(Range::new(100, 100)), "frames flow again");
        assert_eq!(source.listeners.borrow().len(), 1);
    });
}

#[test]
fn after_a_restart_of_the_server_the_window_is_opened_anew() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(0, 100));
        testing::settle().await;
        source.change(|values| values[0].1 = 1);
        source.kill();
        live.unlink();
        source.change(|values| values[1].1 = 2);
        source.down.set(false);
        live.renew();
        testing::settle().await;
        assert_eq!(shown(&live), source.rows(Range::new(0, 100)));
    });
}

#[test]
fn another_order_is_another_window_and_nothing_is_left_behind() {
    testing::run(async {
        let source = Source::new(500);
        let live = live(&source);
        live.show(Query::default(), Range::new(0, 100));
        testing::settle().await;
        let sorted = Query {
            sorters: vec![Sorter::descending("id")],
            ..Query::default()
        };
        live.show(sorted.clone(), Range::new(200, 100));
        testing::settle().await;
        assert!(
            live.with(|held| held.is_some_and(|(query, replica)| *query == sorted && replica.range().start == 200))
        );
        assert_eq!(
            source.listeners.borrow().len(),
            1,
            "the window before is no longer heard"
        );
        assert_eq!(source.calls.borrow().last(), Some(&"close"));
        live.stop();
        testing::settle().await;
        assert!(source.listeners.borrow().is_empty());
    });
}

#[derive(Clone, Debug)]
enum Act {
    Change(usize, i64),
    Insert(usize),
    Remove(usize),
    Deafen(bool),
    Scroll(u64),
    Break,
    Mend,
    Restart,
    Wait,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..400_usize, 1..9_i64).prop_map(|(place, value)| Act::Change(place, value)),
        2 => (0..400_usize).prop_map(Act::Insert),
        2 => (0..400_usize).prop_map(Act::Remove),
        1 => any::<bool>().prop_map(Act::Deafen),
        2 => (0..4_u64).prop_map(Act::Scroll),
        1 => Just(Act::Break),
        2 => Just(Act::Mend),
        1 => Just(Act::Restart),
        3 => Just(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn whatever_breaks_the_window_ends_equal_to_the_source(acts in prop::collection::vec(acts(), 1..40)) {
        testing::run(async move {
            let source = Source::new(400);
            let live = live(&source);
            let mut next = 1_000;
            live.show(Query::default(), Range::new(0, 100));
            for act in acts {
                match act {
                    Act::Change(place, value) => source.change(|all| if let Some(row) = all.get_mut(place) { row.1 = value; }),
                    Act::Insert(place) => source.change(|all| { next += 1; all.insert(place.min(all.len()), (next, 0)); }),
                    Act::Remove(place) => source.change(|all| if place < all.len() { all.remove(place); }),
                    Act::Deafen(deaf) => source.deaf.set(deaf),
                    Act::Scroll(block) => live.show(Query::default(), Range::new(block * 100, 100)),
                    Act::Break => { source.break_link(); live.unlink(); }
                    Act::Mend => if source.down.replace(false) { live.renew(); },
                    Act::Restart => { source.kill(); live.unlink(); }
                    Act::Wait => testing::settle().await,
                }
            }
            source.deaf.set(false);
            source.down.set(false);
            live.renew();
            testing::settle().await;
            // A frame that was lost last is noticed with the next one.
            source.change(|all| if let Some(row) = all.get_mut(0) { row.1 += 10; });
            testing::settle().await;
            let range = live.with(|held| held.map(|(_, replica)| replica.range())).expect("a window is held");
            assert!(shown(&live) == source.rows(range), "the window differs from the source");
            assert!(!live.is_behind());
            assert!(live.error().is_none());
            assert_eq!(source.listeners.borrow().len(), 1);
        });
    }
}
