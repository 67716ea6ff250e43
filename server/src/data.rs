//! Live data: windows over a database that stay equal to their queries, and edits that land once.
//!
//! Invariants, each with its test in `tests/data_*.rs` or beside the code:
//! * *Snapshot equality.* After each applied frame a window's replica equals its query at some committed snapshot, and
//!   these snapshots only move forward.
//! * *No silent gap.* Versions are consecutive; whoever misses one resumes from a frame ring or a whole snapshot.
//! * *Edit once.* A mutation of a client has at most one effect; its answer is durable with the effect.
//! * *No blind overwrite.* An update applies only to fields that are as its author saw them.
//! * *No forbidden byte.* The source's rule is part of every statement that reads rows for a viewer.
//! * *Hints are optional.* Without the bell and the commit counter only latency changes.

mod accounts;
mod bulk;
mod change_log;
mod db;
mod edit;
mod error;
mod event_store;
mod feed;
mod hub;
mod migrations;
mod options;
mod quarantine;
mod reader;
mod registry;
mod source;
mod sql;
mod transaction;
mod window;

pub use db::Db;
pub use edit::Origin;
pub use event_store::SqlEventStore;
pub(crate) use event_store::open_history;
pub use hub::{DataHub, FramePublisher, HubStats, MAX_LOOKUP};
pub use migrations::Migrations;
pub use options::{Fault, FeedOptions};
pub use shared::data::Rights;
pub use source::{Column, DataSource, Join, Mapping, Rule, Viewer};
pub use transaction::{Backend, Statement, Transaction};
