//! What applications import: `use coati_shared::prelude::*;`.

pub use coati_macros::{contract, handlers, node};

pub use crate::{
    contract::{Contract, contracts_fingerprint},
    error::{Error, ErrorKind, Result},
    node::{Audience, Caller, Node, NodeContext, NodeCore, NodeEvent, NodeExt, Phase},
    path::{Path, PathError},
    signal::{Connection, Delivery, Signal, SignalRef},
    state::{Computed, Dictionary, Value, Watch},
};
