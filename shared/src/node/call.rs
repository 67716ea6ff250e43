//! One call as the callee sees it: arguments that came by hand or by wire, an answer likewise, and who asks.

use std::{
    any::Any,
    cell::RefCell,
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::LocalBoxFuture;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor, value::UnitDeserializer},
};

use super::{NodeContext, remote::inside_context};
use crate::{
    error::{Error, ErrorKind, Result},
    path::Path,
    wamp::{codec::CodecId, id::SessionId, payload::Payload, value::Dynamic},
};

/// How long a call waits for its answer unless the context or the caller says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Who makes a call, as the router (or, in the same tree, the member) vouches for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// WAMP session of the caller; `None` for a tree that is not joined to a realm.
    pub session: Option<SessionId>,
    /// Whom the session belongs to.
    pub authid: Option<String>,
    /// In which role.
    pub authrole: Option<String>,
    /// Ties log lines of one user action together, across processes.
    pub trace: Option<String>,
}

thread_local! {
    // A task-local: set while a call is polled, and only then. Trees are one thread each, so nothing is shared.
    static CURRENT: RefCell<Option<Caller>> = const { RefCell::new(None) };
}

impl Caller {
    /// Who made the call that runs now; `None` outside calls, also in tasks that a call has spawned.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }
}

/// What is called, for wrappers.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// The node.
    pub path: Path,
    /// Name of the method.
    pub method: String,
    /// Who asks.
    pub caller: Caller,
}

/// A future that knows its caller while it is polled.
pub(crate) struct Called<T> {
    caller: Option<Caller>,
    context: NodeContext,
    future: LocalBoxFuture<'static, T>,
}

impl<T> Called<T> {
    pub(crate) fn new(caller: Caller, context: NodeContext, future: LocalBoxFuture<'static, T>) -> Self {
        Self {
            caller: Some(caller),
            context,
            future,
        }
    }
}

/// Puts the outer caller back, also when the poll panics.
struct Restore<'a> {
    slot: &'a mut Option<Caller>,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, self.slot));
    }
}

impl<T> Future for Called<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let this = &mut *self;
        CURRENT.with_borrow_mut(|current| std::mem::swap(current, &mut this.caller));
        let _restore = Restore { slot: &mut this.caller };
        let future = this.future.as_mut();
        inside_context(&this.context, || future.poll(context))
    }
}

/// Arguments of a call.
pub struct Arguments(Form);

/// What a call returned.
pub struct Answer(Form);

/// In which form the caller wants the answer.
#[derive(Clone, Copy, Debug)]
pub struct Reply(Option<CodecId>);

enum Form {
    /// Within a tree: the very values.
    Local(Box<dyn Any>),
    /// From and to elsewhere.
    Wire(Payload),
}

impl Arguments {
    /// Arguments that stay in this tree. `A` is a tuple, or `[(); 0]` for none.
    #[must_use]
    pub fn local<A: 'static>(arguments: A) -> Self {
        Self(Form::Local(Box::new(arguments)))
    }

    /// Arguments from a message.
    #[must_use]
    pub fn wire(payload: Payload) -> Self {
        Self(Form::Wire(payload))
    }

    /// The values, and how the answer must look. `names` are those of the parameters: other languages may pass them
    /// by keyword, and leave out what may be null.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if they are not what the contract says.
    pub fn take<A: DeserializeOwned + 'static>(self, method: &str, names: &[&str]) -> Result<(A, Reply)> {
        let refuse = |why: &str| {
            let text = format!("The arguments of {method} do not fit: {why}.");
            Error::new(ErrorKind::InvalidArgument, text)
        };
        match self.0 {
            Form::Local(arguments) => match arguments.downcast() {
                Ok(arguments) => Ok((*arguments, Reply(None))),
                Err(_) => Err(refuse("they are of other types")),
            },
            Form::Wire(payload) => {
                let reply = Reply(Some(payload.codec()));
                if payload.kwargs().is_empty()
                    && let Ok(arguments) = payload.decode_args()
                {
                    return Ok((arguments, reply));
                }
                let arguments = in_order(&payload, names).and_then(|payload| payload.decode_args());
                arguments
                    .map(|arguments| (arguments, reply))
                    .map_err(|error| refuse(&error.message))
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
    /// If the value does not serialise.
    pub fn new<R: Serialize + 'static>(value: R, reply: Reply) -> Result<Self> {
        Ok(Self(match reply.0 {
            None => Form::Local(Box::new(value)),
            Some(codec) => Form::Wire(Payload::encode(codec, &(value,))?),
        }))
    }

    /// An answer from a message.
    #[must_use]
    pub fn wire(payload: Payload) -> Self {
        Self(Form::Wire(payload))
    }

    /// The value.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is not of the type that the contract says.
    pub fn take<R: DeserializeOwned + 'static>(self) -> Result<R> {
        let refuse = |why: &str| Error::new(ErrorKind::InvalidArgument, format!("The answer does not fit: {why}."));
        match self.0 {
            Form::Local(value) => value
                .downcast()
                .map(|value| *value)
                .map_err(|_| refuse("it is of another type")),
            Form::Wire(payload) => decode_first(&payload).map_err(|error| refuse(&error.to_string())),
        }
    }

    /// The answer as a message carries it.
    pub(crate) fn into_payload(self) -> Result<Payload> {
        match self.0 {
            Form::Wire(payload) => Ok(payload),
            Form::Local(_) => Err(Error::new(
                ErrorKind::Internal,
                "A wrapper answered a remote call with a local value.",
            )),
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
