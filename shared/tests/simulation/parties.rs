//! Who talks in the simulation: a ledger on the server, and views in two clients.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use coati_shared::{
    node::AnswerTable,
    prelude::*,
    testing::{Cut, Simulation, Weather},
};

/// What all parties write down.
#[derive(Default)]
pub struct Chronicle {
    pub violations: RefCell<Vec<String>>,
    /// How often each marked call has run.
    pub applied: RefCell<BTreeMap<(u64, u64), u32>>,
    pub started: Cell<u64>,
    pub completed: Cell<u64>,
    /// Callees at work.
    pub working: Cell<i64>,
    /// Bound nodes, counted by what their owners clean up.
    pub owned: std::sync::Arc<std::sync::atomic::AtomicI64>,
    /// Links by client, to be cut at the worst moment.
    pub links: RefCell<BTreeMap<u64, Weather>>,
    /// Parts whose unbinding is done.
    pub dead: RefCell<BTreeSet<u64>>,
    pub is_calm: Cell<bool>,
}

impl Chronicle {
    pub fn violation(&self, text: String) {
        let mut violations = self.violations.borrow_mut();
        if violations.len() < 3 {
            violations.push(text);
        }
    }

    fn own(&self) {
        use std::sync::atomic::Ordering;
        self.owned.fetch_add(1, Ordering::Relaxed);
        let owned = self.owned.clone();
        coati_shared::state::on_cleanup(move || {
            owned.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn check_alive(&self, node: u64, what: &str) {
        if self.dead.borrow().contains(&node) {
            self.violation(format!("{what} reached a node that was unbound"));
        }
    }
}

#[contract]
pub trait Ledger {
    /// Marked: repeated after a rejoin, and must run once.
    async fn add(&self, client: u64, number: u64) -> Result<u64>;
    async fn total(&self) -> Result<u64>;
    /// Answers after a while.
    async fn wait(&self, milliseconds: u64) -> Result<u64>;
}

#[node(Ledger)]
pub struct LedgerNode {
    #[signal]
    changed: Signal<u64>,
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

/// Counts a callee that works, however it ends.
struct Working(Rc<Chronicle>);

impl Working {
    fn new(chronicle: &Rc<Chronicle>) -> Self {
        chronicle.working.set(chronicle.working.get() + 1);
        Self(chronicle.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.set(self.0.working.get() - 1);
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
                let link = chronicle.links.borrow().get(&client).cloned();
                let how = Cut::ALL[simulation.pick(0..4) as usize];
                link.iter().for_each(|link| link.cut(how));
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
        let _working = Working::new(&self.chronicle);
        self.simulation.wait(milliseconds).await;
        Ok(milliseconds)
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
}

impl View for ViewNode {
    async fn show(&self, text: String) -> Result<usize> {
        let _working = Working::new(&self.chronicle);
        self.shown.update(|all| all.push(text));
        Ok(self.shown.with(Vec::len))
    }
}

#[handlers]
impl ViewNode {
    #[handler(on_node_bind)]
    fn bound(&self) {
        self.chronicle.own();
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
}

impl PartNode {
    pub fn number(&self) -> u64 {
        self.number
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
