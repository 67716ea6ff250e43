//! Every WAMP message as a struct: a typed head and, where there are arguments, an undecoded payload.

mod details;
mod usual;
mod wire;

pub use details::*;

use crate::wamp::{
    codec::CodecId,
    id::{PublicationId, RegistrationId, RequestId, SessionId, SubscriptionId},
    payload::Payload,
    uri::Uri,
};

/// `[1, Realm, Details]`: a client opens a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The realm to join.
    pub realm: Uri,
    /// Who asks and what it can do.
    pub details: HelloDetails,
}

/// `[2, Session, Details]`: the router opens it.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// The new session.
    pub session: SessionId,
    /// Who the session is and what the router can do.
    pub details: WelcomeDetails,
}

/// `[3, Details, Reason, Args?, Kwargs?]`: either side refuses; never answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Abort {
    /// A sentence for people.
    pub details: CloseDetails,
    /// Why.
    pub reason: Uri,
    /// Arguments.
    pub payload: Payload,
}

/// `[4, AuthMethod, Extra]`: the router wants proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge {
    /// How to prove.
    pub method: String,
    /// What to prove with.
    pub extra: Extra,
}

/// `[5, Signature, Extra]`: the proof.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticate {
    /// The proof itself.
    pub signature: String,
    /// More about it.
    pub extra: Extra,
}

/// `[6, Details, Reason]`: either side ends the session; must be answered by the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Goodbye {
    /// A sentence for people.
    pub details: CloseDetails,
    /// Why.
    pub reason: Uri,
}

/// `[8, ReqType, ReqId, Details, Error, Args?, Kwargs?]`: a request failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorMessage {
    /// Message code of the request.
    pub request_type: u64,
    /// The request.
    pub request: RequestId,
    /// More about it.
    pub details: ErrorDetails,
    /// What went wrong.
    pub error: Uri,
    /// Arguments.
    pub payload: Payload,
}

/// `[16, Req, Options, Topic, Args?, Kwargs?]`
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The request.
    pub request: RequestId,
    /// Who may receive it and whether to answer.
    pub options: PublishOptions,
    /// Where to.
    pub topic: Uri,
    /// Arguments.
    pub payload: Payload,
}

/// `[17, Req, Publication]`
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The request answered.
    pub request: RequestId,
    /// The publication's id.
    pub publication: PublicationId,
}

/// `[32, Req, Options, Topic]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// The request.
    pub request: RequestId,
    /// How the topic matches.
    pub options: SubscribeOptions,
    /// The topic or pattern.
    pub topic: Uri,
}

/// `[33, Req, Subscription]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribed {
    /// The request answered.
    pub request: RequestId,
    /// The id that events carry.
    pub subscription: SubscriptionId,
}

/// `[34, Req, Subscription]`
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe {
    /// The request.
    pub request: RequestId,
    /// What to end.
    pub subscription: SubscriptionId,
}

/// `[35, Req]`, or `[35, 0, Details]` when the broker takes a subscription away.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribed {
    /// The request answered; none for a revocation.
    pub request: Option<RequestId>,
    /// What was taken away and why.
    pub details: Option<UnsubscribedDetails>,
}

/// `[36, Subscription, Publication, Details, Args?, Kwargs?]`
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The receiver's subscription.
    pub subscription: SubscriptionId,
    /// The publication.
    pub publication: PublicationId,
    /// Topic of pattern subscriptions, publisher.
    pub details: EventDetails,
    /// Arguments.
    pub payload: Payload,
}

/// `[48, Req, Options, Procedure, Args?, Kwargs?]`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The request.
    pub request: RequestId,
    /// Time limit and the like.
    pub options: CallOptions,
    /// What to call.
    pub procedure: Uri,
    /// Arguments.
    pub payload: Payload,
}

/// `[49, CALL.Req, Options]`
#[derive(Clone, Debug, PartialEq)]
pub struct Cancel {
    /// The call to give up.
    pub request: RequestId,
    /// How.
    pub options: CancelOptions,
}

/// `[50, CALL.Req, Details, Args?, Kwargs?]`: RESULT.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResult {
    /// The call answered.
    pub request: RequestId,
    /// Whether more follows.
    pub details: ResultDetails,
    /// The result as arguments.
    pub payload: Payload,
}

/// `[64, Req, Options, Procedure]`
#[derive(Clone, Debug, PartialEq)]
pub struct Register {
    /// The request.
    pub request: RequestId,
    /// How the procedure matches.
    pub options: RegisterOptions,
    /// The procedure or pattern.
    pub procedure: Uri,
}

/// `[65, Req, Registration]`
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// The request answered.
    pub request: RequestId,
    /// The id that invocations carry.
    pub registration: RegistrationId,
}

/// `[66, Req, Registration]`
#[derive(Clone, Debug, PartialEq)]
pub struct Unregister {
    /// The request.
    pub request: RequestId,
    /// What to end.
    pub registration: RegistrationId,
}

/// `[67, Req]`, or `[67, 0, Details]` when the dealer takes a registration away.
#[derive(Clone, Debug, PartialEq)]
pub struct Unregistered {
    /// The request answered; none for a revocation.
    pub request: Option<RequestId>,
    /// What was taken away and why.
    pub details: Option<UnregisteredDetails>,
}

/// `[68, Req, Registration, Details, Args?, Kwargs?]`
#[derive(Clone, Debug, PartialEq)]
pub struct Invocation {
    /// The dealer's request.
    pub request: RequestId,
    /// What is called.
    pub registration: RegistrationId,
    /// Who calls.
    pub details: InvocationDetails,
    /// Arguments.
    pub payload: Payload,
}

/// `[69, INVOCATION.Req, Options]`
#[derive(Clone, Debug, PartialEq)]
pub struct Interrupt {
    /// The invocation to give up.
    pub request: RequestId,
    /// How and why.
    pub options: CancelOptions,
}

/// `[70, INVOCATION.Req, Options, Args?, Kwargs?]`
#[derive(Clone, Debug, PartialEq)]
pub struct Yield {
    /// The invocation answered.
    pub request: RequestId,
    /// Whether more follows.
    pub options: YieldOptions,
    /// The result as arguments.
    pub payload: Payload,
}

/// `[337, Publication]`, an extension of Autobahn's.
#[derive(Clone, Debug, PartialEq)]
pub struct EventReceived {
    /// What was received.
    pub publication: PublicationId,
}

/// Any WAMP message.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is documented at its struct")]
pub enum Message {
    Hello(Box<Hello>),
    Welcome(Box<Welcome>),
    Abort(Abort),
    Challenge(Challenge),
    Authenticate(Authenticate),
    Goodbye(Goodbye),
    Error(ErrorMessage),
    Publish(Box<Publish>),
    Published(Published),
    Subscribe(Subscribe),
    Subscribed(Subscribed),
    Unsubscribe(Unsubscribe),
    Unsubscribed(Unsubscribed),
    Event(Event),
    EventReceived(EventReceived),
    Call(Call),
    Cancel(Cancel),
    Result(CallResult),
    Register(Register),
    Registered(Registered),
    Unregister(Unregister),
    Unregistered(Unregistered),
    Invocation(Invocation),
    Interrupt(Interrupt),
    Yield(Yield),
}

/// Message codes, also used as request types in ERROR.
#[expect(missing_docs, reason = "named after their messages")]
pub mod code {
    pub const HELLO: u64 = 1;
    pub const WELCOME: u64 = 2;
    pub const ABORT: u64 = 3;
    pub const CHALLENGE: u64 = 4;
    pub const AUTHENTICATE: u64 = 5;
    pub const GOODBYE: u64 = 6;
    pub const ERROR: u64 = 8;
    pub const PUBLISH: u64 = 16;
    pub const PUBLISHED: u64 = 17;
    pub const SUBSCRIBE: u64 = 32;
    pub const SUBSCRIBED: u64 = 33;
    pub const UNSUBSCRIBE: u64 = 34;
    pub const UNSUBSCRIBED: u64 = 35;
    pub const EVENT: u64 = 36;
    pub const CALL: u64 = 48;
    pub const CANCEL: u64 = 49;
    pub const RESULT: u64 = 50;
    pub const REGISTER: u64 = 64;
    pub const REGISTERED: u64 = 65;
    pub const UNREGISTER: u64 = 66;
    pub const UNREGISTERED: u64 = 67;
    pub const INVOCATION: u64 = 68;
    pub const INTERRUPT: u64 = 69;
    pub const YIELD: u64 = 70;
    pub const EVENT_RECEIVED: u64 = 337;
}

impl Message {
    /// The message's code.
    #[must_use]
    pub const fn code(&self) -> u64 {
        match self {
            Self::Hello(_) => code::HELLO,
            Self::Welcome(_) => code::WELCOME,
            Self::Abort(_) => code::ABORT,
            Self::Challenge(_) => code::CHALLENGE,
            Self::Authenticate(_) => code::AUTHENTICATE,
            Self::Goodbye(_) => code::GOODBYE,
            Self::Error(_) => code::ERROR,
            Self::Publish(_) => code::PUBLISH,
            Self::Published(_) => code::PUBLISHED,
            Self::Subscribe(_) => code::SUBSCRIBE,
            Self::Subscribed(_) => code::SUBSCRIBED,
            Self::Unsubscribe(_) => code::UNSUBSCRIBE,
            Self::Unsubscribed(_) => code::UNSUBSCRIBED,
            Self::Event(_) => code::EVENT,
            Self::EventReceived(_) => code::EVENT_RECEIVED,
            Self::Call(_) => code::CALL,
            Self::Cancel(_) => code::CANCEL,
            Self::Result(_) => code::RESULT,
            Self::Register(_) => code::REGISTER,
            Self::Registered(_) => code::REGISTERED,
            Self::Unregister(_) => code::UNREGISTER,
            Self::Unregistered(_) => code::UNREGISTERED,
            Self::Invocation(_) => code::INVOCATION,
            Self::Interrupt(_) => code::INTERRUPT,
            Self::Yield(_) => code::YIELD,
        }
    }

    /// The message's name, for logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "HELLO",
            Self::Welcome(_) => "WELCOME",
            Self::Abort(_) => "ABORT",
            Self::Challenge(_) => "CHALLENGE",
            Self::Authenticate(_) => "AUTHENTICATE",
            Self::Goodbye(_) => "GOODBYE",
            Self::Error(_) => "ERROR",
            Self::Publish(_) => "PUBLISH",
            Self::Published(_) => "PUBLISHED",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Subscribed(_) => "SUBSCRIBED",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
            Self::Unsubscribed(_) => "UNSUBSCRIBED",
            Self::Event(_) => "EVENT",
            Self::EventReceived(_) => "EVENT_RECEIVED",
            Self::Call(_) => "CALL",
            Self::Cancel(_) => "CANCEL",
            Self::Result(_) => "RESULT",
            Self::Register(_) => "REGISTER",
            Self::Registered(_) => "REGISTERED",
            Self::Unregister(_) => "UNREGISTER",
            Self::Unregistered(_) => "UNREGISTERED",
            Self::Invocation(_) => "INVOCATION",
            Self::Interrupt(_) => "INTERRUPT",
            Self::Yield(_) => "YIELD",
        }
    }

    /// Whether queues keep room for this message: answers and everything that ends something. Only calls,
    /// invocations, publications and events wait for room.
    #[must_use]
    pub const fn has_reserved_room(&self) -> bool {
        !matches!(
            self,
            Self::Call(_) | Self::Invocation(_) | Self::Publish(_) | Self::Event(_)
        )
    }

    /// The message's arguments, if it is of a kind that has some.
    #[must_use]
    pub const fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Abort(message) => Some(&message.payload),
            Self::Error(message) => Some(&message.payload),
            Self::Publish(message) => Some(&message.payload),
            Self::Event(message) => Some(&message.payload),
            Self::Call(message) => Some(&message.payload),
            Self::Result(message) => Some(&message.payload),
            Self::Invocation(message) => Some(&message.payload),
            Self::Yield(message) => Some(&message.payload),
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Challenge(_)
            | Self::Authenticate(_)
            | Self::Goodbye(_)
            | Self::Published(_)
            | Self::Subscribe(_)
            | Self::Subscribed(_)
            | Self::Unsubscribe(_)
            | Self::Unsubscribed(_)
            | Self::EventReceived(_)
            | Self::Cancel(_)
            | Self::Register(_)
            | Self::Registered(_)
            | Self::Unregister(_)
            | Self::Unregistered(_)
            | Self::Interrupt(_) => None,
        }
    }

    /// An ABORT with a sentence for people.
    #[must_use]
    pub fn abort(reason: &str, message: impl Into<String>) -> Self {
        Self::Abort(Abort {
            details: CloseDetails {
                message: Some(message.into()),
            },
            reason: Uri::unchecked(reason),
            payload: Payload::empty(CodecId::Json),
        })
    }

    /// A GOODBYE with a sentence for people.
    #[must_use]
    pub fn goodbye(reason: &str, message: Option<String>) -> Self {
        Self::Goodbye(Goodbye {
            details: CloseDetails { message },
            reason: Uri::unchecked(reason),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_small_because_they_are_moved_about_a_lot() {
        let size = size_of::<Message>();
        assert!(size <= 200, "{size} bytes: put what is rare or large into a box");
    }
}
