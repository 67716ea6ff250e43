//! The life of nodes: random sequences of bind, add, remove and unbind against a simple model, and the fine points.

use std::{cell::Cell, rc::Rc};

use coati_shared::{prelude::*, state::untracked, testing};
use proptest::prelude::*;

/// A node that tells a log what happens to it, and fails to bind when told so.
#[node]
struct Probe {
    number: usize,
    log: Log,
    fails: Rc<Cell<bool>>,
}

type Log = Rc<std::cell::RefCell<Vec<(&'static str, usize)>>>;

#[handlers]
impl Probe {
    #[handler(on_node_bind)]
    async fn bound(&self, event: NodeEvent) -> Result<()> {
        assert_eq!(
            self.node_path().as_ref(),
            Some(&event.path),
            "the path is there when the handler runs"
        );
        testing::yield_now().await;
        self.log.borrow_mut().push(("bind", self.number));
        if self.fails.take() {
            Err(Error::new(ErrorKind::Refused, "told to fail"))
        } else {
            Ok(())
        }
    }

    #[handler(on_node_add)]
    fn added(&self) {
        self.log.borrow_mut().push(("add", self.number));
    }

    #[handler(on_node_unbind)]
    async fn unbound(&self, event: NodeEvent) {
        assert!(self.node_children().is_empty(), "children go first");
        assert_eq!(self.node_path(), Some(event.path), "path and context are still there");
        testing::yield_now().await;
        assert!(self.node_context().is_some());
        self.log.borrow_mut().push(("unbind", self.number));
    }
}

const NODES: usize = 5;
const NAMES: [&str; 2] = ["x", "y"];

#[derive(Clone, Debug)]
enum Step {
    Bind { node: usize, root: usize },
    Add { parent: usize, name: usize, node: usize },
    Remove { parent: usize, name: usize },
    Unbind { node: usize },
    FailNextBind { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..NODES, 0..NAMES.len()).prop_map(|(node, root)| Step::Bind { node, root }),
        5 => (0..NODES, 0..NAMES.len(), 0..NODES).prop_map(|(parent, name, node)| Step::Add { parent, name, node }),
        1 => (0..NODES, 0..NAMES.len()).prop_map(|(parent, name)| Step::Remove { parent, name }),
        1 => (0..NODES).prop_map(|node| Step::Unbind { node }),
        1 => (0..NODES).prop_map(|node| Step::FailNextBind { node }),
    ]
}

/// What ought to be.
#[derive(Default)]
struct Model {
    paths: [Option<String>; NODES],
    fails: [bool; NODES],
    /// In the order in which they were bound.
    order: Vec<usize>,
    log: Vec<(&'static str, usize)>,
}

impl Model {
    fn bind(&mut self, node: usize, path: &str, parent: Option<usize>) -> bool {
        if self.paths[node].is_some() || self.paths.iter().flatten().any(|taken| taken == path) {
            return false;
        }
        self.log.push(("bind", node));
        if std::mem::take(&mut self.fails[node]) {
            self.log.push(("unbind", node));
            return false;
        }
        self.paths[node] = Some(path.to_owned());
        self.order.push(node);
        self.log.extend(parent.map(|parent| ("add", parent)));
        true
    }

    fn children(&self, node: usize) -> Vec<usize> {
        let Some(path) = &self.paths[node] else {
            return Vec::new();
        };
        let is_child = |other: &usize| {
            let other = self.paths[*other].as_deref().and_then(|other| other.rsplit_once('.'));
            other.is_some_and(|(parent, _)| parent == path)
        };
        self.order.iter().copied().filter(is_child).collect()
    }

    fn unbind(&mut self, node: usize) {
        if self.paths[node].is_none() {
            return;
        }
        for child in self.children(node) {
            self.unbind(child);
        }
        self.log.push(("unbind", node));
        self.paths[node] = None;
        self.order.retain(|known| *known != node);
    }

    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Bind { node, root } => self.bind(*node, &format!("root.{}", NAMES[*root]), None),
            Step::Add { parent, name, node } => match self.paths[*parent].clone() {
                Some(path) => self.bind(*node, &format!("{path}.{}", NAMES[*name]), Some(*parent)),
                None => false,
            },
            Step::Remove { parent, name } => {
                let path = self.paths[*parent]
                    .as_ref()
                    .map(|path| format!("{path}.{}", NAMES[*name]));
                match (0..NODES).find(|node| self.paths[*node].is_some() && self.paths[*node] == path) {
                    Some(child) => {
                        self.unbind(child);
                        true
                    }
                    None => false,
                }
            }
            Step::Unbind { node } => {
                self.unbind(*node);
                true
            }
            Step::FailNextBind { node } => {
                self.fails[*node] = true;
                true
            }
        }
    }
}

struct Real {
    context: NodeContext,
    nodes: Vec<Rc<Probe>>,
    log: Log,
}

impl Real {
    fn new() -> Self {
        let log = Log::default();
        let nodes = (0..NODES)
            .map(|number| Probe::new(number, log.clone(), Rc::default()))
            .collect();
        Self {
            context: testing::local_context(),
            nodes,
            log,
        }
    }

    async fn step(&self, step: &Step) -> bool {
        match step {
            Step::Bind { node, root } => self.nodes[*node]
                .node_bind(format!("root.{}", NAMES[*root]), &self.context)
                .await
                .is_ok(),
            Step::Add { parent, name, node } => self.nodes[*parent]
                .node_add(NAMES[*name], self.nodes[*node].clone())
                .await
                .is_ok(),
            Step::Remove { parent, name } => self.nodes[*parent].node_remove(NAMES[*name]).await.is_ok(),
            Step::Unbind { node } => self.nodes[*node].node_unbind().await.is_ok(),
            Step::FailNextBind { node } => {
                self.nodes[*node].fails.set(true);
                true
            }
        }
    }

    /// What must hold between any two steps, whatever they were.
    fn check(&self) {
        for node in &self.nodes {
            let is_bound = node.node_path().is_some();
            assert_eq!(
                node.node_core().phase(),
                if is_bound { Phase::Bound } else { Phase::Unbound }
            );
            assert_eq!(node.node_context().is_some(), is_bound);
            for (name, child) in node.node_children() {
                let parent = child.node_parent().expect("a child has a parent").node_path();
                assert_eq!(parent, node.node_path());
                let place = node
                    .node_path()
                    .expect("a parent is bound")
                    .join(&name)
                    .expect("a name");
                assert_eq!(child.node_path(), Some(place));
            }
            let parent = node.node_parent();
            let in_parent = parent.map(|parent| parent.node_child(&node.node_name().expect("bound")).is_some());
            assert_ne!(in_parent, Some(false), "a parent knows its children");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_sequence_of_steps_does_what_the_model_says(steps in proptest::collection::vec(step(), 1..40)) {
        testing::run(async move {
            let (mut model, real) = (Model::default(), Real::new());
            for step in &steps {
                assert_eq!(real.step(step).await, model.step(step), "{step:?}");
                assert_eq!(*real.log.borrow(), model.log, "after {step:?}");
                for (index, node) in real.nodes.iter().enumerate() {
                    assert_eq!(node.node_path().map(|path| path.to_string()), model.paths[index], "after {step:?}");
                    let children = node.node_children();
                    let names = children.iter().filter_map(|(_, child)| child.node_path()).map(|path| path.to_string());
                    let expected = model.children(index).into_iter().filter_map(|child| model.paths[child].clone());
                    assert_eq!(names.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "after {step:?}");
                }
                real.check();
            }
        });
    }

    #[test]
    fn steps_that_run_at_the_same_time_leave_a_sound_tree(steps in proptest::collection::vec((step(), step(), step()), 1..12)) {
        testing::run(async move {
            let real = Real::new();
            for (one, two, three) in &steps {
                futures::join!(real.step(one), real.step(two), real.step(three));
                real.check();
                let log = real.log.borrow();
                for number in 0..NODES {
                    let count = |what| log.iter().filter(|entry| **entry == (what, number)).count();
                    let is_bound = usize::from(real.nodes[number].node_path().is_some());
                    assert!(count("bind") <= count("unbind") + is_bound, "who was bound is bound or was unbound: {log:?}");
                }
            }
            real.context.shutdown().await.expect("no handler of unbind fails");
            assert!(real.nodes.iter().all(|node| node.node_path().is_none()));
        });
    }
}

#[testing::test]
async fn unbinding_twice_at_once_tears_down_once() {
    let real = Real::new();
    assert!(real.step(&Step::Bind { node: 0, root: 0 }).await);
    let (one, two) = futures::join!(real.nodes[0].node_unbind(), real.nodes[0].node_unbind());
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(*real.log.borrow(), [("bind", 0), ("unbind", 0)]);
    real.nodes[0]
        .node_unbind()
        .await
        .expect("an unbound node stays unbound");
    assert_eq!(real.log.borrow().len(), 2);
}

#[node]
struct Busy {
    ended: Rc<Cell<bool>>,
    watched: Value<u32>,
    seen: Rc<Cell<u32>>,
}

/// Says when it is dropped.
struct Guard(Rc<Cell<bool>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[testing::test]
async fn unbinding_ends_tasks_and_watches() {
    let context = testing::local_context();
    let (ended, seen) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
    let node = Busy::new(ended.clone(), seen.clone());
    node.node_bind("busy", &context).await.expect("free");
    let guard = Guard(node.ended.clone());
    node.spawn(async move {
        let _guard = guard;
        std::future::pending::<Result<()>>().await
    });
    node.node_watch({
        let (watched, seen) = (node.watched.clone(), node.seen.clone());
        move || seen.set(watched.get())
    });
    node.watched.set(1);
    testing::settle().await;
    assert_eq!(
        (seen.get(), ended.get()),
        (1, false),
        "a change is seen, the task goes on"
    );
    node.node_unbind().await.expect("unbinds");
    testing::settle().await;
    assert!(ended.get(), "the task was dropped");
    node.watched.set(2);
    testing::settle().await;
    assert_eq!(seen.get(), 1, "nobody watches any more");
    assert_eq!(untracked(|| node.watched.get()), 2, "state stays readable");
}

#[testing::test]
async fn a_handler_that_fails_on_unbind_keeps_nobody() {
    #[node]
    struct Sulky {}

    #[handlers]
    impl Sulky {
        #[handler(on_node_unbind)]
        fn no(&self) -> Result<()> {
            Err(Error::new(ErrorKind::Refused, "I will not go."))
        }
    }

    let context = testing::local_context();
    let (parent, child) = (Sulky::new(), Sulky::new());
    parent.node_bind("parent", &context).await.expect("free");
    parent.node_add("child", child.clone()).await.expect("free");
    assert_eq!(
        parent.node_unbind().await.map_err(|error| error.kind),
        Err(ErrorKind::Refused)
    );
    assert!(parent.node_path().is_none() && child.node_path().is_none());
    parent
        .node_bind("parent", &context)
        .await
        .expect("free again, and nodes can be bound again");
}
