//! The peer that nodes use: calls, publications, registrations and subscriptions over one link.

use std::rc::Rc;

use futures::future::LocalBoxFuture;

use crate::{
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
    wamp::{
        codec::CodecId,
        id::SessionId,
        message::{
            CallOptions, Coati, EventDetails, InvocationDetails, PublishOptions, RegisterOptions, SubscribeOptions,
        },
        payload::Payload,
        transport::Link,
        uri::Uri,
    },
};

/// How to join a realm.
#[derive(Clone, Debug)]
pub struct Join {
    /// The realm.
    pub realm: Uri,
    /// Name and version of this software.
    pub agent: Option<String>,
    /// Coati's part of HELLO.
    pub coati: Option<Coati>,
    /// Who to be; the router decides.
    pub authid: Option<String>,
    /// In which role; the router decides.
    pub authrole: Option<String>,
    /// Ways to authenticate, best first.
    pub authmethods: Vec<String>,
    /// The secret for the way `ticket`.
    pub ticket: Option<String>,
}

impl Join {
    /// Joins as whoever the transport says.
    #[must_use]
    pub fn new(realm: Uri) -> Self {
        Self {
            realm,
            agent: None,
            coati: None,
            authid: None,
            authrole: None,
            authmethods: Vec::new(),
            ticket: None,
        }
    }
}

/// Who the router says that this peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionDetails {
    /// The session.
    pub session: SessionId,
    /// The realm joined.
    pub realm: Uri,
    /// The user.
    pub authid: String,
    /// The role.
    pub authrole: String,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// A close or error URI.
    pub uri: Uri,
    /// A sentence for people.
    pub message: Option<String>,
}

/// A call that arrived.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What was called.
    pub procedure: Uri,
    /// Its arguments.
    pub payload: Payload,
    /// Who calls.
    pub details: InvocationDetails,
}

/// An event that arrived.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was published to.
    pub topic: Uri,
    /// Its arguments.
    pub payload: Payload,
    /// Who published, if disclosed.
    pub details: EventDetails,
}

/// Answers calls.
pub type CallHandler = Rc<dyn Fn(Invocation) -> LocalBoxFuture<'static, Result<Payload>>>;

/// Takes events.
pub type EventHandler = Rc<dyn Fn(Event)>;

/// One end of a WAMP session. Cheap to clone, for one thread.
#[derive(Clone)]
pub struct Peer {
    details: Rc<SessionDetails>,
    codec: CodecId,
}

/// A procedure that this peer offers; dropping it takes it back.
pub struct Registration(());

/// A topic that this peer listens to; dropping it ends that.
pub struct Subscription(());

fn unfinished<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Disconnected, "This part is not connected yet."))
}

impl Peer {
    /// Opens a session over `link`. The pump runs on the platform until the link is gone.
    ///
    /// # Errors
    /// The router's refusal, or [`ErrorKind::Disconnected`].
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn join(_platform: PlatformRef, _link: Link, _join: Join) -> Result<Self> {
        unfinished()
    }

    /// Who this peer is.
    #[must_use]
    pub fn session(&self) -> &SessionDetails {
        &self.details
    }

    /// The codec to encode arguments in.
    #[must_use]
    pub const fn codec(&self) -> CodecId {
        self.codec
    }

    /// Calls a procedure. Dropping the future gives the call up. At most 64 calls are in flight; others wait here.
    ///
    /// # Errors
    /// What the callee or the router answers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn call(&self, _procedure: &Uri, _payload: Payload, _options: CallOptions) -> Result<Payload> {
        unfinished()
    }

    /// Publishes without acknowledgement; never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`], or [`ErrorKind::Busy`] when too much waits for the link.
    pub fn publish(&self, _topic: &Uri, _payload: Payload, _options: PublishOptions) -> Result<()> {
        unfinished()
    }

    /// Offers a procedure.
    ///
    /// # Errors
    /// What the router answers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn register(&self, _: &Uri, _: RegisterOptions, _handler: CallHandler) -> Result<Registration> {
        unfinished()
    }

    /// Listens to a topic. Events reach the handler in the order of the wire, before anything else is read.
    ///
    /// # Errors
    /// What the router answers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn subscribe(&self, _: &Uri, _: SubscribeOptions, _handler: EventHandler) -> Result<Subscription> {
        unfinished()
    }

    /// Ends the session by GOODBYE.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn leave(&self, _reason: &str) {}

    /// Completes when the session is over.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn closed(&self) -> CloseReason {
        CloseReason {
            uri: Uri::unchecked(crate::wamp::uri::close::NORMAL),
            message: None,
        }
    }
}

impl Registration {
    /// Takes the procedure back and waits for the router's answer.
    ///
    /// # Errors
    /// What the router answers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn unregister(self) -> Result<()> {
        unfinished()
    }
}

impl Subscription {
    /// Stops listening and waits for the router's answer.
    ///
    /// # Errors
    /// What the router answers.
    #[expect(clippy::unused_async, reason = "skeleton")]
    pub async fn unsubscribe(self) -> Result<()> {
        unfinished()
    }
}
