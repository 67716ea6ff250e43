//! The platform of a native thread with a tokio `LocalSet`.

use std::time::Duration;

use futures::{FutureExt, future::LocalBoxFuture};
use tokio::time::Instant;

use super::Platform;

/// A server encodes for thousands, from a file that nobody waits for.
pub(crate) const PREFERS_SIZE: bool = false;

/// Runs a future with all it spawns on this thread, to its end. For tests and small tools.
///
/// # Panics
/// If the operating system refuses the runtime's poller.
pub fn run_local<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for this thread");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// Tokio's local tasks and timers: follows virtual time when a test pauses the clock.
#[derive(Debug)]
pub struct NativePlatform {
    origin: Instant,
}

impl Default for NativePlatform {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Platform for NativePlatform {
    fn spawn_local(&self, future: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(future);
    }

    fn sleep(&self, duration: Duration) -> LocalBoxFuture<'static, ()> {
        tokio::time::sleep(duration).boxed_local()
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn random(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system provides randomness");
    }
}
