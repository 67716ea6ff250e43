//! Calls with many answers: the callee's stream reaches its caller item by item, by hand or by wire.
//!
//! The callee is asked for no more than its reader can take. In one tree it runs only while the caller reads. Across
//! the wire it may be [`WINDOW`] items ahead; the caller grants more as it reads, by the built-in call `node_more`. A
//! caller in another language does not know of that: it gets the items as fast as the callee's link takes them, and if it
//! cannot keep up it is a slow peer to the router.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{
    FutureExt, SinkExt, Stream, StreamExt, TryStreamExt,
    channel::mpsc,
    future::{LocalBoxFuture, ready},
    stream::{FusedStream, LocalBoxStream, once},
};
use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    Arguments, Caller, Node, RemoteNode,
    call::decode_first,
    detached,
    enter::{Rules, entered, named},
    fault::{self, Fault},
    frame::inside_context,
    member::Member,
};
use crate::{
    contract::ContractInfo,
    error::{Error, ErrorKind, Result},
    platform::{PlatformRef, yield_now},
    signal::replay::NAME_LIMIT,
    wamp::{
        codec::CodecId,
        id::SessionId,
        message::{CallOptions, Passthru, PassthruKeys},
        payload::Payload,
        peer::{Invocation, Part, Progress},
        uri::Uri,
    },
};

/// How many items of a stream may be on their way to a caller elsewhere.
pub const WINDOW: usize = 256;

/// Name of the call by which the reader of a stream says that it has room for so many items more. It is no call of the
/// node's: rules around calls have let the stream through, and are not asked again.
pub(crate) const MORE: &str = "node_more";

/// How many streams of one tree may be read from elsewhere at the same time.
pub const STREAM_LIMIT: usize = 1_024;

/// How a call in serialised form can be answered in parts.
pub(crate) enum Parts {
    /// To a caller in this tree.
    Here(mpsc::Sender<Payload>),
    /// To that of an invocation.
    Elsewhere {
        progress: Progress,
        /// What the caller calls the stream, if it grants items by and by.
        name: Option<String>,
        member: Rc<Member>,
    },
}

/// Where the items of a stream go; for generated code.
#[doc(hidden)]
pub struct Outlet<T>(Way<T>);

enum Way<T> {
    Local(mpsc::Sender<T>),
    Serialised {
        sender: mpsc::Sender<Payload>,
        codec: CodecId,
    },
    Wire {
        progress: Progress,
        codec: CodecId,
        allowance: Option<Open>,
    },
}

impl<T: Serialize> Outlet<T> {
    fn local(sender: mpsc::Sender<T>) -> Self {
        Self(Way::Local(sender))
    }

    /// To a caller that takes items in serialised form.
    ///
    /// # Errors
    /// If the caller takes one answer only, or too many streams are open.
    pub(crate) fn wire(parts: Option<Box<Parts>>, codec: CodecId) -> Result<Self> {
        let text = "This call answers in parts: ask for progressive results.";
        let parts = parts.ok_or_else(|| Error::new(ErrorKind::InvalidArgument, text))?;
        Ok(Self(match *parts {
            Parts::Here(sender) => Way::Serialised { sender, codec },
            Parts::Elsewhere { progress, name, member } => Way::Wire {
                progress,
                codec,
                allowance: name.map(|name| Open::new(name, member)).transpose()?,
            },
        }))
    }

    async fn put(&mut self, item: T) -> Result<()> {
        match &mut self.0 {
            // Who reads no more has dropped the call, and with it this future.
            Way::Local(sender) => sender.send(item).await.map_err(|_| over()),
            Way::Serialised { sender, codec } => {
                let payload = Payload::encode(*codec, &(item,))?;
                sender.send(payload).await.map_err(|_| over())
            }
            Way::Wire {
                progress,
                codec,
                allowance,
            } => {
                match allowance {
                    Some(open) => open.allowance.take().await,
                    None => {
                        progress.room().await;
                        // The callee may never wait by itself, and others live on its thread.
                        yield_now().await;
                    }
                }
                progress.send(Payload::encode(*codec, &(item,))?)
            }
        }
    }
}

/// Sends all items, each when there is room for it; for generated code. The first error ends the stream.
///
/// # Errors
/// That of an item, or of sending it.
#[doc(hidden)]
pub async fn pour<T: Serialize>(items: impl Stream<Item = Result<T>>, mut outlet: Outlet<T>) -> Result<()> {
    let mut items = pin!(items);
    while let Some(item) = items.next().await {
        outlet.put(item?).await?;
    }
    Ok(())
}

/// How many items a callee may still send.
struct Allowance {
    reader: Option<SessionId>,
    left: Cell<usize>,
    waker: RefCell<Option<Waker>>,
}

impl Allowance {
    async fn take(&self) {
        poll_fn(|context| match self.left.get() {
            0 => {
                self.waker.replace(Some(context.waker().clone()));
                Poll::Pending
            }
            left => {
                self.left.set(left - 1);
                Poll::Ready(())
            }
        })
        .await;
    }
}

/// The streams of a tree that are read elsewhere, by the names that their readers gave them.
#[derive(Default)]
pub(crate) struct Streams(RefCell<BTreeMap<String, Rc<Allowance>>>);

impl Streams {
    /// A reader has room for more. Only the session that reads may say so; of what has ended nobody needs to know.
    ///
    /// # Errors
    /// If the arguments are not a name and a number.
    pub(crate) fn grant(&self, invocation: &Invocation) -> Result<Payload> {
        let (name, more): (String, u32) = invocation.payload.decode_args()?;
        let found = self.0.borrow().get(&name).cloned();
        let found = found.filter(|_| !fault::is(Fault::GrantLost));
        if let Some(allowance) = found.filter(|allowance| allowance.reader == invocation.details.caller.session()) {
            let left = allowance.left.get().saturating_add(more as usize);
            allowance.left.set(left.min(WINDOW));
            if let Some(waker) = allowance.waker.take() {
                waker.wake();
            }
        }
        Ok(Payload::empty(invocation.payload.codec()))
    }
}

/// An entry in [`Streams`], for as long as the stream is open.
struct Open {
    name: String,
    member: Rc<Member>,
    allowance: Rc<Allowance>,
}

impl Open {
    fn new(name: String, member: Rc<Member>) -> Result<Self> {
        let mut streams = member.streams.0.borrow_mut();
        if streams.len() >= STREAM_LIMIT || name.len() > NAME_LIMIT || streams.contains_key(&name) {
            return Err(Error::new(ErrorKind::Busy, "Too many streams are open."));
        }
        let allowance = Rc::new(Allowance {
            reader: Caller::current().and_then(|caller| caller.session),
            left: Cell::new(WINDOW),
            waker: RefCell::default(),
        });
        streams.insert(name.clone(), allowance.clone());
        drop(streams);
        Ok(Self {
            name,
            member,
            allowance,
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.member.streams.0.borrow_mut().remove(&self.name);
    }
}

/// The answers of a call that has many, as they come. An error is the last item. Dropping the stream gives the call up:
/// the callee's own stream is dropped, wherever it is.
///
/// The time-out of the remote bounds the wait for each single item; a slow reader runs into none.
#[must_use = "the call is made when the stream is read"]
pub struct RemoteStream<T> {
    items: Option<LocalBoxStream<'static, Result<T>>>,
    timeout: Option<Duration>,
    platform: PlatformRef,
    sleep: Option<LocalBoxFuture<'static, ()>>,
}

impl RemoteNode {
    /// The answers of a call by contract. Used by generated code.
    #[doc(hidden)]
    pub fn stream<T, S>(&self, open: impl Future<Output = Result<S>> + 'static) -> RemoteStream<T>
    where
        S: Stream<Item = Result<T>> + 'static,
    {
        RemoteStream {
            items: Some(once(open).try_flatten().boxed_local()),
            timeout: self.timeout(),
            platform: self.context().platform(),
            sleep: None,
        }
    }

    /// A call by name that answers by a stream, in serialised form; so is an answer at the end that is not null.
    pub(super) fn stream_payload<T>(&self, method: String, payload: Result<Payload>) -> RemoteStream<T>
    where
        T: DeserializeOwned + 'static,
    {
        let node = self.clone();
        self.stream(async move {
            let (payload, context) = (payload?, node.context().clone());
            let items = match node.here() {
                Some(callee) => {
                    let (sender, items) = mpsc::channel(0);
                    let arguments = Arguments::wire(payload).with_parts(Parts::Here(sender));
                    let call = named(callee, method.into(), arguments, None);
                    let call = async move { Ok(Some(call.await?.into_payload()?).filter(answers)) };
                    Driven::new(call, items).boxed_local()
                }
                None => {
                    let parts = node.parts(&method, payload)?.try_filter_map(|part| {
                        ready(Ok(match part {
                            Part::Progress(payload) => Some(payload),
                            Part::Last(payload) => Some(payload).filter(answers),
                        }))
                    });
                    parts.boxed_local()
                }
            };
            let items = items.and_then(move |item| ready(inside_context(&context, || decode_first(&item))));
            Ok(items.boxed_local())
        })
    }

    /// A call of a node in this tree that answers by a stream. Used by generated code.
    #[doc(hidden)]
    pub fn stream_here<T: Serialize + 'static>(
        &self,
        node: Rc<dyn Node>,
        method: &'static str,
        call: impl FnOnce(Outlet<T>) -> LocalBoxFuture<'static, Result<()>>,
    ) -> LocalBoxStream<'static, Result<T>> {
        // One slot: the callee goes on only when its last item was taken.
        let (sender, items) = mpsc::channel(0);
        let call = entered(node, None, method.into(), call(Outlet::local(sender)), Rules::TYPED);
        Driven::new(async move { call.await.map(|()| None) }, items).boxed_local()
    }

    /// A call by contract of a node in another tree that answers by a stream. Used by generated code.
    ///
    /// # Errors
    /// What keeps the call from leaving.
    #[doc(hidden)]
    pub async fn stream_away<A, T>(
        self,
        contract: &'static ContractInfo,
        method: &'static str,
        arguments: A,
    ) -> Result<LocalBoxStream<'static, Result<T>>>
    where
        A: Serialize + 'static,
        T: DeserializeOwned + 'static,
    {
        self.check(contract).await?;
        let payload = Payload::encode(self.peer(method)?.codec(), &arguments)?;
        let (context, parts) = (self.context().clone(), self.parts(method, payload)?);
        let items = parts.try_filter_map(move |part| {
            ready(match part {
                Part::Progress(payload) => inside_context(&context, || decode_first(&payload)).map(Some),
                Part::Last(_) => Ok(None),
            })
        });
        Ok(items.boxed_local())
    }

    /// Calls a node elsewhere, and grants what it may send as that is read.
    fn parts(self, method: &str, payload: Payload) -> Result<impl Stream<Item = Result<Part>> + use<>> {
        let peer = self.peer(method)?;
        let payload = payload.transcode(peer.codec())?;
        let name = self.context().member().new_name();
        let options = CallOptions {
            trace: self.who().caller().trace,
            passthru: Passthru::new(PassthruKeys {
                mark: Some(name.clone()),
                ..PassthruKeys::default()
            }),
            ..CallOptions::default()
        };
        let procedure = Uri::unchecked(self.path().endpoint(method));
        let parts = peer.call_stream(&procedure, payload, options);
        let mut read = 0_usize;
        Ok(parts.filter_map(move |part| {
            match &part {
                Ok(Part::Progress(_)) => {
                    read += 1;
                    if read == WINDOW / 2 {
                        read = 0;
                        self.grant(name.clone());
                    }
                }
                Ok(Part::Last(_)) => {}
                Err(_) if fault::is(Fault::StreamCutShort) => return ready(None),
                Err(error) => {
                    if matches!(error.kind, ErrorKind::NoSuchProcedure | ErrorKind::InvalidArgument) {
                        self.context().member().doubt(self.path());
                    }
                }
            }
            ready(Some(part))
        }))
    }

    /// Half of the window is read: the callee may send as much again. What goes wrong with that shows in the stream.
    fn grant(&self, name: String) {
        let remote = self.clone();
        drop(detached(self.context(), async move {
            let _ = remote.call_payload(MORE, &(name, WINDOW / 2)).await;
        }));
    }
}

/// The items of a call in this tree, which runs while they are read.
struct Driven<T> {
    call: Option<LocalBoxFuture<'static, Result<Option<T>>>>,
    /// What the call itself came to.
    last: Option<Result<T>>,
    items: mpsc::Receiver<T>,
}

impl<T> Driven<T> {
    fn new(call: impl Future<Output = Result<Option<T>>> + 'static, items: mpsc::Receiver<T>) -> Self {
        Self {
            call: Some(call.boxed_local()),
            last: None,
            items,
        }
    }
}

/// What is pinned is boxed.
impl<T> Unpin for Driven<T> {}

impl<T> Stream for Driven<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        if let Poll::Ready(Some(item)) = this.items.poll_next_unpin(context) {
            return Poll::Ready(Some(Ok(item)));
        }
        if let Some(call) = &mut this.call
            && let Poll::Ready(result) = call.poll_unpin(context)
        {
            this.call = None;
            this.last = result.transpose();
        }
        match this.items.poll_next_unpin(context) {
            Poll::Ready(Some(item)) => Poll::Ready(Some(Ok(item))),
            Poll::Ready(None) if this.call.is_none() => Poll::Ready(this.last.take()),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Stream for RemoteStream<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        let Some(items) = &mut this.items else {
            return Poll::Ready(None);
        };
        let mut next = items.poll_next_unpin(context);
        if next.is_ready() {
            this.sleep = None;
        } else if let Some(timeout) = this.timeout {
            let platform = &this.platform;
            let sleep = this.sleep.get_or_insert_with(|| platform.sleep(timeout));
            if sleep.poll_unpin(context).is_ready() {
                let text = format!("The next item did not come within {timeout:?}.");
                next = Poll::Ready(Some(Err(Error::new(ErrorKind::Timeout, text))));
            }
        }
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            // Gives the call up if it still runs.
            this.items = None;
        }
        next
    }
}

impl<T> FusedStream for RemoteStream<T> {
    fn is_terminated(&self) -> bool {
        self.items.is_none()
    }
}

impl<T> fmt::Debug for RemoteStream<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteStream")
            .field("over", &self.items.is_none())
            .finish_non_exhaustive()
    }
}

/// Whether the last answer of a call is an item, too: that of a stream is null, that of a call with one answer is not.
fn answers(payload: &Payload) -> bool {
    !payload.args().is_empty() && decode_first::<Option<IgnoredAny>>(payload).is_ok_and(|value| value.is_some())
}

fn over() -> Error {
    Error::new(ErrorKind::Canceled, "Nobody reads the stream any more.")
}
