//! What can be reached from elsewhere is what is bound: random trees and random steps, drops and returns, against a
//! simple model, by a call and a publication to every URI that was ever used.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use coati_shared::{
    prelude::*,
    testing::{Realm, Simulation, simulate},
    wamp::{
        codec::CodecId,
        message::{CallOptions, PublishOptions},
        payload::Payload,
        peer::Peer,
        router::{Open, RouterConfig},
        uri::Uri,
    },
};
use proptest::prelude::*;

#[contract]
trait Probe {
    async fn number(&self) -> Result<usize>;
}

/// Which handler of which node heard which event.
type Heard = Rc<RefCell<BTreeMap<(u64, usize, &'static str), u32>>>;

#[node(Probe)]
struct ProbeNode {
    number: usize,
    heard: Heard,
    #[signal]
    tick: Signal<u64>,
}

impl Probe for ProbeNode {
    async fn number(&self) -> Result<usize> {
        Ok(self.number)
    }
}

impl ProbeNode {
    fn note(&self, event: u64, handler: &'static str) {
        *self
            .heard
            .borrow_mut()
            .entry((event, self.number, handler))
            .or_default() += 1;
    }
}

#[handlers]
impl ProbeNode {
    #[handler(Self::tick)]
    fn own(&self, event: u64) {
        self.note(event, "own");
    }

    #[handler(Self::tick, at = "t0.x")]
    fn of_a_root(&self, event: u64) {
        self.note(event, "t0.x");
    }

    #[handler(Self::tick, at = "t1.x.y")]
    async fn of_a_child(&self, event: u64) {
        self.note(event, "t1.x.y");
    }
}

const NODES: usize = 6;
const TREES: usize = 2;
/// One root is below another one.
const ROOTS: [&str; 3] = ["x", "y", "x.y"];
const NAMES: [&str; 2] = ["x", "y"];

#[derive(Clone, Debug)]
enum Step {
    Bind { node: usize, tree: usize, root: usize },
    Add { parent: usize, name: usize, node: usize },
    Remove { parent: usize, name: usize },
    Unbind { node: usize },
    Drop { tree: usize },
    Reconnect { tree: usize },
    Probe,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NODES, 0..TREES, 0..ROOTS.len()).prop_map(|(node, tree, root)| Step::Bind { node, tree, root }),
        5 => (0..NODES, 0..NAMES.len(), 0..NODES).prop_map(|(parent, name, node)| Step::Add { parent, name, node }),
        1 => (0..NODES, 0..NAMES.len()).prop_map(|(parent, name)| Step::Remove { parent, name }),
        2 => (0..NODES).prop_map(|node| Step::Unbind { node }),
        1 => (0..TREES).prop_map(|tree| Step::Drop { tree }),
        1 => (0..TREES).prop_map(|tree| Step::Reconnect { tree }),
        1 => Just(Step::Probe),
    ]
}

/// Where the nodes ought to be, and which trees are connected.
#[derive(Default)]
struct Model {
    places: BTreeMap<String, usize>,
    cut: BTreeSet<usize>,
}

impl Model {
    fn path_of(&self, node: usize) -> Option<&String> {
        self.places
            .iter()
            .find(|(_, known)| **known == node)
            .map(|(path, _)| path)
    }

    fn put(&mut self, node: usize, path: String) -> bool {
        let is_free = !self.places.contains_key(&path) && self.path_of(node).is_none();
        if is_free {
            self.places.insert(path, node);
        }
        is_free
    }

    fn is_connected(&self, path: &str) -> bool {
        let tree = usize::from(path.starts_with("t1"));
        !self.cut.contains(&tree)
    }
}

/// The router closes an older session of the same base.
fn base_of(tree: usize) -> Path {
    Path::root(&format!("t{tree}")).expect("a name")
}

struct Real {
    simulation: Simulation,
    realm: Realm,
    contexts: Vec<NodeContext>,
    peers: Vec<Option<Peer>>,
    nodes: Vec<Rc<ProbeNode>>,
    prober: Peer,
    heard: Heard,
    events: u64,
    used: BTreeSet<String>,
    /// Who was added below whom: an unbound parent takes them along.
    parents: BTreeMap<usize, usize>,
}

impl Real {
    async fn new(simulation: Simulation) -> Self {
        let config = RouterConfig {
            authorizer: Box::new(Open),
            ..RouterConfig::new(7)
        };
        let realm = Realm::on(simulation.platform(), config);
        let (mut contexts, mut peers) = (Vec::new(), Vec::new());
        for tree in 0..TREES {
            let peer = realm.peer("node").await.expect("joins");
            realm.bind_base(&peer, &base_of(tree));
            contexts.push(NodeContext::root(simulation.platform(), Some(peer.clone())));
            peers.push(Some(peer));
        }
        let heard = Heard::default();
        let nodes = (0..NODES).map(|number| ProbeNode::new(number, heard.clone())).collect();
        let prober = realm.peer_with("prober", "node", CodecId::Json).await.expect("joins");
        Self {
            simulation,
            realm,
            contexts,
            peers,
            nodes,
            prober,
            heard,
            events: 0,
            used: BTreeSet::new(),
            parents: BTreeMap::new(),
        }
    }

    async fn step(&mut self, step: &Step, model: &mut Model) {
        match step {
            Step::Bind { node, tree, root } => {
                let path = format!("t{tree}.{}", ROOTS[*root]);
                self.used.insert(path.clone());
                let bound = self.nodes[*node].node_bind(&*path, &self.contexts[*tree]).await;
                assert_eq!(bound.is_ok(), model.put(*node, path), "{step:?}: {bound:?}");
            }
            Step::Add { parent, name, node } => {
                let added = self.nodes[*parent]
                    .node_add(NAMES[*name], self.nodes[*node].clone())
                    .await;
                let expected = match model.path_of(*parent).map(|path| format!("{path}.{}", NAMES[*name])) {
                    Some(path) => {
                        self.used.insert(path.clone());
                        model.put(*node, path)
                    }
                    None => false,
                };
                assert_eq!(added.is_ok(), expected, "{step:?}: {added:?}");
                if expected {
                    self.parents.insert(*node, *parent);
                }
            }
            Step::Remove { parent, name } => {
                let child = self.nodes[*parent].node_child(NAMES[*name]);
                if self.nodes[*parent].node_remove(NAMES[*name]).await.is_ok() {
                    let child = child.expect("a child was removed");
                    let number = self.number_of(&child);
                    self.forget(number, model);
                } else {
                    assert!(child.is_none(), "a child can be removed");
                }
            }
            Step::Unbind { node } => {
                self.nodes[*node].node_unbind().await.expect("no handler fails");
                self.forget(*node, model);
            }
            Step::Drop { tree } => {
                if let Some(peer) = self.peers[*tree].take() {
                    self.realm.cut(&peer);
                    model.cut.insert(*tree);
                    peer.closed().await;
                }
            }
            Step::Reconnect { tree } => {
                let peer = self.realm.peer("node").await.expect("joins");
                self.realm.bind_base(&peer, &base_of(*tree));
                let old = self.peers[*tree].replace(peer.clone());
                self.contexts[*tree]
                    .set_peer(Some(peer))
                    .await
                    .expect("nobody is in the way");
                drop(old);
                model.cut.remove(tree);
            }
            Step::Probe => self.probe(model).await,
        }
    }

    fn number_of(&self, node: &Rc<dyn Node>) -> usize {
        let is = |known: &&Rc<ProbeNode>| std::ptr::addr_eq(Rc::as_ptr(known), Rc::as_ptr(node));
        self.nodes.iter().find(is).expect("one of ours").number
    }

    fn forget(&mut self, node: usize, model: &mut Model) {
        let children: Vec<usize> = self
            .parents
            .iter()
            .filter(|(_, parent)| **parent == node)
            .map(|(child, _)| *child)
            .collect();
        for child in children {
            self.parents.remove(&child);
            self.forget(child, model);
        }
        self.parents.remove(&node);
        model.places.retain(|_, known| *known != node);
    }

    /// Calls, and publishes to, every URI that was ever used.
    async fn probe(&mut self, model: &Model) {
        self.simulation.wait(1).await;
        for path in self.used.clone() {
            let reachable = model.places.get(&path).filter(|_| model.is_connected(&path));
            let procedure = Uri::strict(&format!("{path}.number")).expect("a path");
            let payload = Payload::encode(CodecId::Json, &[(); 0]).expect("serialises");
            let answer = self.prober.call(&procedure, payload, CallOptions::default()).await;
            let number = answer.and_then(|payload| payload.decode_args::<(usize,)>());
            match (&number, reachable) {
                (Ok((number,)), Some(expected)) => assert_eq!(number, expected, "{path}"),
                (Err(error), None) => assert_eq!(error.kind, ErrorKind::NoSuchProcedure, "{path}"),
                (Ok(_), None) | (Err(_), Some(_)) => panic!("{path}: {number:?} instead of {reachable:?}"),
            }
            self.events += 1;
            let event = self.events;
            let topic = Uri::strict(&format!("{path}.tick")).expect("a path");
            let payload = Payload::encode(CodecId::Json, &(event,)).expect("serialises");
            self.prober
                .publish(&topic, payload, PublishOptions::default())
                .expect("connected");
            self.simulation.wait(1).await;
            let mut expected = BTreeMap::new();
            if let Some(number) = reachable {
                expected.insert((event, *number, "own"), 1);
            }
            for (place, number) in model.places.iter().filter(|(place, _)| model.is_connected(place)) {
                let _ = place;
                for handler in ["t0.x", "t1.x.y"].into_iter().filter(|handler| **handler == path) {
                    expected.insert((event, *number, handler), 1);
                }
            }
            let heard: BTreeMap<_, _> = self
                .heard
                .borrow()
                .iter()
                .filter(|((known, ..), _)| *known == event)
                .map(|(key, count)| (*key, *count))
                .collect();
            assert_eq!(heard, expected, "an event at {topic:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_bound_is_what_is_reached_and_nothing_stays_behind(
        seed in any::<u64>(),
        steps in proptest::collection::vec(step(), 1..30),
    ) {
        simulate(seed, |simulation| async move {
            let (mut real, mut model) = (Real::new(simulation).await, Model::default());
            for step in &steps {
                real.step(step, &mut model).await;
            }
            real.probe(&model).await;
            for context in &real.contexts {
                context.shutdown().await.expect("no handler fails");
            }
            real.simulation.wait(1).await;
            for context in &real.contexts {
                assert_eq!(context.records(), [0; 4], "nodes, roots, topics, wires");
            }
            let stats = real.realm.with_router(|router| router.stats());
            assert_eq!((stats.registrations, stats.subscriptions, stats.calls), (0, 0, 0));
        });
    }
}
