//! Coati's node model and WAMP vocabulary, the same on server and browser.

// The macros name this crate by its package name, here as everywhere.
#[allow(unused_extern_crates, reason = "only generated code says it")]
extern crate self as coati_shared;

pub mod contract;
pub mod data;
pub mod error;
pub mod intent;
pub mod node;
pub mod path;
pub mod platform;
pub mod prelude;
pub mod session_root;
pub mod signal;
pub mod state;
pub mod testing;
pub mod wamp;
