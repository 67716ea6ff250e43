//! The layouts: which element of a frame is which field of which message.

use bytes::{Buf, Bytes, BytesMut};
use serde::de::DeserializeOwned;

use super::*;
use crate::wamp::codec::{DecodeError, DecodeErrorKind, Element, Elements, FrameWriter, Kind, payload_count};

/// A number in a head: an id or a code.
trait Number: DeserializeOwned {
    /// None if it is out of range.
    fn of(number: u64) -> Option<Self>;
}

impl Number for u64 {
    fn of(number: u64) -> Option<Self> {
        Some(number)
    }
}

macro_rules! number {
    ($($id:ty),*) => { $(
        impl Number for $id {
            fn of(number: u64) -> Option<Self> {
                Self::new(number)
            }
        }
    )* };
}

number!(RequestId, SessionId, SubscriptionId, RegistrationId, PublicationId);

/// Reads the elements of a frame in order.
struct Fields {
    codec: CodecId,
    /// Nothing, once the arguments are taken out of it.
    frame: Bytes,
    elements: Elements,
    next: usize,
}

impl Fields {
    fn wrong(text: impl Into<String>) -> DecodeError {
        DecodeError::new(DecodeErrorKind::BadLayout, text)
    }

    /// The next element and its bytes.
    fn peek(&self) -> Option<(Element, &[u8])> {
        let element = self.elements.get(self.next)?;
        Some((element, self.frame.get(element.range())?))
    }

    fn read<T: DeserializeOwned>(&mut self, name: &str, kind: Kind) -> Result<T, DecodeError> {
        let (element, bytes) = self.peek().ok_or_else(|| Self::wrong(format!("{name} is missing")))?;
        if element.kind != kind {
            return Err(Self::wrong(format!("{name} has the wrong type")));
        }
        let read = self
            .codec
            .value_from_slice(bytes)
            .map_err(|error| Self::wrong(format!("{name}: {error}")))?;
        self.next += 1;
        Ok(read)
    }

    fn number<T: Number>(&mut self, name: &str) -> Result<T, DecodeError> {
        if let Some((_, bytes)) = self.peek()
            && let Some(number) = self.codec.plain_number(bytes).and_then(T::of)
        {
            self.next += 1;
            return Ok(number);
        }
        self.read(name, Kind::Number)
    }

    fn uri(&mut self, name: &str) -> Result<Uri, DecodeError> {
        if let Some((element, bytes)) = self.peek()
            && element.plain
            && let Some(text) = self.codec.plain_text(bytes)
        {
            let uri = Uri::unchecked(text);
            self.next += 1;
            return Ok(uri);
        }
        self.text(name)
    }

    fn text<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, DecodeError> {
        self.read(name, Kind::Text)
    }

    fn details<T: DeserializeOwned + Default>(&mut self, name: &str) -> Result<T, DecodeError> {
        if self.peek().is_some_and(|(_, bytes)| bytes == self.codec.empty_map()) {
            self.next += 1;
            return Ok(T::default());
        }
        self.read(name, Kind::Map)
    }

    fn request(&mut self) -> Result<RequestId, DecodeError> {
        self.number("the request id")
    }

    /// The request, or none for the 0 of a revocation.
    fn revocable<T: DeserializeOwned + Default>(&mut self) -> Result<(Option<RequestId>, Option<T>), DecodeError> {
        let request: u64 = self.number("the request id")?;
        if request == 0 {
            return Ok((None, Some(self.details("the details")?)));
        }
        let request = RequestId::new(request).ok_or_else(|| Self::wrong("the request id is out of range"))?;
        Ok((Some(request), None))
    }

    /// The arguments, to the end of the frame.
    fn payload(&mut self) -> Result<Payload, DecodeError> {
        let Some(args) = self.elements.get(self.next) else {
            return Ok(Payload::empty(self.codec));
        };
        // Text and bytes are the opaque payloads of the pass-through extensions: they stand alone.
        let opaque = matches!(args.kind, Kind::Text | Kind::Binary);
        if !opaque && args.kind != Kind::List {
            return Err(Self::wrong("the arguments are not a list"));
        }
        self.next += 1;
        let kwargs = match self.elements.get(self.next) {
            Some(kwargs) if kwargs.kind == Kind::Map && !opaque => {
                self.next += 1;
                self.frame.slice(kwargs.range())
            }
            Some(_) => return Err(Self::wrong("the keyword arguments are not a map")),
            None => Bytes::new(),
        };
        let kwargs = if self.codec.is_empty_map(&kwargs) {
            Bytes::new()
        } else {
            kwargs
        };
        // The last use of the frame: what is left of it are the arguments.
        let mut bytes = std::mem::take(&mut self.frame);
        bytes.truncate(args.range().end);
        bytes.advance(args.range().start);
        if self.codec.is_empty_sequence(&bytes) {
            bytes = Bytes::new();
        }
        Ok(Payload::from_checked(self.codec, bytes, kwargs))
    }

    fn message(&mut self) -> Result<Message, DecodeError> {
        let code: u64 = self.number("the message code")?;
        Ok(match code {
            code::HELLO => Message::Hello(Box::new(Hello {
                realm: self.uri("the realm")?,
                details: self.details("the details")?,
            })),
            code::WELCOME => Message::Welcome(Box::new(Welcome {
                session: self.number("the session id")?,
                details: self.details("the details")?,
            })),
            code::ABORT => Message::Abort(Abort {
                details: self.details("the details")?,
                reason: self.uri("the reason")?,
                payload: self.payload()?,
            }),
            code::CHALLENGE => Message::Challenge(Challenge {
                method: self.text("the method")?,
                extra: self.details("the extra")?,
            }),
            code::AUTHENTICATE => Message::Authenticate(Authenticate {
                signature: self.text("the signature")?,
                extra: self.details("the extra")?,
            }),
            code::GOODBYE => Message::Goodbye(Goodbye {
                details: self.details("the details")?,
                reason: self.uri("the reason")?,
            }),
            code::ERROR => Message::Error(ErrorMessage {
                request_type: self.number("the request type")?,
                request: self.request()?,
                details: self.details("the details")?,
                error: self.uri("the error")?,
                payload: self.payload()?,
            }),
            // As they come: a message is too large to be moved about for nothing.
            code::PUBLISH..=code::EVENT | code::EVENT_RECEIVED => return self.publish_subscribe(code),
            code::CALL..=code::YIELD => return self.call(code),
            _ => {
                return Err(DecodeError::new(
                    DecodeErrorKind::UnknownMessage,
                    format!("no message has code {code}"),
                ));
            }
        })
    }

    fn publish_subscribe(&mut self, code: u64) -> Result<Message, DecodeError> {
        Ok(match code {
            code::PUBLISH => Message::Publish(Box::new(Publish {
                request: self.request()?,
                options: self.details("the options")?,
                topic: self.uri("the topic")?,
                payload: self.payload()?,
            })),
            code::PUBLISHED => Message::Published(Published {
                request: self.request()?,
                publication: self.number("the publication id")?,
            }),
            code::SUBSCRIBE => Message::Subscribe(Subscribe {
                request: self.request()?,
                options: self.details("the options")?,
                topic: self.uri("the topic")?,
            }),
            code::SUBSCRIBED => Message::Subscribed(Subscribed {
                request: self.request()?,
                subscription: self.number("the subscription id")?,
            }),
            code::UNSUBSCRIBE => Message::Unsubscribe(Unsubscribe {
                request: self.request()?,
                subscription: self.number("the subscription id")?,
            }),
            code::UNSUBSCRIBED => {
                let (request, details) = self.revocable()?;
                Message::Unsubscribed(Unsubscribed { request, details })
            }
            code::EVENT => Message::Event(Event {
                subscription: self.number("the subscription id")?,
                publication: self.number("the publication id")?,
                details: self.details("the details")?,
                payload: self.payload()?,
            }),
            code::EVENT_RECEIVED => Message::EventReceived(EventReceived {
                publication: self.number("the publication id")?,
            }),
            _ => {
                return Err(DecodeError::new(
                    DecodeErrorKind::UnknownMessage,
                    format!("no message has code {code}"),
                ));
            }
        })
    }

    fn call(&mut self, code: u64) -> Result<Message, DecodeError> {
        Ok(match code {
            code::CALL => Message::Call(Call {
                request: self.request()?,
                options: self.details("the options")?,
                procedure: self.uri("the procedure")?,
                payload: self.payload()?,
            }),
            code::CANCEL => Message::Cancel(Cancel {
                request: self.request()?,
                options: self.details("the options")?,
            }),
            code::RESULT => Message::Result(CallResult {
                request: self.request()?,
                details: self.details("the details")?,
                payload: self.payload()?,
            }),
            code::REGISTER => Message::Register(Register {
                request: self.request()?,
                options: self.details("the options")?,
                procedure: self.uri("the procedure")?,
            }),
            code::REGISTERED => Message::Registered(Registered {
                request: self.request()?,
                registration: self.number("the registration id")?,
            }),
            code::UNREGISTER => Message::Unregister(Unregister {
                request: self.request()?,
                registration: self.number("the registration id")?,
            }),
            code::UNREGISTERED => {
                let (request, details) = self.revocable()?;
                Message::Unregistered(Unregistered { request, details })
            }
            code::INVOCATION => Message::Invocation(Invocation {
                request: self.request()?,
                registration: self.number("the registration id")?,
                details: self.details("the details")?,
                payload: self.payload()?,
            }),
            code::INTERRUPT => Message::Interrupt(Interrupt {
                request: self.request()?,
                options: self.details("the options")?,
            }),
            code::YIELD => Message::Yield(Yield {
                request: self.request()?,
                options: self.details("the options")?,
                payload: self.payload()?,
            }),
            _ => {
                return Err(DecodeError::new(
                    DecodeErrorKind::UnknownMessage,
                    format!("no message has code {code}"),
                ));
            }
        })
    }
}

impl Message {
    /// See [`CodecId::decode`].
    pub(crate) fn from_frame(codec: CodecId, frame: Bytes) -> Result<Box<Self>, DecodeError> {
        let by_elements = |frame| Self::from_elements(codec, frame).map(Box::new);
        match codec {
            CodecId::Json => usual::read(frame).or_else(by_elements),
            CodecId::Msgpack | CodecId::Cbor => by_elements(frame),
        }
    }

    pub(super) fn from_elements(codec: CodecId, frame: Bytes) -> Result<Self, DecodeError> {
        let elements = codec.split(&frame)?;
        let mut fields = Fields {
            codec,
            frame,
            elements,
            next: 0,
        };
        let decoded = fields.message();
        match &decoded {
            Ok(message) if fields.next != fields.elements.len() => {
                Err(Fields::wrong(format!("{} has too many elements", message.name())))
            }
            Ok(_) | Err(_) => decoded,
        }
    }

    /// How many elements the message has without its arguments.
    const fn head_count(&self) -> u8 {
        match self {
            Self::EventReceived(_) => 2,
            Self::Unsubscribed(message) => 2 + message.details.is_some() as u8,
            Self::Unregistered(message) => 2 + message.details.is_some() as u8,
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Abort(_)
            | Self::Challenge(_)
            | Self::Authenticate(_)
            | Self::Goodbye(_)
            | Self::Published(_)
            | Self::Subscribed(_)
            | Self::Unsubscribe(_)
            | Self::Cancel(_)
            | Self::Result(_)
            | Self::Registered(_)
            | Self::Unregister(_)
            | Self::Interrupt(_)
            | Self::Yield(_) => 3,
            Self::Publish(_)
            | Self::Subscribe(_)
            | Self::Event(_)
            | Self::Call(_)
            | Self::Register(_)
            | Self::Invocation(_) => 4,
            Self::Error(_) => 5,
        }
    }

    /// See [`CodecId::encode`]. Takes memory out of `buffer`, which must be empty, and gives it more if it has too little:
    /// who writes many frames and lets go of them allocates for few.
    pub(crate) fn to_frame(&self, codec: CodecId, buffer: &mut BytesMut) -> Bytes {
        let payload = self.payload();
        // Who calls is named in each INVOCATION.
        let head = if matches!(self, Self::Invocation(_)) { 192 } else { 96 };
        let size = head + payload.map_or(0, Payload::size);
        buffer.reserve(size);
        let count = self.head_count() + payload.map_or(0, payload_count);
        let mut writer = FrameWriter::new(codec, count, buffer);
        writer.number(self.code());
        self.write_head(&mut writer);
        if let Some(payload) = payload {
            writer.payload(payload);
        }
        writer.finish();
        buffer.split().freeze()
    }

    fn write_head(&self, writer: &mut FrameWriter<'_>) {
        match self {
            Self::Hello(message) => {
                writer.text(message.realm.as_str());
                writer.details(&message.details);
            }
            Self::Welcome(message) => {
                writer.number(message.session.get());
                writer.details(&message.details);
            }
            Self::Abort(message) => {
                writer.details(&message.details);
                writer.text(message.reason.as_str());
            }
            Self::Challenge(message) => {
                writer.text(&message.method);
                writer.value(&message.extra);
            }
            Self::Authenticate(message) => {
                writer.text(&message.signature);
                writer.value(&message.extra);
            }
            Self::Goodbye(message) => {
                writer.details(&message.details);
                writer.text(message.reason.as_str());
            }
            Self::Error(message) => {
                writer.number(message.request_type);
                writer.number(message.request.get());
                writer.details(&message.details);
                writer.text(message.error.as_str());
            }
            Self::Publish(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
                writer.text(message.topic.as_str());
            }
            Self::Published(message) => {
                writer.number(message.request.get());
                writer.number(message.publication.get());
            }
            Self::Subscribe(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
                writer.text(message.topic.as_str());
            }
            Self::Subscribed(message) => {
                writer.number(message.request.get());
                writer.number(message.subscription.get());
            }
            Self::Unsubscribe(message) => {
                writer.number(message.request.get());
                writer.number(message.subscription.get());
            }
            Self::Unsubscribed(message) => {
                writer.number(message.request.map_or(0, RequestId::get));
                message.details.iter().for_each(|details| writer.details(details));
            }
            Self::Event(message) => {
                writer.number(message.subscription.get());
                writer.number(message.publication.get());
                writer.details(&message.details);
            }
            Self::EventReceived(message) => writer.number(message.publication.get()),
            Self::Call(_)
            | Self::Cancel(_)
            | Self::Result(_)
            | Self::Register(_)
            | Self::Registered(_)
            | Self::Unregister(_)
            | Self::Unregistered(_)
            | Self::Invocation(_)
            | Self::Interrupt(_)
            | Self::Yield(_) => self.write_call_head(writer),
        }
    }

    fn write_call_head(&self, writer: &mut FrameWriter<'_>) {
        match self {
            Self::Call(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
                writer.text(message.procedure.as_str());
            }
            Self::Cancel(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
            }
            Self::Result(message) => {
                writer.number(message.request.get());
                writer.details(&message.details);
            }
            Self::Register(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
                writer.text(message.procedure.as_str());
            }
            Self::Registered(message) => {
                writer.number(message.request.get());
                writer.number(message.registration.get());
            }
            Self::Unregister(message) => {
                writer.number(message.request.get());
                writer.number(message.registration.get());
            }
            Self::Unregistered(message) => {
                writer.number(message.request.map_or(0, RequestId::get));
                message.details.iter().for_each(|details| writer.details(details));
            }
            Self::Invocation(message) => {
                writer.number(message.request.get());
                writer.number(message.registration.get());
                writer.details(&message.details);
            }
            Self::Interrupt(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
            }
            Self::Yield(message) => {
                writer.number(message.request.get());
                writer.details(&message.options);
            }
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Abort(_)
            | Self::Challenge(_)
            | Self::Authenticate(_)
            | Self::Goodbye(_)
            | Self::Error(_)
            | Self::Publish(_)
            | Self::Published(_)
            | Self::Subscribe(_)
            | Self::Subscribed(_)
            | Self::Unsubscribe(_)
            | Self::Unsubscribed(_)
            | Self::Event(_)
            | Self::EventReceived(_) => {}
        }
    }
}
