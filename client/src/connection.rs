//! The link to the server: when to open it, how it moves messages, and how its state reaches the user.

pub mod schedule;

pub use schedule::{LinkState, Timing};
