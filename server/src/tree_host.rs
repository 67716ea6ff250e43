//! Runs session trees: each on one thread for life, many on each thread.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures::{FutureExt, future::LocalBoxFuture};
use tokio::{sync::mpsc, task::LocalSet};

use crate::{
    error::{Error, ErrorKind, Result},
    telemetry,
};

/// Makes a tree's future on the thread where it will live.
pub type TreeMaker = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// A thread that is late by more than this has a tree on it that works instead of waiting.
pub const STALL: Duration = Duration::from_millis(100);

/// How often a tree thread looks at its own lateness.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Where session trees run. In production threads of their own, in tests the test's own `LocalSet`.
pub trait TreeHost: Send + Sync {
    /// Starts a tree; it ends when its future does. A panic ends that tree only.
    fn spawn_tree(&self, make: TreeMaker);
}

/// A fixed number of threads, each with a current-thread runtime.
#[derive(Debug)]
pub struct ThreadTreeHost {
    threads: Vec<TreeThread>,
    /// Each thread says once that it has ended.
    ended: Mutex<std::sync::mpsc::Receiver<()>>,
}

#[derive(Debug)]
struct TreeThread {
    /// Unbounded on purpose: `spawn_tree` may not wait, and the number of trees is bounded by that of sessions.
    /// The thread holds the other end; dropping this one ends the thread once its trees have ended.
    makers: Mutex<Option<mpsc::UnboundedSender<TreeMaker>>>,
    trees: Arc<AtomicUsize>,
}

impl ThreadTreeHost {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system gives no thread.
    pub fn start(count: usize) -> Result<Self> {
        let (end, ended) = std::sync::mpsc::channel();
        let threads = (0..count.max(1))
            .map(|number| TreeThread::start(number, end.clone()))
            .collect::<Result<_>>()?;
        Ok(Self {
            threads,
            ended: Mutex::new(ended),
        })
    }

    /// Takes no more trees and waits for those that run, at most for `within`. Returns how many threads had to be left behind.
    pub fn stop(&self, within: Duration) -> usize {
        for thread in &self.threads {
            drop(locked(&thread.makers).take());
        }
        let (deadline, ended) = (Instant::now() + within, locked(&self.ended));
        let mut left = self.threads.len();
        while left > 0
            && ended
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .is_ok()
        {
            left -= 1;
        }
        left
    }

    /// Running trees.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.threads
            .iter()
            .map(|thread| thread.trees.load(Ordering::Relaxed))
            .sum()
    }
}

impl TreeHost for ThreadTreeHost {
    fn spawn_tree(&self, make: TreeMaker) {
        let emptiest = self
            .threads
            .iter()
            .min_by_key(|thread| thread.trees.load(Ordering::Relaxed));
        let Some(thread) = emptiest else { return };
        thread.trees.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!(telemetry::TREES).increment(1.0);
        if locked(&thread.makers)
            .as_ref()
            .is_none_or(|makers| makers.send(make).is_err())
        {
            tracing::error!("a tree was not started because its thread has ended");
        }
    }
}

impl TreeThread {
    fn start(number: usize, end: std::sync::mpsc::Sender<()>) -> Result<Self> {
        let (makers, inbox) = mpsc::unbounded_channel();
        let trees = Arc::new(AtomicUsize::new(0));
        let running = trees.clone();
        std::thread::Builder::new()
            .name(format!("tree-{number}"))
            .spawn(move || {
                run_thread(inbox, &running);
                // Nobody listens if the host is not stopped but dropped.
                let _ = end.send(());
            })
            .map_err(|error| Error::new(ErrorKind::Io, "Cannot start a thread for session trees").because(error))?;
        Ok(Self {
            makers: Mutex::new(Some(makers)),
            trees,
        })
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run_thread(mut inbox: mpsc::UnboundedReceiver<TreeMaker>, running: &Arc<AtomicUsize>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "a tree thread has no runtime"),
    };
    let trees = LocalSet::new();
    trees.spawn_local(watch_lateness());
    runtime.block_on(trees.run_until(async {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(make) = inbox.recv().await {
            let running = running.clone();
            tasks.spawn_local(async move {
                // `make` runs inside too: what a tree does while it is made must not take the thread down either.
                let tree = async move { make().await };
                if std::panic::AssertUnwindSafe(tree).catch_unwind().await.is_err() {
                    tracing::error!("a session tree panicked and has ended");
                }
                running.fetch_sub(1, Ordering::Relaxed);
                metrics::gauge!(telemetry::TREES).decrement(1.0);
            });
            while tasks.try_join_next().is_some() {}
        }
        while tasks.join_next().await.is_some() {}
    }));
}

async fn watch_lateness() {
    loop {
        let due = Instant::now() + HEARTBEAT;
        tokio::time::sleep_until(due.into()).await;
        let late = Instant::now().saturating_duration_since(due);
        metrics::gauge!(telemetry::TREE_LATENESS).set(late.as_secs_f64());
        if late > STALL {
            metrics::counter!(telemetry::TREE_STALLS).increment(1);
            let milliseconds = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(milliseconds, "a session tree kept its thread busy");
        }
    }
}

/// Runs trees on the `LocalSet` of whoever calls, so that a test's virtual time holds for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalTreeHost;

impl LocalTreeHost {
    /// A host for the current `LocalSet`.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl TreeHost for LocalTreeHost {
    fn spawn_tree(&self, make: TreeMaker) {
        tokio::task::spawn_local(async move { make().await });
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc, sync::mpsc::channel};

    use super::*;

    #[test]
    fn trees_keep_their_thread_and_a_panic_ends_only_its_own_tree() {
        let host = ThreadTreeHost::start(1).expect("a thread");
        let (sent, received) = channel();
        host.spawn_tree(Box::new(|| async { panic!("on purpose") }.boxed_local()));
        host.spawn_tree(Box::new(move || {
            let state = Rc::new(Cell::new(1)); // not Send: it is made where it stays
            async move {
                tokio::task::yield_now().await;
                state.set(state.get() + 1);
                sent.send((state.get(), std::thread::current().name().map(str::to_owned)))
                    .expect("the test listens");
            }
            .boxed_local()
        }));
        let (value, name) = received
            .recv_timeout(Duration::from_secs(5))
            .expect("the second tree runs");
        assert_eq!((value, name.as_deref()), (2, Some("tree-0")));
        assert_eq!(host.stop(Duration::from_secs(5)), 0, "both trees have ended");
    }

    #[test]
    fn stopping_leaves_a_tree_that_does_not_end_behind() {
        let host = ThreadTreeHost::start(2).expect("threads");
        host.spawn_tree(Box::new(|| futures::future::pending().boxed_local()));
        let deadline = Instant::now() + Duration::from_secs(5);
        while host.trees() == 0 && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(host.stop(Duration::from_millis(50)), 1);
    }
}
