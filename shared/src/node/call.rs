//! One call as the callee sees it: arguments that came by hand or by wire, and an answer likewise.

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

/// Arguments of a call.
pub struct Arguments {
    form: Form,
    /// How to answer in parts, where the caller takes that.
    parts: Option<Box<Parts>>,
}

/// What a call returned.
pub struct Answer(Form);

/// In which form the caller wants the answer.
#[derive(Debug)]
pub struct Reply(Way);

enum Form {
    /// Within a tree: the very values.
    Local(Box<dyn Exchange>),
    /// From and to elsewhere. Boxed, so that what is handed through many layers is small.
    Wire(Box<Payload>),
}

enum Way {
    Local(Box<dyn Exchange>),
    Wire(CodecId),
}

/// What brings arguments to a callee of the same tree, and its answer back: one allocation for both ways.
trait Exchange {
    /// An `Option<A>`.
    fn arguments(&mut self) -> &mut dyn Any;
    /// An `Option<R>`.
    fn answer(&mut self) -> &mut dyn Any;
}

struct Both<A, R> {
    arguments: Option<A>,
    answer: Option<R>,
}

impl<A: 'static, R: 'static> Exchange for Both<A, R> {
    fn arguments(&mut self) -> &mut dyn Any {
        &mut self.arguments
    }

    fn answer(&mut self) -> &mut dyn Any {
        &mut self.answer
    }
}

/// Takes the value out of an `Option<T>`.
fn take<T: 'static>(place: &mut dyn Any) -> Option<T> {
    place.downcast_mut::<Option<T>>().and_then(Option::take)
}

impl Arguments {
    /// Arguments that stay in this tree, of a call that is to be answered by an `R`. `A` is a tuple, or `[(); 0]` for
    /// none.
    #[must_use]
    pub fn local<A: 'static, R: 'static>(arguments: A) -> Self {
        let both = Both {
            arguments: Some(arguments),
            answer: None::<R>,
        };
        Self {
            form: Form::Local(Box::new(both)),
            parts: None,
        }
    }

    /// Arguments from a message.
    #[must_use]
    pub fn wire(payload: Payload) -> Self {
        Self {
            form: Form::Wire(Box::new(payload)),
            parts: None,
        }
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
    pub fn take_stream<A, T>(mut self, method: &str, names: &[&str]) -> Result<(A, Outlet<T>, Reply)>
    where
        A: DeserializeOwned + 'static,
        T: Serialize + 'static,
    {
        match self.form {
            Form::Local(mut exchange) => {
                let both = take(exchange.arguments());
                let (arguments, outlet) = both.ok_or_else(|| unfit_arguments(method, "they are of other types"))?;
                Ok((arguments, outlet, Reply(Way::Local(exchange))))
            }
            Form::Wire(payload) => {
                let outlet = Outlet::wire(self.parts.take(), payload.codec())?;
                let (arguments, reply) = Self::wire(*payload).take(method, names)?;
                Ok((arguments, outlet, reply))
            }
        }
    }

    /// The values, and how the answer must look. `names` are those of the parameters: other languages may pass them
    /// by keyword, and leave out what may be null.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if they are not what the contract says.
    pub fn take<A: DeserializeOwned + 'static>(self, method: &str, names: &[&str]) -> Result<(A, Reply)> {
        match self.form {
            Form::Local(mut exchange) => match take(exchange.arguments()) {
                Some(arguments) => Ok((arguments, Reply(Way::Local(exchange)))),
                None => Err(unfit_arguments(method, "they are of other types")),
            },
            Form::Wire(payload) => {
                let reply = Reply(Way::Wire(payload.codec()));
                if payload.kwargs().is_empty()
                    && let Ok(arguments) = payload.decode_args()
                {
                    return Ok((arguments, reply));
                }
                let arguments = in_order(&payload, names).and_then(|payload| payload.decode_args());
                arguments
                    .map(|arguments| (arguments, reply))
                    .map_err(|error| unfit_arguments(method, &error.message))
            }
        }
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
    /// If the value does not serialise, or is of another type than the caller expects.
    pub fn new<R: Serialize + 'static>(value: R, reply: Reply) -> Result<Self> {
        Ok(Self(match reply.0 {
            Way::Local(mut exchange) => {
                let place = exchange.answer().downcast_mut();
                *place.ok_or_else(|| unfit("it is of another type"))? = Some(value);
                Form::Local(exchange)
            }
            Way::Wire(codec) => Form::Wire(Box::new(Payload::encode(codec, &(value,))?)),
        }))
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
            Form::Local(mut exchange) => take(exchange.answer()).ok_or_else(|| unfit("it is of another type")),
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

fn unfit_arguments(method: &str, why: &str) -> Error {
    let text = format!("The arguments of {method} do not fit: {why}.");
    Error::new(ErrorKind::InvalidArgument, text)
}

fn unfit(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("The answer does not fit: {why}."))
}

impl fmt::Debug for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(_) => formatter.write_str("Local"),
            Self::Wire(codec) => formatter.debug_tuple("Wire").field(codec).finish(),
        }
    }
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
