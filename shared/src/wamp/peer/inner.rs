//! What the clones of a peer share: who waits for which answer, who handles what, and what waits for the link.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use futures::{
    FutureExt,
    channel::oneshot,
    future::{AbortHandle, Abortable},
};

use crate::{
    error::{Error, ErrorKind, Result},
    platform::{PlatformRef, random_hex, yield_now},
    wamp::{
        codec::CodecId,
        id::{RegistrationId, RequestId, SubscriptionId},
        message::{self, ErrorDetails, ErrorMessage, Message, Yield, YieldOptions, code},
        payload::Payload,
        session::{Answer, CloseReason, Input, Output, Request, Session, SessionDetails},
        transport::{MessageSink, SendError},
        uri::{MatchPolicy, Uri},
    },
};

use super::{
    CALL_CREDIT, Event, EventHandler, Invocation, OUTBOX_LIMIT, ProgressHandler, ProgressiveHandler, Registration,
    Subscription,
    credit::{Credit, Permit},
    progress::Progress,
};

/// Who waits for an answer.
pub(super) enum Waiting {
    Call {
        answer: oneshot::Sender<Result<Payload>>,
        progress: Option<ProgressHandler>,
        _permit: Permit,
    },
    Register {
        answer: oneshot::Sender<Result<Registration>>,
        procedure: Uri,
        handler: ProgressiveHandler,
    },
    Subscribe {
        answer: oneshot::Sender<Result<Subscription>>,
        topic: Uri,
        policy: MatchPolicy,
        handler: EventHandler,
    },
    Other(oneshot::Sender<Result<Answer>>),
    Nobody,
}

/// A topic or pattern, and everybody here who listens.
struct Topic {
    uri: Uri,
    policy: MatchPolicy,
    handlers: BTreeMap<u64, EventHandler>,
}

struct Offer {
    procedure: Uri,
    handler: ProgressiveHandler,
}

pub(super) struct Inner {
    pub(super) platform: PlatformRef,
    pub(super) codec: CodecId,
    pub(super) details: SessionDetails,
    pub(super) credit: Credit,
    sink: Box<dyn MessageSink>,
    session: RefCell<Session>,
    outbox: RefCell<VecDeque<Message>>,
    waiting: RefCell<BTreeMap<RequestId, Waiting>>,
    topics: RefCell<BTreeMap<SubscriptionId, Topic>>,
    last_key: Cell<u64>,
    offers: RefCell<BTreeMap<RegistrationId, Offer>>,
    running: RefCell<BTreeMap<RequestId, AbortHandle>>,
    close_reason: RefCell<Option<CloseReason>>,
    closing: RefCell<Vec<oneshot::Sender<CloseReason>>>,
}

impl Inner {
    pub(super) fn new(
        platform: PlatformRef,
        codec: CodecId,
        sink: Box<dyn MessageSink>,
        session: Session,
        details: SessionDetails,
    ) -> Rc<Self> {
        Rc::new(Self {
            platform,
            codec,
            details,
            credit: Credit::new(CALL_CREDIT),
            sink,
            session: RefCell::new(session),
            outbox: RefCell::default(),
            waiting: RefCell::default(),
            topics: RefCell::default(),
            last_key: Cell::new(0),
            offers: RefCell::default(),
            running: RefCell::default(),
            close_reason: RefCell::default(),
            closing: RefCell::default(),
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.close_reason.borrow().is_some()
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.close_reason.borrow().clone()
    }

    pub(super) fn closed_error(&self) -> Error {
        match &*self.close_reason.borrow() {
            Some(reason) => reason.to_error(),
            None => Error::new(ErrorKind::Disconnected, "There is no session."),
        }
    }

    pub(super) async fn closed(&self) -> CloseReason {
        if let Some(reason) = self.close_reason() {
            return reason;
        }
        let (sender, receiver) = oneshot::channel();
        self.closing.borrow_mut().push(sender);
        match receiver.await {
            Ok(reason) => reason,
            Err(_) => CloseReason {
                uri: Uri::unchecked(ErrorKind::Disconnected.uri()),
                message: None,
            },
        }
    }

    pub(super) fn outbox_len(&self) -> usize {
        self.outbox.borrow().len()
    }

    /// Feeds the session and does what it says. Callbacks run with nothing borrowed.
    pub(super) fn handle(self: &Rc<Self>, input: Input) {
        let outputs = self.session.borrow_mut().handle(input);
        for output in outputs {
            match output {
                Output::Send(message) => self.send(message),
                Output::Answered { request, answer } => self.answered(request, answer),
                Output::Progress { request, payload } => self.progress(request, payload),
                Output::Event(event) => self.event(event),
                Output::Invocation(invocation) => self.invocation(invocation),
                Output::Interrupt(request) => self.interrupt(request),
                Output::SubscriptionRevoked(id) => drop(self.topics.borrow_mut().remove(&id)),
                Output::RegistrationRevoked(id) => drop(self.offers.borrow_mut().remove(&id)),
                Output::Closed(reason) => self.end(&reason),
                // Happens once, before there is an `Inner`.
                Output::Joined(_) => {}
            }
        }
    }

    /// Sends a request that gets no answer.
    pub(super) fn tell(self: &Rc<Self>, request: Request) -> Result<()> {
        let (_, message) = self
            .session
            .borrow_mut()
            .request(request)
            .map_err(|_| self.closed_error())?;
        self.send(message);
        Ok(())
    }

    /// Sends a request and notes who waits for the answer.
    pub(super) fn ask(self: &Rc<Self>, request: Request, waiting: Waiting) -> Result<RequestId> {
        let (id, message) = self
            .session
            .borrow_mut()
            .request(request)
            .map_err(|_| self.closed_error())?;
        self.waiting.borrow_mut().insert(id, waiting);
        self.send(message);
        Ok(id)
    }

    /// Sends a request and waits for the answer.
    pub(super) async fn request(self: &Rc<Self>, request: Request) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        self.ask(request, Waiting::Other(sender))?;
        receiver.await.unwrap_or_else(|_| Err(self.closed_error()))
    }

    /// Nobody waits for this call any more.
    pub(super) fn give_up(self: &Rc<Self>, request: RequestId) {
        // With the router's help the call is over now and its credit free; without, when its answer comes.
        let outputs = self.session.borrow_mut().handle(Input::Cancel(request));
        for output in outputs {
            if let Output::Send(message) = output {
                let waiting = self.waiting.borrow_mut().remove(&request);
                self.send(message);
                drop(waiting);
            }
        }
    }

    /// Forgets a handler; true if that was the last for the subscription, which then is to be ended.
    pub(super) fn forget_subscriber(&self, id: SubscriptionId, key: u64) -> bool {
        let removed = {
            let mut topics = self.topics.borrow_mut();
            let Some(topic) = topics.get_mut(&id) else { return false };
            topic.handlers.remove(&key)
        };
        // Dropping a handler may run code of the application: only now that nothing is borrowed.
        drop(removed);
        self.is_over(id)
    }

    /// Removes a topic that nobody listens to. It stays while a SUBSCRIBE for the same is under way: that will be
    /// answered by the same id, which an UNSUBSCRIBE behind it would end.
    fn is_over(&self, id: SubscriptionId) -> bool {
        let mut topics = self.topics.borrow_mut();
        let Some(topic) = topics.get(&id).filter(|topic| topic.handlers.is_empty()) else {
            return false;
        };
        let coming = self.waiting.borrow().values().any(|waiting| {
            matches!(waiting, Waiting::Subscribe { topic: uri, policy, .. }
                if *uri == topic.uri && *policy == topic.policy)
        });
        if coming {
            return false;
        }
        topics.remove(&id);
        true
    }

    pub(super) fn forget_registration(&self, id: RegistrationId) -> bool {
        let removed = self.offers.borrow_mut().remove(&id);
        removed.is_some()
    }

    fn answered(self: &Rc<Self>, request: RequestId, answer: Result<Answer>) {
        let waiting = self.waiting.borrow_mut().remove(&request);
        match waiting {
            // A receiver that is gone is not interested; a registration or subscription in vain ends by its drop.
            Some(Waiting::Call { answer: sender, .. }) => {
                drop(sender.send(answer.and_then(|answer| match answer {
                    Answer::Result(payload) => Ok(payload),
                    other => Err(super::unexpected(&other)),
                })));
            }
            Some(Waiting::Register {
                answer: sender,
                procedure,
                handler,
            }) => {
                drop(sender.send(answer.and_then(|answer| match answer {
                    Answer::Registered(id) => {
                        self.offers.borrow_mut().insert(id, Offer { procedure, handler });
                        Ok(Registration::new(self, id))
                    }
                    other => Err(super::unexpected(&other)),
                })));
            }
            Some(Waiting::Subscribe {
                answer: sender,
                topic,
                policy,
                handler,
            }) => {
                drop(sender.send(answer.and_then(|answer| match answer {
                    Answer::Subscribed(id) => Ok(self.listen(id, topic.clone(), policy, handler)),
                    other => Err(super::unexpected(&other)),
                })));
                self.sweep(&topic, policy);
            }
            Some(Waiting::Other(sender)) => drop(sender.send(answer)),
            Some(Waiting::Nobody) | None => {}
        }
    }

    fn listen(
        self: &Rc<Self>,
        id: SubscriptionId,
        uri: Uri,
        policy: MatchPolicy,
        handler: EventHandler,
    ) -> Subscription {
        let key = self.last_key.get() + 1;
        self.last_key.set(key);
        let mut topics = self.topics.borrow_mut();
        let topic = topics.entry(id).or_insert_with(|| Topic {
            uri,
            policy,
            handlers: BTreeMap::new(),
        });
        topic.handlers.insert(key, handler);
        Subscription::new(self, id, key)
    }

    /// Ends a subscription that was kept only for a SUBSCRIBE that came to nothing.
    fn sweep(self: &Rc<Self>, uri: &Uri, policy: MatchPolicy) {
        let found = {
            let topics = self.topics.borrow();
            topics
                .iter()
                .find(|(_, topic)| topic.policy == policy && topic.uri == *uri)
                .map(|(id, _)| *id)
        };
        if let Some(subscription) = found.filter(|id| self.is_over(*id)) {
            let _ = self.ask(Request::Unsubscribe { subscription }, Waiting::Nobody);
        }
    }

    fn progress(&self, request: RequestId, payload: Payload) {
        let handler = match self.waiting.borrow().get(&request) {
            Some(Waiting::Call { progress, answer, .. }) if !answer.is_canceled() => progress.clone(),
            Some(_) | None => None,
        };
        if let Some(handler) = handler {
            guarded("a progress handler", || handler(payload));
        }
    }

    fn event(&self, event: message::Event) {
        let (uri, handlers) = match self.topics.borrow().get(&event.subscription) {
            Some(topic) => (topic.uri.clone(), topic.handlers.values().cloned().collect::<Vec<_>>()),
            // The event and our UNSUBSCRIBE have crossed.
            None => return,
        };
        let topic = event.details.topic.clone().unwrap_or(uri);
        for handler in handlers {
            let event = Event {
                topic: topic.clone(),
                publication: event.publication,
                payload: event.payload.clone(),
                details: event.details.clone(),
            };
            guarded("an event handler", || handler(event));
        }
    }

    fn invocation(self: &Rc<Self>, invocation: message::Invocation) {
        let request = invocation.request;
        let offer = {
            let offers = self.offers.borrow();
            offers
                .get(&invocation.registration)
                .map(|offer| (offer.procedure.clone(), Rc::clone(&offer.handler)))
        };
        let Some((procedure, handler)) = offer else {
            // The call and our UNREGISTER have crossed.
            let error = Error::new(ErrorKind::NoSuchProcedure, "This procedure was just taken back.");
            return self.yields(request, Err(error));
        };
        let procedure = invocation.details.procedure.clone().unwrap_or(procedure);
        let progress = Progress::new(self, request, invocation.details.receive_progress);
        let call = Invocation {
            procedure,
            payload: invocation.payload,
            details: invocation.details,
        };
        let (abort, registration) = AbortHandle::new_pair();
        self.running.borrow_mut().insert(request, abort);
        let this = Rc::clone(self);
        let work = async move {
            let answer = AssertUnwindSafe(async { handler(call, progress).await })
                .catch_unwind()
                .await;
            if this.running.borrow_mut().remove(&request).is_some() {
                this.yields(request, answer.unwrap_or_else(|_| Err(this.panicked())));
            }
        };
        self.platform
            .spawn_local(Box::pin(Abortable::new(work, registration).map(drop)));
    }

    fn panicked(&self) -> Error {
        let incident = random_hex(&*self.platform, 8);
        tracing::error!(incident, "a call handler panicked");
        Error::new(ErrorKind::Internal, "Something went wrong while answering.").with_incident(incident)
    }

    /// The caller has given up: the work stops, and the router is told that it did.
    fn interrupt(self: &Rc<Self>, request: RequestId) {
        let running = self.running.borrow_mut().remove(&request);
        if let Some(running) = running {
            running.abort();
            self.yields(request, Err(Error::new(ErrorKind::Canceled, "The call was given up.")));
        }
    }

    /// One more result before the last. Nothing is sent for an invocation that is over.
    pub(super) fn progresses(self: &Rc<Self>, request: RequestId, payload: Payload) -> Result<()> {
        if !self.running.borrow().contains_key(&request) {
            return Err(Error::new(ErrorKind::Canceled, "The call is over."));
        }
        if self.outbox_len() >= OUTBOX_LIMIT {
            let text = "Too many messages wait for the connection.";
            return Err(Error::new(ErrorKind::Busy, text));
        }
        let options = YieldOptions {
            progress: true,
            ..YieldOptions::default()
        };
        self.send(Message::Yield(Yield {
            request,
            options,
            payload,
        }));
        Ok(())
    }

    fn yields(self: &Rc<Self>, request: RequestId, answer: Result<Payload>) {
        if self.is_closed() {
            return;
        }
        self.send(match answer {
            Ok(payload) => Message::Yield(Yield {
                request,
                options: YieldOptions::default(),
                payload,
            }),
            Err(error) => {
                let (uri, args, kwargs) = error.to_wire();
                let payload = Payload::encode(self.codec, &args)
                    .and_then(|payload| payload.with_kwargs(&kwargs))
                    .unwrap_or_else(|_| Payload::empty(self.codec));
                let (details, error) = (ErrorDetails::default(), Uri::unchecked(uri));
                Message::Error(ErrorMessage {
                    request_type: code::INVOCATION,
                    request,
                    details,
                    error,
                    payload,
                })
            }
        });
    }

    /// Hands a message to the link, behind what already waits for it.
    fn send(self: &Rc<Self>, message: Message) {
        if self.is_closed() {
            return;
        }
        let waits = !self.outbox.borrow().is_empty();
        let rest = if waits {
            message
        } else {
            match self.sink.try_send(message) {
                Ok(()) => return,
                Err(SendError::Full(message)) => *message,
                // The pump will hear of it.
                Err(SendError::Closed) => return,
            }
        };
        self.outbox.borrow_mut().push_back(rest);
        if !waits {
            let this = Rc::clone(self);
            self.platform.spawn_local(Box::pin(async move { this.flush().await }));
        }
    }

    /// Whether more than so many messages wait for the link.
    pub(super) fn is_behind(&self, most: usize) -> bool {
        !self.is_closed() && self.outbox_len() > most
    }

    /// Waits until the link takes a message, and lets others run.
    pub(super) async fn link_moves(&self) {
        self.sink.room().await;
        yield_now().await;
    }

    /// Empties the outbox as the link takes it. The message under way stays in front, so that nothing overtakes it.
    async fn flush(self: Rc<Self>) {
        while !self.is_closed() {
            self.sink.room().await;
            loop {
                let Some(message) = self.outbox.borrow().front().cloned() else {
                    return;
                };
                match self.sink.try_send(message) {
                    Ok(()) => drop(self.outbox.borrow_mut().pop_front()),
                    Err(SendError::Full(_)) => break,
                    Err(SendError::Closed) => return self.outbox.borrow_mut().clear(),
                }
            }
        }
    }

    /// The session is over: closes the link and tells everybody who waits.
    pub(super) fn end(self: &Rc<Self>, reason: &CloseReason) {
        if self.is_closed() {
            return;
        }
        *self.close_reason.borrow_mut() = Some(reason.clone());
        self.sink.close();
        self.outbox.borrow_mut().clear();
        self.credit.close();
        let running = std::mem::take(&mut *self.running.borrow_mut());
        running.into_values().for_each(|running| running.abort());
        // Senders and handlers are dropped with nothing borrowed: their owners may react at once.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        drop(waiting);
        let topics = std::mem::take(&mut *self.topics.borrow_mut());
        drop(topics);
        let offers = std::mem::take(&mut *self.offers.borrow_mut());
        drop(offers);
        let closing = std::mem::take(&mut *self.closing.borrow_mut());
        for sender in closing {
            drop(sender.send(reason.clone()));
        }
    }
}

/// Runs a callback of the application; its panic costs this one callback, not the pump. (In the browser a panic ends
/// the page, and the page says so.)
fn guarded(what: &str, callback: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(callback)).is_err() {
        tracing::error!("{what} panicked");
    }
}
