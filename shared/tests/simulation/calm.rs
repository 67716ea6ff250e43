//! What must hold when the weather is good: all that is live is exact, and a late listener or an absent owner changes nothing.

use std::rc::Rc;

use coati_shared::{prelude::*, testing::Cut};
use futures::future::{join, join_all, try_join_all};

use crate::{
    parties::{Ledger, LedgerRemote, PartNode, ViewNode},
    world::World,
};

impl World {
    /// Goes through all that good weather allows to foresee.
    pub async fn calm(&self) -> Result<()> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        if chronicle.peace().is_none() {
            chronicle.violation("not everybody is connected".to_owned());
        }
        self.check_mirrors("after the storm");
        // The owner's changes are heard in part.
        self.board.grow();
        let silence = async {
            simulation.wait(50).await;
            self.board.grow();
        };
        join(self.silence(100), silence).await;
        simulation.wait(1_000).await;
        self.check_mirrors("after silence");
        self.latecomers().await?;
        let to = simulation.pick(0..if simulation.chance(20) { 700 } else { 10 });
        let read = async |view: &Rc<ViewNode>| self.read(view.remote::<dyn Ledger>("srv")?, to, false, to + 1).await;
        try_join_all(self.views.iter().map(read)).await?;
        if simulation.chance(50) {
            self.absence().await;
        }
        Ok(())
    }

    /// Every mirror must show the newest state, and say so.
    fn check_mirrors(&self, when: &str) {
        let expected = (self.board.height.get(), MirrorStatus::Live);
        for view in self.views.iter().filter(|view| view.height() != expected) {
            let shown = view.height();
            self.chronicle
                .violation(format!("{when}, a mirror has {shown:?} instead of {expected:?}"));
        }
    }

    /// Listeners come while tales are told.
    async fn latecomers(&self) -> Result<()> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        let tell = async {
            for _ in 0..simulation.pick(1..8) {
                simulation.wait(simulation.pick(0..40)).await;
                self.ledger.tell();
            }
        };
        let listen = join_all((0..).zip(&self.views).map(|(client, view)| async move {
            simulation.wait(simulation.pick(0..100)).await;
            let part = PartNode::new(1_000 + client, simulation.clone(), chronicle.clone());
            view.node_add("late", part.clone()).await?;
            Ok(part)
        }));
        let (parts, ()): (Vec<Result<Rc<PartNode>>>, _) = join(listen, tell).await;
        simulation.wait(1_000).await;
        for part in parts {
            let part = part?;
            if part.heard() != chronicle.tales() {
                let (heard, told) = (part.heard(), chronicle.tales());
                chronicle.violation(format!(
                    "a late listener missed tales between {heard} and {told}, the last"
                ));
            }
            part.node_unbind().await?;
            chronicle.dead.borrow_mut().insert(part.number());
        }
        Ok(())
    }

    /// The owner's session ends, however that is, and another comes much later.
    async fn absence(&self) {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        chronicle.is_away.set(true);
        chronicle.cut(crate::chronicle::SERVER, Cut::ALL[simulation.pick(0..4) as usize]);
        simulation.wait(15_000).await;
        for view in &self.views {
            let status = view.height().1;
            if status != MirrorStatus::Lost(ErrorKind::NoSuchProcedure) {
                chronicle.violation(format!("a mirror says {status:?} of an owner that is gone"));
            }
        }
        self.board.grow();
        chronicle.is_away.set(false);
        simulation.wait(5_000).await;
        self.check_mirrors("when the owner is back");
    }

    /// Reads a stream that has `to` items, and that then ends if it does not stick, until so many items came.
    pub async fn read(&self, ledger: LedgerRemote, to: u64, sticks: bool, most: u64) -> Result<()> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        let count = |counter: &std::cell::Cell<u64>| counter.set(counter.get() + 1);
        let (peace, reading) = (chronicle.peace(), chronicle.reads());
        count(&chronicle.started);
        let mut items = ledger.count(reading, to, sticks);
        for number in 1..=most {
            if simulation.chance(5) {
                simulation.wait(simulation.pick(1..50)).await;
            }
            match items.next().await {
                Some(Ok(item)) if item == number && number <= to => chronicle.has_read(reading, number),
                Some(Ok(item)) => chronicle.violation(format!("a stream brought {item} instead of {number}")),
                None if number == to + 1 && !sticks => {}
                None => chronicle.violation(format!("a stream of {to} ended before {number} as if it were complete")),
                Some(Err(error)) => {
                    if peace.is_some() && chronicle.peace() == peace {
                        chronicle.violation(format!("a stream broke before {number} of {to} in peace: {error}"));
                    }
                    if items.next().await.is_some() {
                        chronicle.violation("a stream went on after its error".to_owned());
                    }
                    return Err(error);
                }
            }
        }
        if most > to && items.next().await.is_some() {
            chronicle.violation("a stream went on after its end".to_owned());
        }
        count(&chronicle.completed);
        Ok(())
    }
}
