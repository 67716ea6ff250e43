//! Ten thousand seeds of the simulation in `tests/simulation`: fails if one fails, or if it takes more than a minute.
#![allow(clippy::print_stdout, missing_docs)]

#[path = "../tests/simulation/batch.rs"]
mod batch;
#[path = "../tests/simulation/calm.rs"]
mod calm;
#[path = "../tests/simulation/chronicle.rs"]
mod chronicle;
#[path = "../tests/simulation/parties.rs"]
mod parties;
#[path = "../tests/simulation/world.rs"]
mod world;

/// `SEEDS=n` runs another number of them, `SEED=n` one.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() {
    let seeds = match (number("SEED"), number("SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, count) => 0..count.unwrap_or(10_000),
    };
    let start = std::time::Instant::now();
    let batch = batch::run(seeds, None);
    let took = start.elapsed();
    println!("{batch} in {took:.1?}");
    assert!(batch.failures.is_empty(), "seeds failed");
    assert!(
        batch.completed * 2 >= batch.started,
        "under half of the calls completed"
    );
    assert!(took.as_secs() <= 60, "more than a minute");
}
