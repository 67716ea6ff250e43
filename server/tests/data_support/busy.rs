//! Queries of one tree while another is busy, in turn with queries while it is not.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use coati_server::{TreeHost, data::DataHub, tree_host::ThreadTreeHost};
use futures::{FutureExt, future::LocalBoxFuture};
use shared::data::RowKey;
use tokio::sync::{mpsc, oneshot};

use super::viewer;

/// How long queries of one tree took.
#[derive(Debug, Default)]
pub struct Measured {
    /// While the other tree waited.
    pub alone: Vec<Duration>,
    /// Those that began and ended while the other tree was busy.
    pub beside: Vec<Duration>,
}

impl Measured {
    pub fn median(times: &[Duration]) -> Duration {
        let mut times = times.to_vec();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

/// On so many threads, two trees: in each round one asks for row 1 for as long as `busy` says, then does so while the
/// other one keeps its thread for as long.
pub async fn measure(hub: Arc<DataHub>, threads: usize, rounds: usize, busy: Duration) -> Measured {
    measure_with(hub, threads, rounds, busy, |tree| tree).await
}

/// The same with two threads where trees hold one lock while they run: a mistake that must show.
pub async fn measure_under_one_lock(hub: Arc<DataHub>, rounds: usize, busy: Duration) -> Measured {
    let lock = Arc::new(Mutex::new(()));
    let under = move |mut tree: LocalBoxFuture<'static, ()>| {
        let lock = lock.clone();
        poll_fn(move |context| {
            let _held = lock.lock().expect("no tree panics");
            tree.as_mut().poll(context)
        })
        .boxed_local()
    };
    measure_with(hub, 2, rounds, busy, under).await
}

async fn measure_with<W>(hub: Arc<DataHub>, threads: usize, rounds: usize, busy: Duration, within: W) -> Measured
where
    W: Fn(LocalBoxFuture<'static, ()>) -> LocalBoxFuture<'static, ()> + Clone + Send + 'static,
{
    let trees = ThreadTreeHost::start(threads).expect("threads");
    // Odd while the one tree is busy.
    let turns = Arc::new(AtomicUsize::new(0));
    let (begin, mut begun) = mpsc::unbounded_channel::<()>();
    let turn = turns.clone();
    // It is alone on its thread until the second tree comes, which takes another one if there is.
    let around = within.clone();
    trees.spawn_tree(Box::new(move || {
        let tree = async move {
            while begun.recv().await.is_some() {
                turn.fetch_add(1, Ordering::SeqCst);
                let start = Instant::now();
                while start.elapsed() < busy {
                    std::hint::spin_loop();
                }
                turn.fetch_add(1, Ordering::SeqCst);
            }
        };
        around(tree.boxed_local())
    }));
    let (tell, told) = oneshot::channel();
    trees.spawn_tree(Box::new(move || {
        let tree = async move {
            let mut measured = Measured::default();
            let query = async || {
                let start = Instant::now();
                let row = hub.row("assessments", RowKey::from(1), viewer()).await;
                assert!(row.is_ok_and(|row| row.is_some()), "the row is there");
                start.elapsed()
            };
            for round in 0..rounds {
                let start = Instant::now();
                while start.elapsed() < busy {
                    measured.alone.push(query().await);
                }
                begin.send(()).expect("the other tree lives");
                while turns.load(Ordering::SeqCst) < 2 * (round + 1) {
                    let before = turns.load(Ordering::SeqCst);
                    let took = query().await;
                    if before % 2 == 1 && turns.load(Ordering::SeqCst) == before {
                        measured.beside.push(took);
                    }
                }
            }
            tell.send(measured).expect("somebody waits");
        };
        within(tree.boxed_local())
    }));
    told.await.expect("the tree ends")
}
