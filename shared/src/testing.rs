//! The test kit: trees of nodes on this thread, and a realm in memory behind the very router that servers run.

mod placement;
mod realm;
mod simulation;
mod tap;
mod weather;

pub use coati_macros::test;
pub use placement::Placement;
pub use realm::Realm;
pub use simulation::{Simulation, simulate};
pub use tap::Tap;
pub use weather::{Cut, Weather};

#[doc(hidden)]
pub use crate::node::fault::{Fault, commit};

use crate::node::NodeContext;
pub use crate::platform::{default_platform, run_local as run, yield_now};

/// A context without a way to other trees: everything stays local.
#[must_use]
pub fn local_context() -> NodeContext {
    NodeContext::root(default_platform(), None)
}

/// Lets everything that is ready run: spawned tasks, events on memory links. Does not wait for timers.
pub async fn settle() {
    // Each turn lets every ready task run once; a message through the in-memory router takes a handful of them.
    for _ in 0..100 {
        yield_now().await;
    }
}
