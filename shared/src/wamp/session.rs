//! The pure client session: joining, requests and their answers, events and invocations, leaving.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, ErrorKind, Result, WireDetails},
    wamp::{
        id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId},
        message::{
            Authenticate, Call, CallOptions, Cancel, CancelMode, CancelOptions, Coati, ErrorMessage, Event, Extra,
            Hello, HelloDetails, Invocation, Message, Publish, PublishOptions, Register, RegisterOptions, Subscribe,
            SubscribeOptions, Unregister, Unsubscribe, Welcome,
        },
        payload::Payload,
        pending::{Asked, Matched, Pending},
        role::{Roles, feature},
        transport::LinkError,
        uri::{Uri, close, error},
        value::Dynamic,
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
    pub const fn new(realm: Uri) -> Self {
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

/// Who the router says that this peer is, and what the router can do.
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
    /// What the router announced.
    pub roles: Roles,
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// A close or error URI.
    pub uri: Uri,
    /// A sentence for people.
    pub message: Option<String>,
}

impl CloseReason {
    fn new(uri: &str, message: Option<String>) -> Self {
        Self {
            uri: Uri::unchecked(uri),
            message,
        }
    }

    /// What requests fail with that the end has left without an answer.
    #[must_use]
    pub fn to_error(&self) -> Error {
        let text = self
            .message
            .clone()
            .unwrap_or_else(|| format!("The session is over ({}).", self.uri));
        match ErrorKind::of_uri(self.uri.as_str()) {
            ErrorKind::Application => Error::new(ErrorKind::Disconnected, text),
            kind => {
                let mut error = Error::new(kind, text);
                error.uri = self.uri.to_string();
                error
            }
        }
    }
}

/// Something that wants an answer.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the messages")]
pub enum Request {
    /// PUBLISH; answered only with `acknowledge`.
    Publish {
        topic: Uri,
        payload: Payload,
        options: PublishOptions,
    },
    /// SUBSCRIBE
    Subscribe { topic: Uri, options: SubscribeOptions },
    /// UNSUBSCRIBE
    Unsubscribe { subscription: SubscriptionId },
    /// CALL
    Call {
        procedure: Uri,
        payload: Payload,
        options: CallOptions,
    },
    /// REGISTER
    Register { procedure: Uri, options: RegisterOptions },
    /// UNREGISTER
    Unregister { registration: RegistrationId },
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The publication's id.
    Published(PublicationId),
    /// The subscription's id.
    Subscribed(SubscriptionId),
    /// The subscription is over.
    Unsubscribed,
    /// A call's result.
    Result(Payload),
    /// The registration's id.
    Registered(RegistrationId),
    /// The registration is over.
    Unregistered,
}

/// What happens to the session.
#[derive(Debug)]
pub enum Input {
    /// Join a realm: the first input.
    Join(Join),
    /// A message came in.
    Message(Message),
    /// Give a call up: nobody waits for its answer any more.
    Cancel(RequestId),
    /// End the session.
    Leave {
        /// A close URI.
        reason: Uri,
    },
    /// Nothing comes any more.
    LinkLost(LinkError),
}

/// What the shell has to do.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send a message.
    Send(Message),
    /// The session is open.
    Joined(SessionDetails),
    /// A request was answered, for good.
    Answered {
        /// Which.
        request: RequestId,
        /// By what.
        answer: Result<Answer>,
    },
    /// A call brought one of several results.
    Progress {
        /// Which.
        request: RequestId,
        /// The result.
        payload: Payload,
    },
    /// An event came.
    Event(Event),
    /// A call came.
    Invocation(Invocation),
    /// A call that came was given up.
    Interrupt(RequestId),
    /// The router took a subscription away.
    SubscriptionRevoked(SubscriptionId),
    /// The router took a registration away.
    RegistrationRevoked(RegistrationId),
    /// The session is over, and the link has to be closed.
    Closed(CloseReason),
}

#[derive(Debug)]
enum State {
    Idle,
    Joining(Join),
    Joined { cancels: bool },
    Leaving { reason: Uri },
    Closed,
}

/// One client session.
#[derive(Debug)]
pub struct Session {
    state: State,
    pending: Pending,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            state: State::Idle,
            pending: Pending::default(),
        }
    }
}

impl Session {
    /// Turns a request into its message.
    ///
    /// # Errors
    /// [`ErrorKind::Disconnected`] if the session is not open.
    pub fn request(&mut self, request: Request) -> Result<(RequestId, Message)> {
        if !matches!(self.state, State::Joined { .. }) {
            return Err(Error::new(ErrorKind::Disconnected, "There is no session."));
        }
        let pending = &mut self.pending;
        Ok(match request {
            Request::Publish {
                topic,
                payload,
                options,
            } => {
                let request = if options.acknowledge {
                    pending.ask(Asked::Publish)
                } else {
                    pending.draw()
                };
                (
                    request,
                    Message::Publish(Box::new(Publish {
                        request,
                        options,
                        topic,
                        payload,
                    })),
                )
            }
            Request::Subscribe { topic, options } => {
                let request = pending.ask(Asked::Subscribe);
                (
                    request,
                    Message::Subscribe(Subscribe {
                        request,
                        options,
                        topic,
                    }),
                )
            }
            Request::Unsubscribe { subscription } => {
                let request = pending.ask(Asked::Unsubscribe);
                (request, Message::Unsubscribe(Unsubscribe { request, subscription }))
            }
            Request::Call {
                procedure,
                payload,
                options,
            } => {
                let request = pending.ask(Asked::Call);
                (
                    request,
                    Message::Call(Call {
                        request,
                        options,
                        procedure,
                        payload,
                    }),
                )
            }
            Request::Register { procedure, options } => {
                let request = pending.ask(Asked::Register);
                (
                    request,
                    Message::Register(Register {
                        request,
                        options,
                        procedure,
                    }),
                )
            }
            Request::Unregister { registration } => {
                let request = pending.ask(Asked::Unregister);
                (request, Message::Unregister(Unregister { request, registration }))
            }
        })
    }

    /// Takes what happened and says what to do.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Join(join) => {
                out.push(Output::Send(hello(&join)));
                self.state = State::Joining(join);
            }
            Input::Message(message) => self.message(message, &mut out),
            Input::Cancel(request) => self.cancel(request, &mut out),
            Input::Leave { reason } => match self.state {
                State::Joined { .. } => {
                    out.push(Output::Send(Message::goodbye(reason.as_str(), None)));
                    self.state = State::Leaving { reason };
                }
                State::Idle | State::Joining(_) => self.close(CloseReason::new(reason.as_str(), None), &mut out),
                State::Leaving { .. } | State::Closed => {}
            },
            Input::LinkLost(error) => {
                let reason = match (&self.state, error) {
                    (State::Leaving { reason }, _) => CloseReason::new(reason.as_str(), None),
                    (_, LinkError::Malformed(text)) => {
                        out.push(Output::Send(Message::abort(error::PROTOCOL_VIOLATION, text.clone())));
                        CloseReason::new(error::PROTOCOL_VIOLATION, Some(text))
                    }
                    (_, error @ LinkError::Closed(_)) => {
                        CloseReason::new(ErrorKind::Disconnected.uri(), Some(format!("Disconnected: {error}.")))
                    }
                };
                self.close(reason, &mut out);
            }
        }
        out
    }

    /// Whether the session is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    fn close(&mut self, reason: CloseReason, out: &mut Vec<Output>) {
        if !self.is_closed() {
            self.state = State::Closed;
            out.push(Output::Closed(reason));
        }
    }

    fn violation(&mut self, text: String, out: &mut Vec<Output>) {
        out.push(Output::Send(Message::abort(error::PROTOCOL_VIOLATION, text.clone())));
        self.close(CloseReason::new(error::PROTOCOL_VIOLATION, Some(text)), out);
    }

    /// Without the router's help the answer is still waited for, but for nobody.
    fn cancel(&mut self, request: RequestId, out: &mut Vec<Output>) {
        if matches!(self.state, State::Joined { cancels: true }) && self.pending.forget(request) {
            let options = CancelOptions {
                mode: Some(CancelMode::KillNoWait),
                reason: None,
            };
            out.push(Output::Send(Message::Cancel(Cancel { request, options })));
        }
    }

    fn message(&mut self, message: Message, out: &mut Vec<Output>) {
        match &self.state {
            State::Idle | State::Closed => {}
            State::Joining(join) => {
                let join = join.clone();
                self.joining(&join, message, out);
            }
            State::Joined { .. } => self.joined(message, out),
            State::Leaving { reason } => {
                if let Message::Goodbye(_) = message {
                    let reason = CloseReason::new(reason.as_str(), None);
                    self.close(reason, out);
                }
            }
        }
    }

    fn joining(&mut self, join: &Join, message: Message, out: &mut Vec<Output>) {
        match message {
            Message::Welcome(welcome) => {
                let Welcome { session, details } = *welcome;
                self.state = State::Joined {
                    cancels: details.roles.has("dealer", feature::CALL_CANCELING),
                };
                out.push(Output::Joined(SessionDetails {
                    session,
                    realm: details.realm.unwrap_or_else(|| join.realm.clone()),
                    authid: details.authid.unwrap_or_default(),
                    authrole: details.authrole.unwrap_or_default(),
                    roles: details.roles,
                }));
            }
            Message::Abort(abort) => {
                self.close(
                    CloseReason {
                        uri: abort.reason,
                        message: abort.details.message,
                    },
                    out,
                );
            }
            Message::Challenge(challenge) => match &join.ticket {
                Some(ticket) if challenge.method == "ticket" => {
                    let answer = Authenticate {
                        signature: ticket.clone(),
                        extra: Extra::new(),
                    };
                    out.push(Output::Send(Message::Authenticate(answer)));
                }
                Some(_) | None => {
                    let text = format!("This client cannot authenticate by '{}'.", challenge.method);
                    out.push(Output::Send(Message::abort(error::NO_AUTH_METHOD, text.clone())));
                    self.close(CloseReason::new(error::NO_AUTH_METHOD, Some(text)), out);
                }
            },
            other => self.violation(format!("{} before WELCOME", other.name()), out),
        }
    }

    fn joined(&mut self, message: Message, out: &mut Vec<Output>) {
        match message {
            Message::Event(event) => out.push(Output::Event(event)),
            Message::Invocation(invocation) => out.push(Output::Invocation(invocation)),
            Message::Interrupt(interrupt) => out.push(Output::Interrupt(interrupt.request)),
            Message::Result(result) if result.details.progress => {
                let request = result.request;
                if self.is_expected(request, Asked::Call, false, out) {
                    out.push(Output::Progress {
                        request,
                        payload: result.payload,
                    });
                }
            }
            Message::Result(result) => {
                self.answered(result.request, Asked::Call, Answer::Result(result.payload), out);
            }
            Message::Error(error) => self.error(&error, out),
            Message::Published(message) => {
                self.answered(
                    message.request,
                    Asked::Publish,
                    Answer::Published(message.publication),
                    out,
                );
            }
            Message::Subscribed(message) => {
                self.answered(
                    message.request,
                    Asked::Subscribe,
                    Answer::Subscribed(message.subscription),
                    out,
                );
            }
            Message::Registered(message) => {
                self.answered(
                    message.request,
                    Asked::Register,
                    Answer::Registered(message.registration),
                    out,
                );
            }
            Message::Unsubscribed(message) => match (message.request, message.details) {
                (Some(request), _) => self.answered(request, Asked::Unsubscribe, Answer::Unsubscribed, out),
                (None, details) => {
                    out.extend(details.and_then(|it| it.subscription).map(Output::SubscriptionRevoked));
                }
            },
            Message::Unregistered(message) => match (message.request, message.details) {
                (Some(request), _) => self.answered(request, Asked::Unregister, Answer::Unregistered, out),
                (None, details) => {
                    out.extend(details.and_then(|it| it.registration).map(Output::RegistrationRevoked));
                }
            },
            Message::Goodbye(goodbye) => {
                out.push(Output::Send(Message::goodbye(close::GOODBYE_AND_OUT, None)));
                self.close(
                    CloseReason {
                        uri: goodbye.reason,
                        message: goodbye.details.message,
                    },
                    out,
                );
            }
            Message::Abort(abort) => {
                self.close(
                    CloseReason {
                        uri: abort.reason,
                        message: abort.details.message,
                    },
                    out,
                );
            }
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Challenge(_)
            | Message::Authenticate(_)
            | Message::Publish(_)
            | Message::Subscribe(_)
            | Message::Unsubscribe(_)
            | Message::EventReceived(_)
            | Message::Call(_)
            | Message::Cancel(_)
            | Message::Register(_)
            | Message::Unregister(_)
            | Message::Yield(_) => self.violation(format!("{} from a router", message.name()), out),
        }
    }

    fn is_expected(&mut self, request: RequestId, asked: Asked, is_final: bool, out: &mut Vec<Output>) -> bool {
        match self.pending.answer(request, asked, is_final) {
            Matched::Expected => true,
            Matched::Late => false,
            Matched::Wrong => {
                self.violation(
                    format!("an answer to request {request}, which never was of that kind"),
                    out,
                );
                false
            }
        }
    }

    fn answered(&mut self, request: RequestId, asked: Asked, answer: Answer, out: &mut Vec<Output>) {
        if self.is_expected(request, asked, true, out) {
            out.push(Output::Answered {
                request,
                answer: Ok(answer),
            });
        }
    }

    fn error(&mut self, error: &ErrorMessage, out: &mut Vec<Output>) {
        let kinds = [
            Asked::Publish,
            Asked::Subscribe,
            Asked::Unsubscribe,
            Asked::Call,
            Asked::Register,
            Asked::Unregister,
        ];
        let Some(asked) = kinds.into_iter().find(|asked| asked.code() == error.request_type) else {
            return self.violation(format!("ERROR for a request of type {}", error.request_type), out);
        };
        let request = error.request;
        if self.is_expected(request, asked, true, out) {
            out.push(Output::Answered {
                request,
                answer: Err(error_of(error)),
            });
        }
    }
}

/// The error in an ERROR message of any peer: the first argument is its text if it is text.
fn error_of(error: &ErrorMessage) -> Error {
    let args: Vec<Dynamic> = error.payload.decode_args().unwrap_or_default();
    let text = match args.into_iter().next() {
        Some(Dynamic::Text(text)) => Some(text),
        Some(_) | None => None,
    };
    let wire: WireDetails = error.payload.decode_kwargs().unwrap_or_default();
    Error::from_wire(error.error.as_str(), text, wire)
}

fn hello(join: &Join) -> Message {
    let mut authmethods = join.authmethods.clone();
    if join.ticket.is_some() && authmethods.is_empty() {
        authmethods.push("ticket".to_owned());
    }
    Message::Hello(Box::new(Hello {
        realm: join.realm.clone(),
        details: HelloDetails {
            roles: Roles::client(),
            agent: join.agent.clone(),
            authmethods: (!authmethods.is_empty()).then_some(authmethods),
            authid: join.authid.clone(),
            authrole: join.authrole.clone(),
            authextra: None,
            coati: join.coati.clone(),
        },
    }))
}
