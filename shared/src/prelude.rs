//! What applications import: `use coati_shared::prelude::*;`.

pub use coati_macros::{contract, handlers, node};
pub use futures::{Stream, StreamExt as _};

pub use crate::{
    contract::{Contract, contracts_fingerprint},
    error::{Error, ErrorKind, Result},
    node::{Audience, Caller, Mirror, Node, NodeContext, NodeCore, NodeEvent, NodeExt, Phase, RemoteStream, StateRef},
    path::{Path, PathError},
    signal::{Connection, Delivery, Signal, SignalRef},
    state::{Computed, Dictionary, MirrorStatus, Value, Watch},
};
