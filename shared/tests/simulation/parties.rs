//! Who talks in the simulation: a ledger on the server, and views in two clients.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use coati_shared::{
    node::AnswerTable,
    platform::Platform,
    prelude::*,
    testing::{Cut, Simulation},
};
use futures::{FutureExt, future, stream};

use crate::chronicle::{Chronicle, Ear};

#[contract]
pub trait Ledger {
    /// Marked: repeated after a rejoin, and must run once.
    async fn add(&self, client: u64, number: u64) -> Result<u64>;
    async fn total(&self) -> Result<u64>;
    /// Answers after a while.
    async fn wait(&self, milliseconds: u64) -> Result<u64>;
    /// The numbers from 1 to `to`, for a reading that the chronicle knows; then no end comes if it `sticks`.
    fn count(&self, reading: usize, to: u64, sticks: bool) -> impl Stream<Item = Result<u64>>;
}

#[node(Ledger)]
pub struct LedgerNode {
    #[signal]
    changed: Signal<u64>,
    #[signal(replay = 3)]
    tale: Signal<u64>,
    total: Value<u64>,
    simulation: Simulation,
    chronicle: Rc<Chronicle>,
    #[init(Rc::new(AnswerTable::new(simulation.platform())))]
    answers: Rc<AnswerTable<(u64, u64), u64>>,
}

#[handlers]
impl LedgerNode {
    #[handler(on_node_bind)]
    fn bound(&self) {
        self.chronicle.own();
    }
}

impl LedgerNode {
    /// Tells one more tale.
    pub fn tell(&self) {
        drop(self.tale.notify(self.chronicle.tell()));
    }
}

/// Counts a callee that works, however it ends.
struct Working(Rc<Chronicle>, fn(&Chronicle) -> &Cell<i64>);

impl Working {
    fn new(chronicle: &Rc<Chronicle>, counter: fn(&Chronicle) -> &Cell<i64>) -> Self {
        counter(chronicle).update(|count| count + 1);
        Self(chronicle.clone(), counter)
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        (self.1)(&self.0).update(|count| count - 1);
    }
}

impl Ledger for LedgerNode {
    async fn add(&self, client: u64, number: u64) -> Result<u64> {
        let (total, changed, simulation) = (self.total.clone(), self.changed.clone(), self.simulation.clone());
        let chronicle = self.chronicle.clone();
        let work = move || async move {
            *chronicle.applied.borrow_mut().entry((client, number)).or_default() += 1;
            total.update(|total| *total += 1);
            let answer = total.get();
            drop(changed.notify(answer));
            if !chronicle.is_calm.get() && simulation.chance(15) {
                // The callee has run, and the caller will not hear of it.
                chronicle.cut(client, Cut::ALL[simulation.pick(0..4) as usize]);
            }
            if simulation.chance(30) {
                simulation.wait(simulation.pick(1..300)).await;
            }
            Ok(answer)
        };
        self.answers.once((client, number), work).await
    }

    async fn total(&self) -> Result<u64> {
        Ok(self.total.get())
    }

    async fn wait(&self, milliseconds: u64) -> Result<u64> {
        let _working = Working::new(&self.chronicle, |chronicle| &chronicle.working);
        self.simulation.wait(milliseconds).await;
        Ok(milliseconds)
    }

    fn count(&self, reading: usize, to: u64, sticks: bool) -> impl Stream<Item = Result<u64>> {
        let pouring = Working::new(&self.chronicle, |chronicle| &chronicle.pouring);
        let (simulation, chronicle) = (self.simulation.clone(), self.chronicle.clone());
        let numbers = stream::iter(1..=to).then(move |number| {
            chronicle.check_ahead(reading, number);
            let pause = simulation
                .chance(5)
                .then(|| Duration::from_millis(simulation.pick(1..20)));
            let pause = pause.map(|pause| simulation.sleep(pause));
            async move {
                if let Some(pause) = pause {
                    pause.await;
                }
                Ok(number)
            }
        });
        let end = if sticks {
            future::pending().left_future()
        } else {
            future::ready(()).right_future()
        };
        // Held up to the very end.
        numbers
            .chain(end.into_stream().filter_map(|()| future::ready(None)))
            .inspect(move |_| {
                let _held = &pouring;
            })
    }
}

/// What clients mirror. It comes and goes below the ledger.
#[node]
pub struct BoardNode {
    #[mirror]
    pub height: Value<u64>,
    chronicle: Rc<Chronicle>,
}

#[handlers]
impl BoardNode {
    #[handler(on_node_bind)]
    fn bound(&self) {
        self.chronicle.own();
    }
}

impl BoardNode {
    pub fn grow(&self) {
        self.height.update(|height| *height += 1);
    }
}

#[contract]
pub trait View {
    async fn show(&self, text: String) -> Result<usize>;
}

/// A client's root.
#[node(View)]
pub struct ViewNode {
    shown: Value<Vec<String>>,
    last: Value<u64>,
    chronicle: Rc<Chronicle>,
    #[init(RefCell::default())]
    height: RefCell<Option<Mirror<u64>>>,
}

impl ViewNode {
    /// What it knows of the board, and what that is worth.
    pub fn height(&self) -> (u64, MirrorStatus) {
        let height = self.height.borrow();
        let known = height
            .as_ref()
            .map(|height| (height.get().unwrap_or(0), height.status()));
        known.unwrap_or_default()
    }
}

impl View for ViewNode {
    async fn show(&self, text: String) -> Result<usize> {
        let _working = Working::new(&self.chronicle, |chronicle| &chronicle.working);
        self.shown.update(|all| all.push(text));
        Ok(self.shown.with(Vec::len))
    }
}

#[handlers]
impl ViewNode {
    #[handler(on_node_bind)]
    fn bound(&self) -> Result<()> {
        self.chronicle.own();
        let height = self.mirror(BoardNode::height, "srv.board")?;
        *self.height.borrow_mut() = Some(height.clone());
        let (chronicle, last) = (self.chronicle.clone(), Cell::new(0));
        self.node_watch(move || {
            let (now, last) = (height.get().unwrap_or(0), last.replace(height.get().unwrap_or(0)));
            if now < last {
                chronicle.violation(format!("a mirror went back from {last} to {now}"));
            }
        });
        Ok(())
    }

    #[handler(LedgerNode::changed, at = "srv")]
    fn changed(&self, total: u64) {
        if total <= self.last.get() {
            self.chronicle
                .violation(format!("a view heard of {total} after {}", self.last.get()));
        }
        self.last.set(total);
    }
}

/// Comes and goes below a view, hears, and asks.
#[node]
pub struct PartNode {
    number: u64,
    last: Value<u64>,
    simulation: Simulation,
    chronicle: Rc<Chronicle>,
    #[init(Ear::new(&chronicle))]
    ear: Ear,
}

impl PartNode {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The tale that it heard last.
    pub fn heard(&self) -> u64 {
        self.ear.last()
    }
}

#[handlers]
impl PartNode {
    #[handler(on_node_bind)]
    fn bound(&self) -> Result<()> {
        self.chronicle.own();
        let ledger = self.remote::<dyn Ledger>("srv")?;
        let (number, simulation, chronicle) = (self.number, self.simulation.clone(), self.chronicle.clone());
        self.spawn(async move {
            // Some questions are under way whenever the part goes.
            for _ in 0..20 {
                drop(simulation.within(3_000, ledger.wait(simulation.pick(1..1_000))).await);
                chronicle.check_alive(number, "an answer");
                simulation.wait(simulation.pick(1..500)).await;
            }
            Ok(())
        });
        Ok(())
    }

    #[handler(LedgerNode::tale, at = "srv")]
    fn tale(&self, number: u64) {
        self.chronicle.check_alive(self.number, "a tale");
        self.ear.hear(&self.chronicle, number);
    }

    #[handler(LedgerNode::changed, at = "srv")]
    fn changed(&self, total: u64) {
        self.chronicle.check_alive(self.number, "a signal");
        if total <= self.last.get() {
            self.chronicle
                .violation(format!("a part heard of {total} after {}", self.last.get()));
        }
        self.last.set(total);
    }
}
