//! Calling a node by path: directly if it is in this tree, else through the session; the caller cannot tell.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::Poll,
    time::Duration,
};

use futures::future::LocalBoxFuture;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};

use super::{
    Node, NodeContext,
    call::{Answer, Arguments},
    enter::Entered,
    fault::{self, Fault},
    frame::{Who, current_place, inside_context},
    member::nobody,
    resolved::{Destination, Found},
    stream::RemoteStream,
};
use crate::{
    contract::{ContractInfo, DESCRIBE},
    error::{Error, ErrorKind, Result},
    path::Path,
    signal::Parcel,
    wamp::{codec::CodecId, message::CallOptions, payload::Payload, uri::Uri},
};

/// The address of a node, seen from another one. Frozen: it does not follow references that change.
#[derive(Clone)]
pub struct RemoteNode {
    destination: Rc<Destination>,
    timeout: Option<Option<Duration>>,
}

/// The callee as its contract sees it, once a remote has found it in its own tree; for generated code.
#[doc(hidden)]
pub struct Here<F: ?Sized>(RefCell<Option<Found<F>>>);

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
    pub(super) const fn to(destination: Rc<Destination>) -> Self {
        Self {
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
    pub fn face<F: ?Sized + 'static>(&self, here: &Here<F>, contract: &ContractInfo) -> Result<Option<Rc<F>>> {
        let moves = self.context().member().moves();
        if let Some(found) = &*here.0.borrow()
            && let Some(face) = found.face(moves)
        {
            return Ok(Some(face));
        }
        self.look(moves, here, contract)
    }

    fn look<F: ?Sized + 'static>(&self, moves: u64, here: &Here<F>, contract: &ContractInfo) -> Result<Option<Rc<F>>> {
        if let Some(found) = self.destination.found::<F>()
            && let Some(face) = found.face(moves)
        {
            *here.0.borrow_mut() = Some(found);
            return Ok(Some(face));
        }
        let Some(node) = self.here() else { return Ok(None) };
        let mut slot = None::<Rc<F>>;
        node.node_face(&mut slot);
        let face = slot.ok_or_else(|| wrong_contract(self.path(), contract))?;
        *here.0.borrow_mut() = Some(self.destination.keep(moves, &face));
        Ok(Some(face))
    }

    /// A call of a node in this tree. Used by generated code.
    ///
    /// # Errors
    /// The callee's, or of a rule around the call.
    #[doc(hidden)]
    pub async fn call_here<R: DeserializeOwned + 'static>(
        &self,
        node: Rc<dyn Node>,
        method: &'static str,
        call: LocalBoxFuture<'static, Result<R>>,
    ) -> Result<R> {
        let mut call = Entered::typed(node, method, call);
        self.limited(Pin::new(&mut call)).await
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
    ) -> LocalBoxFuture<'a, Result<R>>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        // Boxed: its room would be part of every call.
        Box::pin(async move {
            let call = pin!(self.call_elsewhere(contract, method, arguments));
            self.limited(call).await
        })
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
            self.context().member().doubt(self.path());
        }
        answer
    }

    /// A call with arguments and answer in serialised form.
    pub(crate) async fn call_payload(&self, method: &str, arguments: &impl Serialize) -> Result<Payload> {
        let payload = Payload::encode(self.codec(), arguments)?;
        match self.here() {
            Some(node) => {
                let method = method.to_owned().into();
                let mut call = Entered::named(node, method, Arguments::wire(payload), None);
                self.limited(Pin::new(&mut call)).await?.into_payload()
            }
            None => self.limited(pin!(self.send(method, payload))).await,
        }
    }

    /// In which codec values are serialised here.
    fn codec(&self) -> CodecId {
        let peer = self.context().member().peer();
        peer.map_or(CodecId::Json, |peer| peer.codec())
    }

    /// The node itself, if it is in this tree.
    #[must_use]
    pub fn here(&self) -> Option<Rc<dyn Node>> {
        let found = self.context().member().find(self.path().as_str());
        found.filter(|_| !fault::is(Fault::ShortCutOff))
    }

    /// Asks the node once whether it implements the contract. One in another language need not know the question.
    pub(super) async fn check(&self, contract: &ContractInfo) -> Result<()> {
        if self.context().member().is_verified(self.path(), contract.fingerprint) {
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
        self.context().member().verify(self.path(), contract.fingerprint);
        Ok(())
    }

    pub(super) fn peer(&self, method: &str) -> Result<crate::wamp::peer::Peer> {
        let member = self.context().member();
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
    pub(super) fn who(&self) -> Who {
        self.context().member().who()
    }

    /// Waits for a call, which is not moved: that would cost more than the waiting.
    #[inline]
    async fn limited<T>(&self, mut call: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        // Made when the call first waits: most calls within a tree are answered at once.
        let mut limit = None;
        poll_fn(|context| {
            if let Poll::Ready(result) = call.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            let limit = limit.get_or_insert_with(|| {
                self.timeout()
                    .map(|timeout| (timeout, self.context().platform().sleep(timeout)))
            });
            let Some((timeout, sleep)) = limit else {
                return Poll::Pending;
            };
            sleep.as_mut().poll(context).map(|()| {
                let text = format!("{} did not answer within {timeout:?}.", self.path());
                Err(Error::new(ErrorKind::Timeout, text))
            })
        })
        .await
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
