//! One seed: three parties, bad weather, a dying router; then calm, and everything must be as it was at the start.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures::future::join_all;

use coati_shared::{
    prelude::*,
    testing::{Cut, Realm, Simulation, Weather, simulate},
    wamp::{
        codec::CodecId,
        peer::Peer,
        router::{Open, RouterConfig},
    },
};

use crate::{
    chronicle::{Chronicle, PARTIES, SERVER},
    parties::{BoardNode, Ledger, LedgerNode, PartNode, View, ViewNode},
};

const CLIENTS: u64 = SERVER;
/// Bad weather lasts so long, in milliseconds.
const STORM: u64 = 15_000;
/// How long a client waits for an answer before it doubts the link.
const PATIENCE: u64 = 3_000;

/// How a seed went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub started: u64,
    pub completed: u64,
    /// Sessions that were joined.
    pub joined: u64,
}

pub struct World {
    pub simulation: Simulation,
    pub chronicle: Rc<Chronicle>,
    pub server: NodeContext,
    pub ledger: Rc<LedgerNode>,
    pub board: Rc<BoardNode>,
    pub views: Vec<Rc<ViewNode>>,
    realm: RefCell<Realm>,
    joined: RefCell<u64>,
}

fn realm(simulation: &Simulation) -> Realm {
    let config = RouterConfig {
        authorizer: Box::new(Open),
        ..RouterConfig::new(simulation.pick(1..1 << 50))
    };
    Realm::on(simulation.platform(), config)
}

/// Runs one seed.
///
/// # Errors
/// What was not as it must be.
pub fn run(seed: u64) -> Result<Tally, String> {
    simulate(seed, |simulation| async move {
        let chronicle = Rc::<Chronicle>::default();
        let world = Rc::new(World {
            server: NodeContext::root(simulation.platform(), None),
            ledger: LedgerNode::new(simulation.clone(), chronicle.clone()),
            board: BoardNode::new(chronicle.clone()),
            views: (0..CLIENTS).map(|_| ViewNode::new(chronicle.clone())).collect(),
            realm: RefCell::new(realm(&simulation)),
            chronicle,
            joined: RefCell::default(),
            simulation,
        });
        world.story().await
    })
}

impl World {
    async fn story(self: &Rc<Self>) -> Result<Tally, String> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        let trees = self.plant().await.map_err(|error| error.to_string())?;
        for (number, context) in &trees {
            let (this, number, context) = (self.clone(), *number, context.clone());
            simulation.spawn(async move { this.keep_connected(number, context).await });
        }
        let this = self.clone();
        simulation.spawn(async move { this.storm().await });
        let this = self.clone();
        simulation.spawn(async move { this.keep_telling().await });
        let work = join_all((0..).zip(&self.views).map(|(client, view)| self.client(client, view)));
        if simulation.within(600_000, work).await.is_none() {
            return Err("marked calls did not come to an end".to_owned());
        }
        // Until the storm is over, and what it left behind has been noticed.
        simulation.wait(30_000).await;
        // Every caller has its answer, or has given up.
        if chronicle.working.get() != 0 {
            chronicle.violation(format!("{} callees work for nobody", chronicle.working.get()));
        }
        if chronicle.pouring.get() != 0 {
            chronicle.violation(format!("{} callees pour for nobody", chronicle.pouring.get()));
        }
        if let Err(error) = self.calm().await {
            chronicle.violation(format!("in calm weather: {error}"));
        }
        for (_, context) in &trees {
            context.shutdown().await.map_err(|error| error.to_string())?;
        }
        self.judge(&trees).await
    }

    /// Binds everybody; answers the trees.
    async fn plant(&self) -> Result<Vec<(u64, NodeContext)>> {
        self.ledger.node_bind("srv", &self.server).await?;
        self.ledger.node_add("board", self.board.clone()).await?;
        let mut trees = vec![(SERVER, self.server.clone())];
        for (client, view) in (0..).zip(&self.views) {
            let context = NodeContext::root(self.simulation.platform(), None);
            view.node_bind(&*format!("client{client}.view"), &context).await?;
            trees.push((client, context));
        }
        Ok(trees)
    }

    /// Everything must be gone but what was there at the start.
    async fn judge(&self, trees: &[(u64, NodeContext)]) -> Result<Tally, String> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        simulation.wait(20_000).await;
        let stats = self.realm.borrow().with_router(|router| router.stats());
        for (number, context) in trees {
            if context.records() != [0; 4] {
                chronicle.violation(format!("tree {number} has {:?} left", context.records()));
            }
        }
        if (stats.registrations, stats.subscriptions, stats.calls) != (0, 0, 0) || stats.sessions != trees.len() {
            chronicle.violation(format!("the router has {stats:?} left"));
        }
        let owned = chronicle.owned.load(std::sync::atomic::Ordering::Relaxed);
        if owned != 0 {
            chronicle.violation(format!("{owned} owners are left"));
        }
        for (call, count) in chronicle.applied.borrow().iter() {
            if *count != 1 {
                chronicle.violation(format!("the marked call {call:?} ran {count} times"));
            }
        }
        // Per tree: who keeps it connected, the peer's pump, the router's reader, two directions of weather.
        let expected = trees.len() * 5;
        if simulation.tasks() != expected {
            chronicle.violation(format!("{} tasks are left instead of {expected}", simulation.tasks()));
        }
        let tally = Tally {
            started: chronicle.started.get(),
            completed: chronicle.completed.get(),
            joined: *self.joined.borrow(),
        };
        let violations = chronicle.violations.take();
        if violations.is_empty() {
            Ok(tally)
        } else {
            Err(violations.join("; "))
        }
    }

    /// Joins whenever there is no session; doubts a session that does not answer, and then joins beside it.
    async fn keep_connected(&self, number: u64, context: NodeContext) {
        let simulation = &self.simulation;
        let base = match number {
            SERVER => Path::root("srv"),
            client => Path::root(&format!("client{client}")),
        };
        let base = base.unwrap_or_else(|error| panic!("{error}"));
        loop {
            simulation.wait(simulation.pick(1..400)).await;
            if number == SERVER && self.chronicle.is_away.get() {
                continue;
            }
            let Some(peer) = self.join(number).await else { continue };
            *self.joined.borrow_mut() += 1;
            self.realm.borrow().bind_base(&peer, &base);
            let registered = simulation.within(PATIENCE, context.set_peer(Some(peer.clone()))).await;
            match registered {
                Some(Ok(())) => {
                    self.chronicle.attach(number);
                    self.watch(&peer).await;
                }
                Some(Err(error)) if error.kind != ErrorKind::Disconnected => {
                    let text = format!("an older session was in the way: {error}");
                    self.chronicle.violation(text);
                }
                Some(Err(_)) | None => {}
            }
            self.chronicle.detach(number);
            // Calls under way end at once; a session that was given up may go on delivering for a while.
            drop(context.set_peer(None).await);
            let view = self.views.get(number as usize);
            if view.is_some_and(|view| view.height().1 == MirrorStatus::Live) {
                self.chronicle
                    .violation("a mirror says that it is live, but has no session".to_owned());
            }
            let patience = simulation.clone();
            simulation.spawn(async move {
                patience.wait(patience.pick(0..5_000)).await;
                drop(peer);
            });
        }
    }

    async fn join(&self, number: u64) -> Option<Peer> {
        let simulation = &self.simulation;
        let realm = self.realm.borrow().clone();
        let codec = CodecId::ALL[number as usize % CodecId::ALL.len()];
        let link = realm.link(&format!("party{number}"), "node", codec);
        let (link, weather) = Weather::over(link, simulation, 0..if number == SERVER { 2 } else { 40 });
        self.chronicle.links.borrow_mut().insert(number, weather);
        simulation.within(PATIENCE, realm.join(link)).await?.ok()
    }

    /// Returns when the session is over, or does not answer.
    async fn watch(&self, peer: &Peer) {
        use coati_shared::wamp::{message::CallOptions, payload::Payload, uri::Uri};
        loop {
            if self.simulation.within(2_000, peer.closed()).await.is_some() {
                return;
            }
            let ping = async {
                let payload = Payload::empty(peer.codec());
                // Any answer will do, also that there is no such procedure.
                peer.call(&Uri::unchecked("ping.nobody"), payload, CallOptions::default())
                    .await
            };
            if self.simulation.within(PATIENCE, ping).await.is_none() {
                return;
            }
        }
    }

    async fn storm(&self) {
        let simulation = &self.simulation;
        let end = Duration::from_millis(STORM);
        while coati_shared::platform::Platform::now(simulation) < end {
            simulation.wait(simulation.pick(100..4_000)).await;
            let number = simulation.pick(0..PARTIES);
            let link = self.chronicle.links.borrow().get(&number).cloned();
            let Some(link) = link else { continue };
            match simulation.pick(0..13) {
                0 | 1 => link.stall_up(simulation.pick(100..5_000)),
                2 | 3 => link.stall_down(simulation.pick(100..5_000)),
                4..=8 => self.chronicle.cut(number, Cut::ALL[simulation.pick(0..4) as usize]),
                9 => {
                    // The router dies with all its links, and another one starts.
                    self.realm.replace(realm(simulation));
                    (0..PARTIES).for_each(|party| self.chronicle.cut(party, Cut::Lost));
                }
                10 | 11 => self.silence(simulation.pick(100..3_000)).await,
                _ => {
                    drop(self.board.node_unbind().await);
                    simulation.wait(simulation.pick(1..2_000)).await;
                    // Bound here whether or not the router hears of it now.
                    let add = self.ledger.node_add("board", self.board.clone());
                    drop(simulation.within(PATIENCE, add).await);
                }
            }
        }
        self.chronicle.is_calm.set(true);
    }

    /// The owner tells nobody anything for so many milliseconds, and then something: what is missed shows by what follows.
    pub async fn silence(&self, milliseconds: u64) {
        for audience in [Audience::Tree, Audience::Realm] {
            self.chronicle.set_silent(audience == Audience::Tree);
            self.server.set_audience(audience);
            if audience == Audience::Tree {
                self.simulation.wait(milliseconds).await;
            }
        }
        self.board.grow();
    }

    /// What happens in the owner's tree: no weather reaches the streams in there.
    async fn keep_telling(&self) {
        let simulation = &self.simulation;
        while !self.chronicle.is_calm.get() {
            simulation.wait(simulation.pick(10..2_000)).await;
            self.board.grow();
            self.ledger.tell();
            let (to, sticks) = (simulation.pick(1..20), simulation.chance(50));
            let most = simulation.pick(0..if sticks { to + 1 } else { to + 2 });
            let read = async {
                self.read(self.ledger.node_remote::<dyn Ledger>()?, to, sticks, most)
                    .await
            };
            if let Err(error) = read.await {
                self.chronicle
                    .violation(format!("a stream within the tree broke: {error}"));
            }
        }
    }

    async fn client(&self, client: u64, view: &Rc<ViewNode>) {
        let mut part = None;
        for number in 1..=10 {
            self.simulation.wait(self.simulation.pick(1..3_000)).await;
            // What goes wrong in an act other than a marked call is bad luck, and counted.
            let _outcome: Result<()> = self.act(client, number, view, &mut part).await;
        }
        if let Some(part) = part {
            drop(part.node_unbind().await);
            self.chronicle.dead.borrow_mut().insert(part.number());
        }
    }

    async fn act(&self, client: u64, number: u64, view: &Rc<ViewNode>, part: &mut Option<Rc<PartNode>>) -> Result<()> {
        let (simulation, chronicle) = (&self.simulation, &self.chronicle);
        let ledger = view.remote::<dyn Ledger>("srv")?;
        let count = |counter: &std::cell::Cell<u64>| counter.set(counter.get() + 1);
        match simulation.pick(0..14) {
            0..=3 => {
                count(&chronicle.started);
                let ledger = ledger.with_timeout(Some(Duration::from_millis(PATIENCE)));
                while ledger.add(client, number).await.is_err() {
                    simulation.wait(simulation.pick(50..500)).await;
                }
                count(&chronicle.completed);
            }
            4 => {
                count(&chronicle.started);
                ledger.total().await?;
                count(&chronicle.completed);
            }
            5 => {
                // The answer and the time-out meet.
                let limit = simulation.pick(50..500);
                let wait = ledger.wait(simulation.pick(1..500));
                drop(simulation.within(limit, wait).await);
            }
            6 => {
                // Never answered: the caller gives up.
                let wait = ledger.wait(u64::from(u32::MAX));
                drop(simulation.within(simulation.pick(1..500), wait).await);
            }
            7 => {
                count(&chronicle.started);
                let other = format!("client{}.view", (client + 1) % CLIENTS);
                view.remote::<dyn View>(&other)?.show("hello".to_owned()).await?;
                count(&chronicle.completed);
            }
            8 | 9 => {
                let to = if simulation.chance(10) {
                    simulation.pick(200..700)
                } else {
                    simulation.pick(0..20)
                };
                self.read(ledger, to, false, to + 1).await?;
            }
            10 | 11 => {
                // Given up on the way, or before there is a way.
                let to = simulation.pick(1..20);
                self.read(ledger, to, simulation.chance(50), simulation.pick(0..to + 1))
                    .await?;
            }
            _ => {
                if let Some(part) = part.take() {
                    part.node_unbind().await?;
                    chronicle.dead.borrow_mut().insert(part.number());
                } else {
                    let new = PartNode::new(client * 100 + number, simulation.clone(), chronicle.clone());
                    // Bound here whether or not the router hears of it now.
                    drop(simulation.within(PATIENCE, view.node_add("part", new.clone())).await);
                    *part = Some(new);
                }
            }
        }
        Ok(())
    }
}
