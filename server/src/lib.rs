//! Runs Coati nodes natively: HTTP, the WAMP router's shells, session trees and live data.

pub mod auth;
pub mod config;
pub mod error;
pub mod telemetry;
pub mod tree_host;
