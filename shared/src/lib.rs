//! Coati's node model and WAMP vocabulary, the same on server and browser.
pub mod data;
pub mod error;
pub mod platform;
pub mod wamp;
