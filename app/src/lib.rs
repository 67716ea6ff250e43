//! Safety, Coati's example application: workplace-risk assessment.
//!
//! Each page is a folder: what both sides know (`entity`), the server's half (`controller`, `source`) and the browser's
//! half (`view`). `serve` and `start` put the halves together.

pub mod assessments;
pub mod diagnostics;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod demo;
#[cfg(feature = "server")]
mod operator;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "client")]
mod start;

use shared::{data::cursor::Cursor, prelude::*, session_root};

/// Fingerprint of everything that the two sides say to each other; a client with another one is asked to reload.
#[must_use]
pub fn contracts() -> String {
    contracts_fingerprint(&[
        <dyn session_root::ServerMember as Contract>::INFO,
        <dyn session_root::ClientMember as Contract>::INFO,
        <dyn Cursor as Contract>::INFO,
        <dyn diagnostics::Diagnostics as Contract>::INFO,
    ])
}
