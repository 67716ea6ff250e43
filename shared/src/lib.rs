//! Coati's node model and WAMP vocabulary, the same on server and browser.
//!
//! A program is a tree of nodes. A node has an address, calls that others can make, signals that others can hear, and
//! reactive state. Two nodes speak the same way whether they share a tree, run in a browser and on its server, or are
//! programs in other languages: what one cannot reach directly goes through a WAMP router.
//!
//! ```
#![doc = include_str!("../examples/greeting.rs")]
//! ```
//!
#![doc = include_str!("guide.md")]
//!
//! # Where things are
//!
//! * [`path`], [`node`], [`contract`], [`signal`], [`state`]: the node model; the macros are in the [`prelude`].
//! * [`error`]: one error type, which crosses the wire.
//! * [`wamp`]: messages, codecs, the pure client session and the pure router.
//! * [`session_root`], [`intent`]: how a browser and a server build their two halves of a session.
//! * [`data`]: queries, windows, replicas and change sets, as plain values.
//! * [`testing`]: realms in memory, for your tests.
//!
//! Assumptions: a tree lives on one thread, so nodes need not be `Send`; protocol code is pure and driven by a short
//! shell; [`platform`] is the only door to spawning, time and randomness.

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
