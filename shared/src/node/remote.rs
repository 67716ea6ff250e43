//! Calling a node by path: directly if it is in this tree, else through the session; the caller cannot tell.

use std::{cell::RefCell, fmt, future::poll_fn, rc::Rc, task::Poll, time::Duration};

use futures::future::{Either, select};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};

use super::{
    Node, NodeContext,
    call::{Answer, Arguments},
    fault::{self, Fault},
    member::nobody,
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
}

impl RemoteNode {
    pub(crate) fn new(context: NodeContext, path: Path) -> Self {
        Self {
            context,
            path,
            timeout: None,
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
    pub async fn call<A, R>(&self, contract: &ContractInfo, method: &str, arguments: A) -> Result<R>
    where
        A: Serialize + 'static,
        R: DeserializeOwned + 'static,
    {
        self.limited(async {
            let member = self.context.member();
            if let Some(node) = self.here() {
                if !node.node_contracts().contains(contract) {
                    return Err(wrong_contract(&self.path, contract));
                }
                return member
                    .enter(&node, method, Arguments::local(arguments), self.caller())
                    .await?
                    .take();
            }
            self.check(contract).await?;
            let peer = self.peer(method)?;
            let payload = Payload::encode(peer.codec(), &arguments)?;
            let answer = self.send(method, payload).await;
            let answer = answer.and_then(|payload| inside_context(&self.context, || Answer::wire(payload).take()));
            if let Err(error) = &answer
                && matches!(error.kind, ErrorKind::NoSuchProcedure | ErrorKind::InvalidArgument)
            {
                // Another node may be there by now: ask again next time.
                member.doubt(&self.path);
            }
            answer
        })
        .await
    }

    /// A call with arguments and answer in serialised form.
    pub(crate) async fn call_payload(&self, method: &str, arguments: &impl Serialize) -> Result<Payload> {
        let payload = Payload::encode(self.codec(), arguments)?;
        self.limited(async {
            match self.here() {
                Some(node) => self
                    .context
                    .member()
                    .enter(&node, method, Arguments::wire(payload), self.caller())
                    .await?
                    .into_payload(),
                None => self.send(method, payload).await,
            }
        })
        .await
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

    /// Asks the node once whether it implements the contract. One in another language need not know the question.
    async fn check(&self, contract: &ContractInfo) -> Result<()> {
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

    fn peer(&self, method: &str) -> Result<crate::wamp::peer::Peer> {
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
            trace: self.caller().trace,
            ..CallOptions::default()
        };
        self.peer(method)?.call(&procedure, payload, options).await
    }

    /// Who calls. A call that comes out of no other one starts a trace.
    fn caller(&self) -> super::Caller {
        let mut caller = self.context.member().identity();
        if caller.trace.is_none() {
            caller.trace = Some(self.context.member().new_trace());
        }
        caller
    }

    async fn limited<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(timeout) = self.timeout.unwrap_or_else(|| self.context.call_timeout()) else {
            return call.await;
        };
        let mut call = std::pin::pin!(call);
        // Most calls within a tree are answered at once: these need no timer.
        if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            return result;
        }
        let sleep = self.context.platform().sleep(timeout);
        match select(call, sleep).await {
            Either::Left((result, _)) => result,
            Either::Right(((), _)) => Err(Error::new(
                ErrorKind::Timeout,
                format!("{} did not answer within {timeout:?}.", self.path),
            )),
        }
    }
}

thread_local! {
    // Set while a node's code runs or something for it is decoded: what arrives there belongs to that place.
    static PLACE: RefCell<Option<NodeContext>> = const { RefCell::new(None) };
}

/// Puts the outer place back.
struct Outside(Option<NodeContext>);

impl Drop for Outside {
    fn drop(&mut self) {
        let inner = PLACE.replace(self.0.take());
        drop(inner);
    }
}

/// Runs code for which remotes that are decoded belong to a context.
pub(crate) fn inside_context<R>(context: &NodeContext, run: impl FnOnce() -> R) -> R {
    let _outside = Outside(PLACE.replace(Some(context.clone())));
    run()
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
        let context = PLACE.with_borrow(Clone::clone);
        let context = context.ok_or_else(|| D::Error::custom("there is no node here that could call another one"))?;
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

    /// Fires a signal of the node: its handlers and all others hear it.
    ///
    /// # Errors
    /// If the value does not serialise.
    pub fn notify(&self, signal: &str, value: impl Serialize) -> Result<()> {
        let member = self.0.context.member();
        let topic = self.0.path.endpoint(signal);
        self.0.context.may_publish(&topic)?;
        let parcel = Parcel::wire(Payload::encode(self.0.codec(), &(value,))?).marked(member.new_trace());
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
