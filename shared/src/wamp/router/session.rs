//! The life of a connection in the router: attached, joined, left.

use std::collections::BTreeSet;

use crate::wamp::{codec::CodecId, id::SessionId, role::Roles, uri::Uri};

use super::{Limits, Principal};

/// A session as authorizers see it.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its id.
    pub session: SessionId,
    /// Who it is.
    pub principal: Principal,
    /// The base of the session root that the router has bound it to.
    pub base: Option<Uri>,
    /// Topics outside its base that it may subscribe to.
    pub grants: BTreeSet<Uri>,
}

/// A connection and, once it has joined, its session.
pub(super) struct Connection {
    pub(super) codec: CodecId,
    pub(super) principal: Principal,
    pub(super) state: State,
}

pub(super) enum State {
    /// Waits for HELLO.
    Attached,
    /// In the realm.
    Joined(Box<Joined>),
    /// Told to go; everything that still comes is ignored.
    Closing,
}

/// What the router knows of a session.
pub(super) struct Joined {
    pub(super) info: SessionInfo,
    pub(super) roles: Roles,
    pub(super) limits: Limits,
    /// Patterns among its subscriptions and registrations.
    pub(super) patterns: usize,
}
