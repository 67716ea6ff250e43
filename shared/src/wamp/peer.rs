//! The peer that nodes use: calls, publications, registrations and subscriptions over one link.
//!
//! A short shell around the pure [`Session`]. It never waits for room in a queue: calls
//! wait for credit in their own future, everything else goes to an outbox that a task empties as the link takes it, in
//! order. One pump reads the link; it hands events to their handlers before it reads on, and starts a task for each
//! invocation.

mod credit;
mod inner;
pub mod progress;

use std::{
    rc::{Rc, Weak},
    time::Duration,
};

use futures::{
    channel::oneshot,
    future::{Either, LocalBoxFuture, select},
};

use crate::{
    error::{Error, ErrorKind, Result},
    platform::PlatformRef,
    wamp::{
        codec::CodecId,
        id::{PublicationId, RegistrationId, RequestId, SubscriptionId},
        message::{CallOptions, EventDetails, InvocationDetails, PublishOptions, RegisterOptions, SubscribeOptions},
        payload::Payload,
        session::{Answer, Input, Output, Request, Session},
        transport::Link,
        uri::{Uri, close},
    },
};

pub use crate::wamp::session::{CloseReason, Join, SessionDetails};

pub use progress::{CallStream, Part, Progress};

use inner::{Inner, Waiting};

/// How many calls of a peer may be in flight.
pub const CALL_CREDIT: usize = 64;

/// How many messages may wait for the link before publications are refused.
pub const OUTBOX_LIMIT: usize = 16_384;

/// How long leaving waits for the router's GOODBYE.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);

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
    /// The router's name for it.
    pub publication: PublicationId,
    /// Its arguments.
    pub payload: Payload,
    /// Who published, if disclosed.
    pub details: EventDetails,
}

/// Answers calls. The future runs as a task of its own and is dropped when the caller gives up.
pub type CallHandler = Rc<dyn Fn(Invocation) -> LocalBoxFuture<'static, Result<Payload>>>;

/// Answers calls like a [`CallHandler`], and may send results before the last one.
pub type ProgressiveHandler = Rc<dyn Fn(Invocation, Progress) -> LocalBoxFuture<'static, Result<Payload>>>;

/// Takes events.
pub type EventHandler = Rc<dyn Fn(Event)>;

/// Takes the results of a call that come before the last one.
pub type ProgressHandler = Rc<dyn Fn(Payload)>;

/// One end of a WAMP session. Cheap to clone, for one thread. When the last clone is gone the session ends.
#[derive(Clone)]
pub struct Peer {
    inner: Rc<Inner>,
    _last: Rc<LeaveOnDrop>,
}

struct LeaveOnDrop(Rc<Inner>);

impl Drop for LeaveOnDrop {
    fn drop(&mut self) {
        self.0.handle(Input::Leave {
            reason: Uri::unchecked(close::CLOSE_REALM),
        });
        // Nobody is left who could wait for the router's GOODBYE.
        self.0.end(&CloseReason {
            uri: Uri::unchecked(close::CLOSE_REALM),
            message: None,
        });
    }
}

/// A procedure that this peer offers; dropping it takes it back.
pub struct Registration {
    inner: Weak<Inner>,
    id: RegistrationId,
}

/// A topic that this peer listens to; dropping it ends that.
pub struct Subscription {
    inner: Weak<Inner>,
    id: SubscriptionId,
    key: u64,
}

impl Peer {
    /// Opens a session over `link`. The pump runs on the platform until the link is gone. There is no time limit: wrap
    /// this future in one.
    ///
    /// # Errors
    /// The router's refusal, or [`ErrorKind::Disconnected`].
    pub async fn join(platform: PlatformRef, link: Link, join: Join) -> Result<Self> {
        let Link {
            codec,
            outgoing,
            mut incoming,
        } = link;
        let mut session = Session::default();
        let mut outputs = session.handle(Input::Join(join));
        let details = 'joining: loop {
            for output in outputs {
                match output {
                    // What is sent before WELCOME has reserved room; a closed link shows when reading.
                    Output::Send(message) => drop(outgoing.try_send(message)),
                    Output::Joined(details) => break 'joining details,
                    Output::Closed(reason) => {
                        outgoing.close();
                        return Err(reason.to_error());
                    }
                    Output::Answered { .. }
                    | Output::Progress { .. }
                    | Output::Event(_)
                    | Output::Invocation(_)
                    | Output::Interrupt(_)
                    | Output::SubscriptionRevoked(_)
                    | Output::RegistrationRevoked(_) => {}
                }
            }
            let input = match incoming.receive().await {
                Ok(message) => Input::Message(message),
                Err(error) => Input::LinkLost(error),
            };
            outputs = session.handle(input);
        };
        let inner = Inner::new(Rc::clone(&platform), codec, outgoing, session, details);
        let pump = Rc::clone(&inner);
        platform.spawn_local(Box::pin(async move {
            let mut closed = Box::pin(pump.closed());
            while !pump.is_closed() {
                match select(incoming.receive(), &mut closed).await {
                    Either::Left((Ok(message), _)) => pump.handle(Input::Message(message)),
                    Either::Left((Err(error), _)) => pump.handle(Input::LinkLost(error)),
                    Either::Right(_) => return,
                }
            }
        }));
        Ok(Self {
            _last: Rc::new(LeaveOnDrop(Rc::clone(&inner))),
            inner,
        })
    }

    /// Who this peer is.
    #[must_use]
    pub fn session(&self) -> &SessionDetails {
        &self.inner.details
    }

    /// The codec to encode arguments in.
    #[must_use]
    pub fn codec(&self) -> CodecId {
        self.inner.codec
    }

    /// Calls a procedure. Dropping the future gives the call up. At most [`CALL_CREDIT`] calls are in flight; others
    /// wait here, in order.
    ///
    /// # Errors
    /// What the callee or the router answers.
    pub async fn call(&self, procedure: &Uri, payload: Payload, options: CallOptions) -> Result<Payload> {
        self.call_to(procedure, payload, options, None).await
    }

    /// Calls a procedure that may bring several results: all but the last go to `progress`.
    ///
    /// # Errors
    /// What the callee or the router answers.
    pub async fn call_progressive(
        &self,
        procedure: &Uri,
        payload: Payload,
        options: CallOptions,
        progress: ProgressHandler,
    ) -> Result<Payload> {
        let options = CallOptions {
            receive_progress: true,
            ..options
        };
        self.call_to(procedure, payload, options, Some(progress)).await
    }

    /// Calls a procedure that may bring several results, as a stream of them; the last item is [`Part::Last`] or an
    /// error. Dropping the stream gives the call up. So does falling more than [`progress::MOST_WAITING`] results
    /// behind, with [`ErrorKind::Busy`].
    pub fn call_stream(&self, procedure: &Uri, payload: Payload, options: CallOptions) -> CallStream {
        CallStream::new(self.clone(), procedure.clone(), payload, options)
    }

    async fn call_to(
        &self,
        procedure: &Uri,
        payload: Payload,
        options: CallOptions,
        progress: Option<ProgressHandler>,
    ) -> Result<Payload> {
        let inner = &self.inner;
        let permit = inner.credit.acquire().await.ok_or_else(|| inner.closed_error())?;
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting::Call {
            answer: sender,
            progress,
            _permit: permit,
        };
        let request = inner.ask(
            Request::Call {
                procedure: procedure.clone(),
                payload,
                options,
            },
            waiting,
        )?;
        let mut given_up = CancelOnDrop {
            inner,
            request: Some(request),
        };
        let answer = answer.await;
        given_up.request = None;
        answer.unwrap_or_else(|_| Err(inner.closed_error()))
    }

    /// Publishes without acknowledgement; never waits.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`], or [`ErrorKind::Busy`] when too much waits for the link.
    pub fn publish(&self, topic: &Uri, payload: Payload, options: PublishOptions) -> Result<()> {
        if self.inner.outbox_len() >= OUTBOX_LIMIT {
            return Err(Error::new(
                ErrorKind::Busy,
                "Too many messages wait for the connection.",
            ));
        }
        let options = PublishOptions {
            acknowledge: false,
            ..options
        };
        self.inner.tell(Request::Publish {
            topic: topic.clone(),
            payload,
            options,
        })
    }

    /// Publishes and waits for the router's word that it may be published.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn publish_acknowledged(
        &self,
        topic: &Uri,
        payload: Payload,
        options: PublishOptions,
    ) -> Result<PublicationId> {
        let options = PublishOptions {
            acknowledge: true,
            ..options
        };
        match self
            .inner
            .request(Request::Publish {
                topic: topic.clone(),
                payload,
                options,
            })
            .await?
        {
            Answer::Published(publication) => Ok(publication),
            other => Err(unexpected(&other)),
        }
    }

    /// Offers a procedure.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn register(
        &self,
        procedure: &Uri,
        options: RegisterOptions,
        handler: CallHandler,
    ) -> Result<Registration> {
        let handler: ProgressiveHandler = Rc::new(move |invocation, _| handler(invocation));
        self.register_progressive(procedure, options, handler).await
    }

    /// Offers a procedure that may bring several results.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn register_progressive(
        &self,
        procedure: &Uri,
        options: RegisterOptions,
        handler: ProgressiveHandler,
    ) -> Result<Registration> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting::Register {
            answer: sender,
            procedure: procedure.clone(),
            handler,
        };
        self.inner.ask(
            Request::Register {
                procedure: procedure.clone(),
                options,
            },
            waiting,
        )?;
        answer.await.unwrap_or_else(|_| Err(self.inner.closed_error()))
    }

    /// Listens to a topic. Events reach the handler in the order of the wire, before anything else is read.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn subscribe(
        &self,
        topic: &Uri,
        options: SubscribeOptions,
        handler: EventHandler,
    ) -> Result<Subscription> {
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting::Subscribe {
            answer: sender,
            topic: topic.clone(),
            policy: options.policy,
            handler,
        };
        self.inner.ask(
            Request::Subscribe {
                topic: topic.clone(),
                options,
            },
            waiting,
        )?;
        answer.await.unwrap_or_else(|_| Err(self.inner.closed_error()))
    }

    /// Ends the session by GOODBYE and waits for the router's, for two seconds at most.
    pub async fn leave(&self, reason: &str) {
        self.inner.handle(Input::Leave {
            reason: Uri::unchecked(reason),
        });
        let patience = self.inner.platform.sleep(LEAVE_PATIENCE);
        if let Either::Right(_) = select(Box::pin(self.closed()), patience).await {
            self.inner.end(&CloseReason {
                uri: Uri::unchecked(reason),
                message: None,
            });
        }
    }

    /// Completes when the session is over, at once if it is already.
    pub async fn closed(&self) -> CloseReason {
        self.inner.closed().await
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.inner.close_reason()
    }
}

fn unexpected(answer: &Answer) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("The router gave an unexpected answer: {answer:?}."),
    )
}

/// Gives a call up when its future is dropped before the answer.
struct CancelOnDrop<'a> {
    inner: &'a Rc<Inner>,
    request: Option<RequestId>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(request) = self.request {
            self.inner.give_up(request);
        }
    }
}

impl Registration {
    fn new(inner: &Rc<Inner>, id: RegistrationId) -> Self {
        Self {
            inner: Rc::downgrade(inner),
            id,
        }
    }

    /// The router's id for it.
    #[must_use]
    pub const fn id(&self) -> RegistrationId {
        self.id
    }

    /// Takes the procedure back and waits for the router's answer.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn unregister(mut self) -> Result<()> {
        let Some(inner) = std::mem::take(&mut self.inner).upgrade() else {
            return Ok(());
        };
        inner.forget_registration(self.id);
        inner
            .request(Request::Unregister { registration: self.id })
            .await
            .map(|_| ())
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade()
            && inner.forget_registration(self.id)
        {
            // Nobody waits for the answer; without a session there is nothing to take back.
            let _ = inner.ask(Request::Unregister { registration: self.id }, Waiting::Nobody);
        }
    }
}

impl Subscription {
    fn new(inner: &Rc<Inner>, id: SubscriptionId, key: u64) -> Self {
        Self {
            inner: Rc::downgrade(inner),
            id,
            key,
        }
    }

    /// The router's id for it.
    #[must_use]
    pub const fn id(&self) -> SubscriptionId {
        self.id
    }

    /// Stops listening and, if nobody else of this peer listens to the topic, waits for the router's answer.
    ///
    /// # Errors
    /// What the router answers.
    pub async fn unsubscribe(mut self) -> Result<()> {
        let Some(inner) = std::mem::take(&mut self.inner).upgrade() else {
            return Ok(());
        };
        if inner.forget_subscriber(self.id, self.key) {
            inner.request(Request::Unsubscribe { subscription: self.id }).await?;
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade()
            && inner.forget_subscriber(self.id, self.key)
        {
            let _ = inner.ask(Request::Unsubscribe { subscription: self.id }, Waiting::Nobody);
        }
    }
}
