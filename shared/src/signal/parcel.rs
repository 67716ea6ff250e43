//! An event on its way to handlers.

use std::{any::Any, fmt, rc::Rc};

use super::SignalPayload;
use crate::{
    error::{Error, ErrorKind, Result},
    node::call::decode_first,
    wamp::{codec::CodecId, payload::Payload},
};

/// An event on its way to handlers: the value itself, or its bytes. Clones share both.
#[derive(Clone)]
pub struct Parcel {
    value: Option<Rc<dyn Any>>,
    encode: Option<Rc<dyn Fn(CodecId) -> Result<Payload>>>,
    wire: Option<Payload>,
    mark: Option<Rc<str>>,
}

impl Parcel {
    pub(crate) fn local<T: 'static>(value: T) -> Self {
        Self {
            value: Some(Rc::new(value)),
            encode: None,
            wire: None,
            mark: None,
        }
    }

    pub(crate) fn typed<T: SignalPayload>(value: T) -> Self {
        let value = Rc::new(value);
        let encode = {
            let value = value.clone();
            Rc::new(move |codec| Payload::encode(codec, &(&*value,)))
        };
        Self {
            value: Some(value),
            encode: Some(encode),
            wire: None,
            mark: None,
        }
    }

    /// An event of which only the serialised form is known, made when it is wanted.
    pub(crate) fn encoded(encode: impl Fn(CodecId) -> Result<Payload> + 'static) -> Self {
        Self {
            value: None,
            encode: Some(Rc::new(encode)),
            wire: None,
            mark: None,
        }
    }

    pub(crate) fn wire(payload: Payload) -> Self {
        Self {
            value: None,
            encode: None,
            wire: Some(payload),
            mark: None,
        }
    }

    /// The same event under a name by which it is known wherever it arrives.
    pub(crate) fn marked(mut self, mark: impl Into<Rc<str>>) -> Self {
        self.mark = Some(mark.into());
        self
    }

    /// By which name the event is known wherever it arrives.
    pub(crate) fn mark(&self) -> Option<&Rc<str>> {
        self.mark.as_ref()
    }

    /// How many bytes the event came in; 0 if it was fired in this tree.
    pub(crate) fn wire_size(&self) -> usize {
        self.wire.as_ref().map_or(0, Payload::size)
    }

    /// The same event to be kept: bytes in memory of their own, apart from the frame that they came in.
    pub(crate) fn detached(&self) -> Self {
        Self {
            wire: self.wire.as_ref().map(Payload::detached),
            ..self.clone()
        }
    }

    pub(crate) fn same<T: Clone + 'static>(&self) -> Option<T> {
        self.value.as_ref().and_then(|value| value.downcast_ref::<T>().cloned())
    }

    /// The payload as `T`. A handler by text whose type differs from the signal's goes through the serialised form.
    pub(crate) fn take<T: SignalPayload>(&self) -> Result<T> {
        match (self.same(), &self.wire) {
            (Some(value), _) => Ok(value),
            (None, Some(payload)) => decode_first(payload),
            (None, None) => decode_first(&self.payload(CodecId::Json)?),
        }
    }

    /// The event as a message carries it.
    pub(crate) fn payload(&self, codec: CodecId) -> Result<Payload> {
        match (&self.wire, &self.encode) {
            (Some(payload), _) => payload.transcode(codec),
            (None, Some(encode)) => encode(codec),
            (None, None) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "The event stays in its tree, and carries another type.",
            )),
        }
    }
}

impl fmt::Debug for Parcel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Parcel")
    }
}
