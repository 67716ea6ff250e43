//! What a call within a tree costs, beside a plain boxed asynchronous call; and what a tree costs to bind and to keep.
#![allow(clippy::print_stdout, missing_docs)]

use std::{
    future::poll_fn,
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

use coati_shared::{
    prelude::*,
    testing::{self, Realm},
};
use criterion::{Criterion, criterion_group, criterion_main};
use futures::{FutureExt, future::LocalBoxFuture};
use reactive_graph::{graph::untrack, owner::Owner};

#[contract]
trait Adder {
    async fn add(&self, left: u64, right: u64) -> Result<u64>;
}

#[node(Adder)]
struct AdderNode {}

impl Adder for AdderNode {
    async fn add(&self, left: u64, right: u64) -> Result<u64> {
        Ok(left + right)
    }
}

/// What applications would write without nodes.
trait Plain {
    fn add(self: Rc<Self>, left: u64, right: u64) -> LocalBoxFuture<'static, Result<u64>>;
}

struct PlainAdder;

impl Plain for PlainAdder {
    fn add(self: Rc<Self>, left: u64, right: u64) -> LocalBoxFuture<'static, Result<u64>> {
        async move { Ok(left + right) }.boxed_local()
    }
}

/// Ten endpoints: five calls, a signal and four handlers.
#[contract]
trait Five {
    async fn one(&self) -> Result<()>;
    async fn two(&self) -> Result<()>;
    async fn three(&self) -> Result<()>;
    async fn four(&self) -> Result<()>;
    async fn five(&self) -> Result<()>;
}

#[node(Five)]
struct Wide {
    #[signal]
    rang: Signal<u32>,
    a: Value<u64>,
    b: Value<u64>,
    c: Value<u64>,
    d: Value<u64>,
    e: Value<u64>,
}

impl Five for Wide {
    async fn one(&self) -> Result<()> {
        Ok(())
    }
    async fn two(&self) -> Result<()> {
        Ok(())
    }
    async fn three(&self) -> Result<()> {
        Ok(())
    }
    async fn four(&self) -> Result<()> {
        Ok(())
    }
    async fn five(&self) -> Result<()> {
        Ok(())
    }
}

#[handlers]
impl Wide {
    #[handler(Self::rang)]
    fn first(&self, count: u32) {
        self.a.set(u64::from(count));
    }
    #[handler(Self::rang)]
    fn second(&self, count: u32) {
        self.b.set(u64::from(count));
    }
    #[handler(Self::rang, at = "bench.other")]
    fn third(&self, count: u32) {
        self.c.set(u64::from(count));
    }
    #[handler(Self::rang, at = "bench.another")]
    fn fourth(&self, count: u32) {
        self.d.set(u64::from(count));
    }
}

async fn tree(context: &NodeContext, nodes: usize) -> Result<Rc<Wide>> {
    let root = Wide::new();
    root.node_bind("bench.root", context).await?;
    for index in 1..nodes {
        root.node_add(&format!("n{index}"), Wide::new()).await?;
    }
    Ok(root)
}

/// In a current-thread runtime: `iter_custom` over many calls, so that entering it does not count. The fastest of many
/// slices stands for all: what else the machine does meanwhile does not count either.
async fn timed(iterations: u64, call: impl AsyncFn()) -> std::time::Duration {
    const SLICE: u64 = 2_000;
    let mut fastest = std::time::Duration::MAX;
    for _ in 0..iterations.div_ceil(SLICE) {
        let start = Instant::now();
        for _ in 0..SLICE {
            call().await;
        }
        fastest = fastest.min(start.elapsed());
    }
    fastest.mul_f64(iterations as f64 / SLICE as f64)
}

/// What stands between caller and callee.
#[derive(Clone, Copy)]
enum Rules {
    /// Neither a wrapper nor a time-out, and nobody has an identity.
    None,
    /// Two wrappers that hand the call on; the tree has joined a realm; the time-out is the default one.
    Pass,
    /// The same, but one wrapper asks who calls, and the other waits for the answer.
    Look,
}

/// A bound caller; a bound callee is at `@callee`.
async fn pair(rules: Rules) -> Rc<AdderNode> {
    let context = match rules {
        Rules::None => testing::local_context(),
        Rules::Pass | Rules::Look => Realm::new().context("node").await.expect("joins"),
    };
    match rules {
        Rules::None => context.set_call_timeout(None),
        Rules::Pass => (0..2).for_each(|_| context.wrap_calls(Rc::new(|_info, call| call))),
        Rules::Look => {
            context.wrap_calls(Rc::new(|info, call| {
                black_box(info.caller());
                call
            }));
            let wait = |_info, call: LocalBoxFuture<'static, _>| async move { black_box(call.await) }.boxed_local();
            context.wrap_calls(Rc::new(wait));
        }
    }
    let base = Path::root("bench").expect("a path");
    let (callee, caller) = (AdderNode::new(), AdderNode::new());
    for (name, node) in [("callee", &callee), ("caller", &caller)] {
        let path = base.join(name).expect("a path");
        node.node_bind(path, &context).await.expect("free");
    }
    caller
}

fn calls(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("call");
    group.bench_function("plain_boxed", |bencher| {
        bencher.iter_custom(|iterations| {
            testing::run(async move {
                let plain: Rc<dyn PlainObject> = Rc::new(PlainAdder);
                timed(iterations, async || {
                    black_box(plain.clone().add_boxed(black_box(1), black_box(2)).await).ok();
                })
                .await
            })
        });
    });
    // What no callee can do without: its reactive owner, and a panic that stays its own.
    group.bench_function("plain_boxed_inside_an_owner", |bencher| {
        bencher.iter_custom(|iterations| {
            testing::run(async move {
                let (plain, owner): (Rc<dyn PlainObject>, _) = (Rc::new(PlainAdder), Owner::new());
                timed(iterations, async || {
                    let mut call = plain.clone().add_boxed(black_box(1), black_box(2));
                    let inside = poll_fn(|context| {
                        let poll = AssertUnwindSafe(|| call.as_mut().poll(context));
                        owner.with(|| untrack(|| catch_unwind(poll))).expect("no panic")
                    });
                    black_box(inside.await).ok();
                })
                .await
            })
        });
    });
    for (name, rules) in [
        ("held_remote", Rules::None),
        ("held_remote_with_two_wrappers_identity_and_time_out", Rules::Pass),
        ("held_remote_with_two_wrappers_that_look_and_wait", Rules::Look),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                testing::run(async move {
                    let caller = pair(rules).await;
                    let remote = caller.remote::<dyn Adder>("@callee").expect("bound");
                    timed(iterations, async || {
                        black_box(remote.add(black_box(1), black_box(2)).await).ok();
                    })
                    .await
                })
            });
        });
    }
    group.bench_function("from_path_text", |bencher| {
        bencher.iter_custom(|iterations| {
            testing::run(async move {
                let caller = pair(Rules::None).await;
                timed(iterations, async || {
                    let remote = caller.remote::<dyn Adder>(black_box("@callee")).expect("bound");
                    black_box(remote.add(black_box(1), black_box(2)).await).ok();
                })
                .await
            })
        });
    });
    group.finish();
}

/// The object-safe face of [`Plain`].
trait PlainObject {
    fn add_boxed(self: Rc<Self>, left: u64, right: u64) -> LocalBoxFuture<'static, Result<u64>>;
}

impl<P: Plain> PlainObject for P {
    fn add_boxed(self: Rc<Self>, left: u64, right: u64) -> LocalBoxFuture<'static, Result<u64>> {
        self.add(left, right)
    }
}

fn trees(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tree");
    group.sample_size(10);
    group.bench_function("bind_1000_nodes_of_10_endpoints_over_the_router", |bencher| {
        bencher.iter_custom(|iterations| {
            testing::run(async move {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    let context = Realm::new().context("node").await.expect("joins");
                    let start = Instant::now();
                    let root = tree(&context, 1_000).await.expect("free");
                    took += start.elapsed();
                    root.node_unbind().await.expect("unbinds");
                }
                took
            })
        });
    });
    group.finish();
    testing::run(async {
        const NODES: usize = 20_000;
        let context = Realm::new().context("node").await.expect("joins");
        let before = resident();
        let root = tree(&context, NODES).await.expect("free");
        let bytes = (resident() - before) / NODES;
        println!("memory of a bound idle node with 5 values and 10 endpoints: {bytes} bytes");
        assert!(bytes < 4096, "more than 4 KiB per node");
        drop(root);
    });
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or_default();
    pages * 4096
}

criterion_group!(benches, calls, trees);
criterion_main!(benches);
