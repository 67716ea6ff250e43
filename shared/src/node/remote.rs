//! Calling a node by path: directly if it is in this tree, else through the session; the caller cannot tell.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    rc::{Rc, Weak},
    task::Poll,
    time::Duration,
};

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
    context: NodeContext,
    path: Path,
    timeout: Option<Option<Duration>>,
    known: RefCell<Option<Known>>,
}

/// What was found at a path of this tree.
#[derive(Clone)]
struct Known {
    /// [`Member::moves`](super::member::Member::moves) at that time.
    moves: u64,
    node: Weak<dyn Node>,
    /// Fingerprint of a contract that the node implements.
    fingerprint: u64,
}

impl RemoteNode {
    pub(crate) fn new(context: NodeContext, path: Path) -> Self {
        Self {
            context,
            path,
            timeout: None,
            known: RefCell::default(),
        }
    }

    /// Where calls go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same address with another time-out; `None` waits for ever.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A call by contract. Used by generated code.
    ///
    /// # Errors
    /// The callee's, or what keeps the call from reaching it.
    pub async fn call<A, R>(&self, contract: &ContractInfo, method: &'static str, arguments: A) -> Result<R>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        match self.here_as(contract)? {
            Some(node) => {
                let arguments = Arguments::local::<A, R>(arguments);
                let mut call = Entered::new(node, method.into(), arguments, self.who());
                self.limited(Pin::new(&mut call)).await?.take()
            }
            // Boxed: its room would be part of every call.
            None => {
                let mut call = Box::pin(self.call_elsewhere(contract, method, arguments));
                self.limited(call.as_mut()).await
            }
        }
    }

    async fn call_elsewhere<A, R>(&self, contract: &ContractInfo, method: &str, arguments: A) -> Result<R>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        self.check(contract).await?;
        let payload = Payload::encode(self.peer(method)?.codec(), &arguments)?;
        let answer = self.send(method, payload).await;
        let answer = answer.and_then(|payload| inside_context(&self.context, || Answer::wire(payload).take()));
        if let Err(error) = &answer
            && matches!(error.kind, ErrorKind::NoSuchProcedure | ErrorKind::InvalidArgument)
        {
            // Another node may be there by now: ask again next time.
            self.context.member().doubt(&self.path);
        }
        answer
    }

    /// A call with arguments and answer in serialised form.
    pub(crate) async fn call_payload(&self, method: &str, arguments: &impl Serialize) -> Result<Payload> {
        let payload = Payload::encode(self.codec(), arguments)?;
        match self.here() {
            Some(node) => {
                let method = method.to_owned().into();
                let mut call = Entered::new(node, method, Arguments::wire(payload), self.who());
                self.limited(Pin::new(&mut call)).await?.into_payload()
            }
            None => self.limited(pin!(self.send(method, payload))).await,
        }
    }

    /// In which codec values are serialised here.
    fn codec(&self) -> CodecId {
        let peer = self.context.member().peer();
        peer.map_or(CodecId::Json, |peer| peer.codec())
    }

    /// The node itself, if it is in this tree.
    #[must_use]
    pub fn here(&self) -> Option<Rc<dyn Node>> {
        let found = self.context.member().find(self.path.as_str());
        found.filter(|_| !fault::is(Fault::ShortCutOff))
    }

    /// The node itself, if it is in this tree, once it is sure that it implements a contract.
    pub(super) fn here_as(&self, contract: &ContractInfo) -> Result<Option<Rc<dyn Node>>> {
        let moves = self.context.member().moves();
        let is_current = |known: &Known| known.moves == moves && known.fingerprint == contract.fingerprint;
        let known = match &*self.known.borrow() {
            Some(known) if is_current(known) => known.node.upgrade(),
            Some(_) | None => None,
        };
        if known.is_some() {
            return Ok(known);
        }
        let Some(node) = self.here() else { return Ok(None) };
        if !node.node_contracts().contains(contract) {
            return Err(wrong_contract(&self.path, contract));
        }
        *self.known.borrow_mut() = Some(Known {
            moves,
            node: Rc::downgrade(&node),
            fingerprint: contract.fingerprint,
        });
        Ok(Some(node))
    }

    /// Asks the node once whether it implements the contract. One in another language need not know the question.
    pub(super) async fn check(&self, contract: &ContractInfo) -> Result<()> {
        if self.context.member().is_verified(&self.path, contract.fingerprint) {
            return Ok(());
        }
        let payload = Payload::encode(self.peer(DESCRIBE)?.codec(), &[(); 0])?;
        match self.send(DESCRIBE, payload).await {
            Ok(answer) => {
                let known: Vec<(String, String)> = Answer::wire(answer).take()?;
                if !known.iter().any(|(name, fingerprint)| contract.is(name, fingerprint)) {
                    return Err(wrong_contract(&self.path, contract));
                }
            }
            Err(error) if error.kind == ErrorKind::NoSuchProcedure => {}
            Err(error) => return Err(error),
        }
        self.context.member().verify(&self.path, contract.fingerprint);
        Ok(())
    }

    pub(super) fn peer(&self, method: &str) -> Result<crate::wamp::peer::Peer> {
        let member = self.context.member();
        member.peer().ok_or_else(|| {
            if member.was_joined() {
                Error::new(ErrorKind::Disconnected, "There is no connection now.")
            } else {
                nobody(&format!("{}.{method}", self.path))
            }
        })
    }

    async fn send(&self, method: &str, payload: Payload) -> Result<Payload> {
        let procedure = Uri::unchecked(self.path.endpoint(method));
        let options = CallOptions {
            trace: self.who().caller().trace,
            ..CallOptions::default()
        };
        self.peer(method)?.call(&procedure, payload, options).await
    }

    pub(super) fn context(&self) -> &NodeContext {
        &self.context
    }

    /// How long a call by this remote waits.
    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout.unwrap_or_else(|| self.context.call_timeout())
    }

    /// Who calls.
    pub(super) fn who(&self) -> Who {
        self.context.member().who()
    }

    /// Waits for a call, which is not moved: that would cost more than the waiting.
    async fn limited<T>(&self, mut call: Pin<&mut impl Future<Output = Result<T>>>) -> Result<T> {
        // Made when the call first waits: most calls within a tree are answered at once.
        let mut limit = None;
        poll_fn(|context| {
            if let Poll::Ready(result) = call.as_mut().poll(context) {
                return Poll::Ready(result);
            }
            let limit = limit.get_or_insert_with(|| {
                self.timeout()
                    .map(|timeout| (timeout, self.context.platform().sleep(timeout)))
            });
            let Some((timeout, sleep)) = limit else {
                return Poll::Pending;
            };
            sleep.as_mut().poll(context).map(|()| {
                let text = format!("{} did not answer within {timeout:?}.", self.path);
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
        let node = self.path.clone();
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
        formatter.debug_tuple("RemoteNode").field(&self.path).finish()
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
        let member = self.0.context.member();
        let topic = self.0.path.endpoint(signal);
        self.0.context.may_publish(&topic)?;
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
