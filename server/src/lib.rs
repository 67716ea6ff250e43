//! Runs Coati nodes natively: HTTP, the WAMP router's shells, session trees and live data.

pub mod auth;
pub mod component;
pub mod config;
mod connection;
#[cfg(feature = "data")]
pub mod data;
pub mod error;
pub mod http;
mod network;
pub mod peer;
pub mod repl;
pub mod router;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod telemetry;
mod tls;
pub mod tree_host;

pub use component::Component;
pub use config::Config;
#[doc(hidden)]
pub use connection::fuzzing;
pub use error::{Error, ErrorKind, Result};
pub use http::assets::Asset;
pub use router::RealmHandle;
pub use server::{Running, Server, ServerBuilder, Service};
pub use tree_host::TreeHost;
