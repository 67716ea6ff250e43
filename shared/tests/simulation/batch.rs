//! Many seeds on all processors, each a world of its own.

use std::{
    fmt,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

use coati_shared::testing::{Fault, commit};

use crate::world::{self, Tally};

/// How many seeds went.
#[derive(Debug, Default)]
pub struct Batch {
    pub seeds: u64,
    pub started: u64,
    pub completed: u64,
    pub joined: u64,
    /// Seeds, and what was wrong: `one(seed, None)` shows it again.
    pub failures: Vec<(u64, String)>,
}

impl fmt::Display for Batch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            started,
            completed,
            joined,
            failures,
        } = self;
        let percent = completed * 100 / started.max(&1);
        write!(
            formatter,
            "{seeds} seeds, {joined} sessions, {completed} of {started} calls completed ({percent} %), {} failures: {:?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        )
    }
}

/// Runs one seed, with a mistake or without.
///
/// # Errors
/// What was not as it must be.
pub fn one(seed: u64, fault: Option<Fault>) -> Result<Tally, String> {
    commit(fault);
    let result = catch_unwind(AssertUnwindSafe(|| world::run(seed)));
    commit(None);
    result.unwrap_or_else(|_| Err("panicked".to_owned()))
}

/// Runs a range of seeds.
pub fn run(seeds: Range<u64>, fault: Option<Fault>) -> Batch {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut batch = Batch::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return batch;
            }
            batch.seeds += 1;
            match one(seed, fault) {
                Ok(tally) => {
                    batch.started += tally.started;
                    batch.completed += tally.completed;
                    batch.joined += tally.joined;
                }
                Err(text) => batch.failures.push((seed, text)),
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Batch::default();
        for worker in workers {
            let part = worker.join().unwrap_or_default();
            all.seeds += part.seeds;
            all.started += part.started;
            all.completed += part.completed;
            all.joined += part.joined;
            all.failures.extend(part.failures);
        }
        all
    })
}
