//! WAMP v2, the wire of Coati: messages and codecs, a pure router, a pure client session and the peer that nodes use.
//!
//! Everything here except [`peer`] and [`transport`] is pure: input in, outputs out, no clock, no I/O. Layouts and
//! option keys follow the WAMP specification (wamp-proto, basic and advanced profile).

pub mod codec;
pub mod id;
pub mod message;
pub mod payload;
pub mod peer;
pub mod pending;
pub mod realm;
pub mod role;
pub mod router;
pub mod session;
pub mod transport;
pub mod uri;
pub mod value;

pub use codec::{CodecId, DecodeError};
pub use id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId};
pub use message::Message;
pub use payload::{Payload, payload_decodes};
pub use peer::{CloseReason, Event, Invocation, Join, Peer, Registration, Subscription};
pub use realm::LocalRealm;
pub use transport::Link;
pub use uri::{MatchPolicy, Uri};
