//! Every macro form without its macro: the same program as `by_macro.rs`, as the macros write it.

use std::{any::Any, rc::Rc, time::Duration};

use coati_shared::{
    contract::{Calling, ContractInfo, Running, fingerprint},
    node::{
        Answer, Arguments, Here, RemoteNode,
        stream::{Outlet, pour},
    },
    prelude::*,
    signal::{Handled, HandlerOutcome, HandlerSpec, SignalPort},
    state::StateEntry,
};
use futures::stream;

// #[contract]: the trait, whose methods are left out of its vtable so that `dyn Greeter` may name the contract…
/// Greets, and counts.
pub trait Greeter: 'static {
    /// Greets somebody.
    fn hello(&self, name: String, caller: Caller) -> impl Future<Output = Result<String>>
    where
        Self: Sized;
    /// The numbers up to one.
    fn count(&self, to: u32) -> impl Stream<Item = Result<u32>>
    where
        Self: Sized;
}

// …the same methods as an object has them, for calls within a tree…
#[doc(hidden)]
pub trait GreeterFace: Node {
    fn call_hello(self: Rc<Self>, name: String) -> Calling<String>;
    fn call_count(self: Rc<Self>, to: u32, outlet: Outlet<u32>) -> Calling<()>;
}

impl<N: Greeter + Node> GreeterFace for N {
    fn call_hello(self: Rc<Self>, name: String) -> Calling<String> {
        // The room first: then the call is written where it stays, not beside it and copied.
        let room = Box::new_uninit();
        let call = Box::write(room, async move {
            self.hello(name, Caller::current().unwrap_or_default()).await
        });
        Box::into_pin(call)
    }

    fn call_count(self: Rc<Self>, to: u32, outlet: Outlet<u32>) -> Calling<()> {
        let room = Box::new_uninit();
        let call = Box::write(room, async move { pour(self.count(to), outlet).await });
        Box::into_pin(call)
    }
}

// …a way to call it by name, for all others…
fn dispatch<N: Greeter>(node: Rc<N>, method: &str, arguments: Arguments) -> Result<Running, Arguments> {
    match method {
        "hello" => Ok(Box::pin(async move {
            let ((name,), reply) = arguments.take::<(String,)>("hello", &["name"])?;
            let answer = node.hello(name, Caller::current().unwrap_or_default()).await?;
            Answer::new(answer, reply)
        })),
        "count" => Ok(Box::pin(async move {
            let ((to,), outlet, reply) = arguments.take_stream::<(u32,), u32>("count", &["to"])?;
            pour(node.count(to), outlet).await?;
            Answer::new((), reply)
        })),
        _ => Err(arguments),
    }
}

// …what callers hold…
/// Calls a node that implements [`Greeter`], wherever it is.
#[derive(Clone, Debug)]
pub struct GreeterRemote {
    node: RemoteNode,
    here: Here<dyn GreeterFace>,
}

impl GreeterRemote {
    /// Greets somebody.
    ///
    /// # Errors
    /// The callee's.
    pub fn hello(&self, name: String) -> impl Future<Output = Result<String>> {
        let contract = &<dyn Greeter as Contract>::INFO;
        self.node.call(move || {
            Ok(match self.node.find(&self.here, contract)? {
                Some(callee) => callee.call("hello", |face| face.call_hello(name)),
                None => self.node.call_away(contract, "hello", (name,)),
            })
        })
    }

    /// The numbers up to one.
    pub fn count(&self, to: u32) -> RemoteStream<u32> {
        let (remote, contract) = (self.clone(), &<dyn Greeter as Contract>::INFO);
        self.node.stream(async move {
            match remote.node.find(&remote.here, contract)? {
                Some(callee) => {
                    let face = callee.face();
                    let call = |outlet| face.clone().call_count(to, outlet);
                    Ok(remote.node.stream_here(face.clone(), "count", call))
                }
                None => remote.node.stream_away(contract, "count", (to,)).await,
            }
        })
    }

    /// Where calls go.
    #[must_use]
    pub fn remote_path(&self) -> &Path {
        self.node.path()
    }

    /// The same remote with another time-out.
    #[must_use]
    pub fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self {
            node: self.node.with_timeout(timeout),
            here: self.here,
        }
    }
}

// …and what ties them together.
impl Contract for dyn Greeter {
    type Remote = GreeterRemote;
    const INFO: ContractInfo = ContractInfo {
        name: "Greeter",
        fingerprint: fingerprint("Greeter;hello(String)->String;count(u32)->*u32"),
        methods: &["hello", "count"],
    };

    fn remote(node: RemoteNode) -> GreeterRemote {
        GreeterRemote {
            node,
            here: Here::default(),
        }
    }
}

// #[node(Greeter, register = "each")]
/// Keeps a list of its guests.
pub struct Desk {
    on_hello: Signal<String>,
    guests: Value<Vec<String>>,
    opened: Value<u32>,
    greeting: String,
    node_core: NodeCore,
}

#[allow(non_upper_case_globals, missing_docs)]
impl Desk {
    // #[signal(replay = 2)]
    pub const on_hello: SignalRef<Self, String> = SignalRef::new("on_hello").replayed();
    // #[mirror]
    pub const guests: StateRef<Self, Vec<String>> = StateRef::new("guests");

    pub fn new(greeting: String) -> Rc<Self> {
        Rc::new(Self {
            on_hello: Signal::replaying(2),
            guests: Value::default(),
            opened: Value::default(),
            greeting,
            node_core: NodeCore::default(),
        })
    }
}

impl Node for Desk {
    fn node_core(&self) -> &NodeCore {
        &self.node_core
    }

    fn node_type(&self) -> &'static str {
        "Desk"
    }

    fn node_dispatch(self: Rc<Self>, method: &str, arguments: Arguments) -> Result<Running, Arguments> {
        dispatch(self, method, arguments)
    }

    fn node_face(self: Rc<Self>, face: &mut dyn Any) {
        if let Some(face) = face.downcast_mut::<Option<Rc<dyn GreeterFace>>>() {
            *face = Some(self);
        }
    }

    fn node_contracts(&self) -> &'static [ContractInfo] {
        &[<dyn Greeter as Contract>::INFO]
    }

    fn node_registers_each(&self) -> bool {
        true
    }

    fn node_signals(&self) -> Vec<(&'static str, &dyn SignalPort)> {
        vec![("on_hello", &self.on_hello)]
    }

    // #[handlers]
    fn node_handlers(self: Rc<Self>) -> Vec<HandlerSpec> {
        vec![
            HandlerSpec::on_node_bind(&self, |node, _event| {
                node.opened.update(|times| *times += 1);
                Handled::Done(Ok(()))
            }),
            HandlerSpec::own(&self, Self::on_hello, |node, name: String| {
                node.guests.update(|guests| guests.push(name));
                Handled::Done(Ok(()))
            }),
        ]
    }

    fn node_state(&self) -> Vec<StateEntry> {
        vec![
            StateEntry {
                name: "guests",
                cell: Some(Rc::new(self.guests.clone())),
                mirrored: true,
                is_secret: false,
            },
            StateEntry {
                name: "opened",
                cell: Some(Rc::new(self.opened.clone())),
                mirrored: false,
                is_secret: false,
            },
        ]
    }
}

// What one writes oneself in any case.
impl Greeter for Desk {
    async fn hello(&self, name: String, caller: Caller) -> Result<String> {
        self.on_hello.notify(name.clone()).await?;
        let role = caller.authrole.unwrap_or_default();
        Ok(format!("{} {name} of {role}!", self.greeting))
    }

    fn count(&self, to: u32) -> impl Stream<Item = Result<u32>> {
        stream::iter((1..=to).map(Ok))
    }
}

// #[node(new = make)]
/// Listens.
#[derive(Default)]
pub struct Visitor {
    heard: Value<Vec<String>>,
    node_core: NodeCore,
}

impl Visitor {
    /// A [`Visitor`] that is not bound yet.
    #[must_use]
    pub fn make() -> Rc<Self> {
        Rc::default()
    }

    async fn hear(&self, name: String) -> Result<()> {
        self.heard.update(|heard| heard.push(format!("typed {name}")));
        Ok(())
    }
}

impl Node for Visitor {
    fn node_core(&self) -> &NodeCore {
        &self.node_core
    }

    fn node_type(&self) -> &'static str {
        "Visitor"
    }

    fn node_dispatch(self: Rc<Self>, _method: &str, arguments: Arguments) -> Result<Running, Arguments> {
        Err(arguments)
    }

    fn node_face(self: Rc<Self>, _face: &mut dyn Any) {}

    fn node_contracts(&self) -> &'static [ContractInfo] {
        &[]
    }

    fn node_signals(&self) -> Vec<(&'static str, &dyn SignalPort)> {
        Vec::new()
    }

    fn node_handlers(self: Rc<Self>) -> Vec<HandlerSpec> {
        vec![
            HandlerSpec::at(&self, Desk::on_hello, "@desk", |node, name: String| {
                Handled::Pending(Box::pin(
                    async move { HandlerOutcome::into_result(node.hear(name).await) },
                ))
            }),
            HandlerSpec::topic(&self, "@desk.on_hello", |node, name: String| {
                node.heard.update(|heard| heard.push(format!("by text {name}")));
                Handled::Done(Ok(()))
            }),
        ]
    }

    fn node_state(&self) -> Vec<StateEntry> {
        vec![StateEntry {
            name: "heard",
            cell: Some(Rc::new(self.heard.clone())),
            mirrored: false,
            is_secret: false,
        }]
    }
}

#[path = "twins/story.rs"]
pub mod story;

fn main() -> Result<()> {
    story::tell()
}
