//! Calling a node by path: directly if it is in this tree, else through the session; the caller cannot tell.

use std::{
    borrow::Cow,
    cell::RefCell,
    fmt,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::LocalBoxFuture;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};

use super::{
    Node, NodeContext, Place,
    call::{Answer, Arguments},
    enter::{Rules, enter, named},
    fault::{self, Fault},
    frame::{Who, current_place, inside_context},
    member::{Member, nobody},
    resolved::{Destination, Found},
    stream::RemoteStream,
    task::gone,
};
use crate::{
    contract::{Calling, ContractInfo, DESCRIBE},
    error::{Error, ErrorKind, Result},
    path::Path,
    signal::Parcel,
    wamp::{codec::CodecId, message::CallOptions, payload::Payload, uri::Uri},
};

/// The address of a node, seen from another one. Frozen: it does not follow references that change.
#[derive(Clone)]
pub struct RemoteNode {
    /// That of the destination's context: each call asks it, and the way there is long.
    member: Rc<Member>,
    destination: Rc<Destination>,
    timeout: Option<Option<Duration>>,
}

/// The callee as its contract sees it, once a remote has found it in its own tree; for generated code.
#[doc(hidden)]
pub struct Here<F: ?Sized>(RefCell<Option<Found<F>>>);

/// A callee in the caller's own tree; for generated code.
#[doc(hidden)]
pub struct Callee<F: ?Sized> {
    pub(super) face: Rc<F>,
    pub(super) place: Rc<Place>,
}

impl<F: ?Sized> Callee<F> {
    /// Its methods.
    #[must_use]
    pub fn face(self) -> Rc<F> {
        self.face
    }

    /// A call of it.
    #[inline]
    pub fn call<'a, R>(self, method: &'static str, call: impl FnOnce(Rc<F>) -> Calling<R>) -> Target<'a, R> {
        Target(Way::Here(self.place, method, call(self.face)))
    }
}

impl<F: ?Sized> Default for Here<F> {
    fn default() -> Self {
        Self(RefCell::new(None))
    }
}

impl<F: ?Sized> Clone for Here<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<F: ?Sized> fmt::Debug for Here<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.borrow().is_some() { "Here" } else { "Unknown" })
    }
}

impl RemoteNode {
    pub(crate) fn new(context: NodeContext, path: Path) -> Self {
        Self::to(Rc::new(Destination::new(context, path)))
    }

    #[inline]
    pub(super) fn to(destination: Rc<Destination>) -> Self {
        Self {
            member: destination.context.member().clone(),
            destination,
            timeout: None,
        }
    }

    /// Where calls go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.destination.path
    }

    /// The same address with another time-out; `None` waits for ever.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The callee, if it is in this tree. Used by generated code.
    ///
    /// # Errors
    /// If a node without the contract is at the path.
    #[doc(hidden)]
    #[inline]
    pub fn find<F: Node + ?Sized>(&self, here: &Here<F>, contract: &ContractInfo) -> Result<Option<Callee<F>>> {
        let moves = self.member.moves();
        if let Some(found) = &*here.0.borrow()
            && let Some(callee) = found.callee(moves)
        {
            return Ok(Some(callee));
        }
        self.look(moves, here, contract)
    }

    fn look<F: Node + ?Sized>(&self, moves: u64, here: &Here<F>, contract: &ContractInfo) -> Result<Option<Callee<F>>> {
        if let Some(found) = self.destination.found::<F>()
            && let Some(callee) = found.callee(moves)
        {
            *here.0.borrow_mut() = Some(found);
            return Ok(Some(callee));
        }
        let Some(node) = self.here() else { return Ok(None) };
        let place = node.node_core().place().ok_or_else(gone)?;
        let mut slot = None::<Rc<F>>;
        node.node_face(&mut slot);
        let face = slot.ok_or_else(|| wrong_contract(self.path(), contract))?;
        let callee = Callee { face, place };
        *here.0.borrow_mut() = Some(self.destination.keep(moves, &callee));
        Ok(Some(callee))
    }

    /// A call by contract. Used by generated code. `start` runs at the first poll.
    #[doc(hidden)]
    #[inline]
    pub fn call<'a, R, S>(&'a self, start: S) -> RemoteCall<'a, R, S>
    where
        S: FnOnce() -> Result<Target<'a, R>>,
    {
        RemoteCall {
            remote: self,
            start: Some(start),
            waiting: None,
        }
    }

    /// A call by contract of a node in another tree. Used by generated code.
    ///
    /// # Errors
    /// The callee's, or what keeps the call from reaching it.
    #[doc(hidden)]
    pub fn call_away<'a, A, R>(
        &'a self,
        contract: &'static ContractInfo,
        method: &'static str,
        arguments: A,
    ) -> Target<'a, R>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        Target(Way::Away(Box::pin(async move {
            let call = pin!(self.call_elsewhere(contract, method, arguments));
            Limited::new(self, call).await
        })))
    }

    async fn call_elsewhere<A, R>(&self, contract: &ContractInfo, method: &str, arguments: A) -> Result<R>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        self.check(contract).await?;
        let payload = Payload::encode(self.peer(method)?.codec(), &arguments)?;
        let answer = self.send(method, payload).await;
        let answer = answer.and_then(|payload| inside_context(self.context(), || Answer::wire(payload).take()));
        if let Err(error) = &answer
            && matches!(error.kind, ErrorKind::NoSuchProcedure | ErrorKind::InvalidArgument)
        {
            // Another node may be there by now: ask again next time.
            self.member.doubt(self.path());
        }
        answer
    }

    /// A call with arguments and answer in serialised form.
    pub(crate) async fn call_payload(&self, method: &str, arguments: &impl Serialize) -> Result<Payload> {
        let payload = Payload::encode(self.codec(), arguments)?;
        match self.here() {
            Some(node) => {
                let method = method.to_owned().into();
                let call = pin!(named(node, method, Arguments::wire(payload), None));
                Limited::new(self, call).await?.into_payload()
            }
            None => Limited::new(self, pin!(self.send(method, payload))).await,
        }
    }

    /// In which codec values are serialised here.
    fn codec(&self) -> CodecId {
        let peer = self.member.peer();
        peer.map_or(CodecId::Json, |peer| peer.codec())
    }

    /// The node itself, if it is in this tree.
    #[must_use]
    pub fn here(&self) -> Option<Rc<dyn Node>> {
        let found = self.member.find(self.path().as_str());
        found.filter(|_| !fault::is(Fault::ShortCutOff))
    }

    /// Asks the node once whether it implements the contract. One in another language need not know the question.
    pub(super) async fn check(&self, contract: &ContractInfo) -> Result<()> {
        if self.member.is_verified(self.path(), contract.fingerprint) {
            return Ok(());
        }
        let payload = Payload::encode(self.peer(DESCRIBE)?.codec(), &[(); 0])?;
        match self.send(DESCRIBE, payload).await {
            Ok(answer) => {
                let known: Vec<(String, String)> = Answer::wire(answer).take()?;
                if !known.iter().any(|(name, fingerprint)| contract.is(name, fingerprint)) {
                    return Err(wrong_contract(self.path(), contract));
                }
            }
            Err(error) if error.kind == ErrorKind::NoSuchProcedure => {}
            Err(error) => return Err(error),
        }
        self.member.verify(self.path(), contract.fingerprint);
        Ok(())
    }

    pub(super) fn peer(&self, method: &str) -> Result<crate::wamp::peer::Peer> {
        let member = &self.member;
        member.peer().ok_or_else(|| {
            if member.was_joined() {
                Error::new(ErrorKind::Disconnected, "There is no connection now.")
            } else {
                nobody(&format!("{}.{method}", self.path()))
            }
        })
    }

    async fn send(&self, method: &str, payload: Payload) -> Result<Payload> {
        let procedure = Uri::unchecked(self.path().endpoint(method));
        let options = CallOptions {
            trace: self.who().caller().trace,
            ..CallOptions::default()
        };
        self.peer(method)?.call(&procedure, payload, options).await
    }

    pub(super) fn context(&self) -> &NodeContext {
        &self.destination.context
    }

    /// How long a call by this remote waits.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.unwrap_or_else(|| self.context().call_timeout())
    }

    /// Who calls.
    #[inline(always)]
    pub(super) fn who(&self) -> Who {
        self.member.who()
    }

    /// A call of a node in this tree: most are answered at once, and the others get what waiting takes.
    fn call_here<'a, R: DeserializeOwned + 'static>(
        &'a self,
        place: Rc<Place>,
        method: &'static str,
        call: Calling<R>,
        rest: &mut Option<LocalBoxFuture<'a, Result<R>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<R>> {
        let mut waiting = None;
        let polled = enter(
            place,
            self.who(),
            &Cow::Borrowed(method),
            call,
            &Rules::TYPED,
            &mut waiting,
            context,
        );
        let Some(waiting) = waiting else { return polled };
        let mut limited = Limited::new(self, waiting);
        let polled = limited.is_over(context);
        if polled.is_pending() {
            *rest = Some(Box::pin(limited));
        }
        polled
    }
}

/// Where a call goes; for generated code.
#[doc(hidden)]
pub struct Target<'a, R>(Way<'a, R>);

enum Way<'a, R> {
    Here(Rc<Place>, &'static str, Calling<R>),
    Away(LocalBoxFuture<'a, Result<R>>),
}

/// A call by contract, for generated code. Nothing of it runs before it is polled, and a callee of the same tree that
/// answers at once costs no more than its own future.
#[doc(hidden)]
pub struct RemoteCall<'a, R, S> {
    remote: &'a RemoteNode,
    start: Option<S>,
    /// From the first poll on, if that was not the last.
    waiting: Option<LocalBoxFuture<'a, Result<R>>>,
}

/// What is pinned is boxed.
impl<R, S> Unpin for RemoteCall<'_, R, S> {}

impl<'a, R, S> Future for RemoteCall<'a, R, S>
where
    R: DeserializeOwned + 'static,
    S: FnOnce() -> Result<Target<'a, R>>,
{
    type Output = Result<R>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        let this = self.get_mut();
        if let Some(start) = this.start.take() {
            match start()?.0 {
                Way::Here(place, method, call) => {
                    return this.remote.call_here(place, method, call, &mut this.waiting, context);
                }
                Way::Away(call) => this.waiting = Some(call),
            }
        }
        let Some(waiting) = &mut this.waiting else {
            return Poll::Pending;
        };
        let polled = waiting.as_mut().poll(context);
        if polled.is_ready() {
            // Given up here and now if its time is over, whenever this is dropped.
            this.waiting = None;
        }
        polled
    }
}

/// A call that is given up when its caller's time is over.
struct Limited<'a, C> {
    remote: &'a RemoteNode,
    call: C,
    /// Made when the call first waits: most calls within a tree are answered at once.
    limit: Option<Option<(Duration, LocalBoxFuture<'static, ()>)>>,
}

impl<'a, C> Limited<'a, C> {
    const fn new(remote: &'a RemoteNode, call: C) -> Self {
        Self {
            remote,
            call,
            limit: None,
        }
    }

    fn is_over<R>(&mut self, context: &mut Context<'_>) -> Poll<Result<R>> {
        let remote = self.remote;
        let limit = self.limit.get_or_insert_with(|| {
            let timeout = remote.timeout()?;
            Some((timeout, remote.context().platform().sleep(timeout)))
        });
        let Some((timeout, sleep)) = limit else {
            return Poll::Pending;
        };
        sleep.as_mut().poll(context).map(|()| {
            let text = format!("{} did not answer within {timeout:?}.", remote.path());
            Err(Error::new(ErrorKind::Timeout, text))
        })
    }
}

impl<R, C: Future<Output = Result<R>> + Unpin> Future for Limited<'_, C> {
    type Output = Result<R>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<R>> {
        match Pin::new(&mut self.call).poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending => self.is_over(context),
        }
    }
}

/// How a node travels: by its address.
#[derive(Serialize, Deserialize)]
struct Address {
    node: Path,
}

impl Serialize for RemoteNode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.path().clone();
        Address { node }.serialize(serializer)
    }
}

/// Only where something arrives for a node: in calls, their answers, and handlers.
impl<'de> Deserialize<'de> for RemoteNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let address = Address::deserialize(deserializer)?;
        let context =
            current_place().ok_or_else(|| D::Error::custom("there is no node here that could call another one"))?;
        Ok(Self::new(context, address.node))
    }
}

impl fmt::Debug for RemoteNode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("RemoteNode").field(self.path()).finish()
    }
}

/// A remote without a contract.
#[derive(Clone, Debug)]
pub struct DynamicRemote(RemoteNode);

impl DynamicRemote {
    pub(crate) fn new(node: RemoteNode) -> Self {
        Self(node)
    }

    /// Where calls go.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The same address with another time-out; `None` waits for ever.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    /// Calls a method by name. `arguments` is a tuple, a list, or `[(); 0]` for none; they and the answer are
    /// serialised even within a tree, so a mismatch is an error at run time.
    ///
    /// # Errors
    /// The callee's, or what keeps the call from reaching it.
    pub async fn call<R: DeserializeOwned>(&self, method: &str, arguments: impl Serialize) -> Result<R> {
        let answer = self.0.call_payload(method, &arguments).await?;
        super::call::decode_first(&answer)
    }

    /// Calls a method that answers by a stream by its name; the rest is as with [`DynamicRemote::call`], and
    /// [`RemoteStream`] says how a stream ends. A method with one answer is a stream of one item, or of none if that is
    /// null.
    pub fn stream<T>(&self, method: &str, arguments: impl Serialize) -> RemoteStream<T>
    where
        T: DeserializeOwned + 'static,
    {
        let payload = Payload::encode(self.0.codec(), &arguments);
        self.0.stream_payload(method.to_owned(), payload)
    }

    /// Fires a signal of the node: its handlers and all others hear it.
    ///
    /// # Errors
    /// If the value does not serialise.
    pub fn notify(&self, signal: &str, value: impl Serialize) -> Result<()> {
        let member = self.0.context().member();
        let topic = self.0.path().endpoint(signal);
        self.0.context().may_publish(&topic)?;
        let parcel = Parcel::wire(Payload::encode(self.0.codec(), &(value,))?).marked(member.new_name());
        member.keep(&topic, &parcel);
        drop(member.fire(&topic, &parcel));
        member.publish(&topic, &parcel);
        Ok(())
    }
}

fn wrong_contract(path: &Path, contract: &ContractInfo) -> Error {
    let text = format!(
        "The node at {path} does not implement {} as it is known here.",
        contract.name
    );
    Error::new(ErrorKind::WrongContract, text)
}
