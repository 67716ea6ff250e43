//! The shells of the pure router: the lock that guards it and the queues to its peers.

pub(crate) mod history;
mod peer_queue;
pub(crate) mod queue;
pub(crate) mod realm;
pub(crate) mod realms;
mod roles;
mod setup;
mod state;
pub(crate) mod wakes;

pub use history::{EventStore, Stored};
pub use realm::{RealmHandle, RealmStats};
pub use roles::{Permission, Roles};
pub use setup::{RealmHistory, RealmSetup, SocketLimits};
pub use shared::wamp::router::{
    Action, Authentication, Authenticator, Authorizer, AuthorizerProcedure, BaseAuthorizer, Change, Decision,
    HistoryLimits, HistoryTopics, Limits, Open, Principal, Recorded, RouterConfig,
};
