//! The shells of the pure router: the lock that guards it and the queues to its peers.

mod peer_queue;
pub(crate) mod queue;
pub(crate) mod realm;
mod roles;
mod state;

pub use realm::{RealmHandle, RealmStats};
pub use roles::{Permission, Roles};
pub use shared::wamp::router::{Action, Authorizer, BaseAuthorizer, Decision, Limits, Open, Principal, RouterConfig};
