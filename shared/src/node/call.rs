//! A call that came by name, as the callee sees it: serialised arguments, and an answer in the same form.

use std::{any::Any, fmt, marker::PhantomData, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor, value::UnitDeserializer},
};

use super::stream::{Outlet, Parts};
use crate::{
    error::{Error, ErrorKind, Result},
    wamp::{codec::CodecId, payload::Payload, value::Dynamic},
};

/// How long a call waits for its answer unless the context or the caller says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Arguments of a call that came by name: from another session, or from a caller without the contract.
pub struct Arguments {
    payload: Payload,
    /// How to answer in parts, where the caller takes that.
    parts: Option<Box<Parts>>,
}

/// What a call returned.
pub struct Answer(Form);

/// In which form the caller wants the answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply(CodecId);

enum Form {
    /// Within a tree: the very value.
    Local(Box<dyn Any>),
    /// From and to elsewhere. Boxed, so that what is handed through many layers is small.
    Wire(Box<Payload>),
}

impl Arguments {
    /// Arguments from a message.
    #[must_use]
    pub fn wire(payload: Payload) -> Self {
        Self { payload, parts: None }
    }

    /// The same of a call whose caller takes an answer in parts.
    pub(crate) fn with_parts(mut self, parts: Parts) -> Self {
        self.parts = Some(Box::new(parts));
        self
    }

    /// As [`Arguments::take`], for a call that answers by a stream: also where its items go.
    ///
    /// # Errors
    /// As [`Arguments::take`]; also if the caller takes one answer only, or has too many streams open.
    #[doc(hidden)]
    pub fn take_stream<A: DeserializeOwned, T: Serialize>(
        mut self,
        method: &str,
        names: &[&str],
    ) -> Result<(A, Outlet<T>, Reply)> {
        let outlet = Outlet::wire(self.parts.take(), self.payload.codec())?;
        let (arguments, reply) = self.take(method, names)?;
        Ok((arguments, outlet, reply))
    }

    /// The values, a tuple or `[(); 0]` for none, and how the answer must look. `names` are those of the parameters:
    /// other languages may pass them by keyword, and leave out what may be null.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if they are not what the contract says.
    pub fn take<A: DeserializeOwned>(self, method: &str, names: &[&str]) -> Result<(A, Reply)> {
        let payload = self.payload;
        let reply = Reply(payload.codec());
        if payload.kwargs().is_empty()
            && let Ok(arguments) = payload.decode_args()
        {
            return Ok((arguments, reply));
        }
        let arguments = in_order(&payload, names).and_then(|payload| payload.decode_args());
        arguments.map(|arguments| (arguments, reply)).map_err(|error| {
            let text = format!("The arguments of {method} do not fit: {}.", error.message);
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

/// Positional arguments out of positional and keyword ones: what is missing becomes null, what is unknown is ignored.
fn in_order(payload: &Payload, names: &[&str]) -> Result<Payload> {
    let mut arguments: Vec<Dynamic> = payload.decode_args()?;
    if arguments.len() > names.len() {
        let text = format!("there are {}, and it takes {}", arguments.len(), names.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let named: Dynamic = if payload.kwargs().is_empty() {
        Dynamic::Null
    } else {
        payload.decode_kwargs()?
    };
    for name in &names[arguments.len()..] {
        arguments.push(named.get(name).cloned().unwrap_or_default());
    }
    Payload::encode(payload.codec(), &arguments)
}

impl Answer {
    /// An answer in the form that the caller wants.
    ///
    /// # Errors
    /// If the value does not serialise.
    pub fn new(value: impl Serialize, reply: Reply) -> Result<Self> {
        Payload::encode(reply.0, &(value,)).map(Self::wire)
    }

    /// An answer that stays in its tree.
    pub fn local(value: impl Any) -> Self {
        Self(Form::Local(Box::new(value)))
    }

    /// An answer from a message.
    #[must_use]
    pub fn wire(payload: Payload) -> Self {
        Self(Form::Wire(Box::new(payload)))
    }

    /// The value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is not of the type that the contract says.
    pub fn take<R: DeserializeOwned + 'static>(self) -> Result<R> {
        match self.0 {
            Form::Local(value) => value
                .downcast()
                .map(|value| *value)
                .map_err(|_| unfit("it is of another type")),
            Form::Wire(payload) => decode_first(&payload).map_err(|error| unfit(&error.to_string())),
        }
    }

    /// The answer as a message carries it.
    pub(crate) fn into_payload(self) -> Result<Payload> {
        match self.0 {
            Form::Wire(payload) => Ok(*payload),
            Form::Local(_) => Err(Error::new(
                ErrorKind::Internal,
                "A wrapper answered a remote call with a local value.",
            )),
        }
    }
}

fn unfit(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("The answer does not fit: {why}."))
}

impl fmt::Debug for Arguments {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Arguments")
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Answer")
    }
}

/// The first positional argument of a payload. One that is absent counts as unit: other languages answer so.
pub(crate) fn decode_first<T: DeserializeOwned>(payload: &Payload) -> Result<T> {
    if payload.args().is_empty() {
        return T::deserialize(UnitDeserializer::<serde::de::value::Error>::new())
            .map_err(|_| Error::new(ErrorKind::InvalidArgument, "there is no value"));
    }
    payload.decode_args::<First<T>>().map(|first| first.0)
}

struct First<T>(T);

impl<'de, T: DeserializeOwned> Deserialize<'de> for First<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstVisitor<T>(PhantomData<T>);

        impl<'de, T: DeserializeOwned> Visitor<'de> for FirstVisitor<T> {
            type Value = First<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of values")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<First<T>, S::Error> {
                let first = match sequence.next_element()? {
                    Some(value) => value,
                    None => T::deserialize(UnitDeserializer::new())?,
                };
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }

        deserializer.deserialize_seq(FirstVisitor(PhantomData))
    }
}
