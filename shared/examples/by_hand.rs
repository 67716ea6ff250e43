//! What the macros write: a contract, its remote, a node with a signal and a handler, all without them.

use std::{future::Future, rc::Rc, time::Duration};

use coati_shared::{
    contract::{Contract, ContractInfo, Running, fingerprint},
    node::{Answer, Arguments, Node, NodeCore, NodeExt, RemoteNode},
    path::Path,
    prelude::{Result, Signal, SignalRef, Value},
    signal::{Handled, HandlerSpec, SignalPort},
    state::StateEntry,
    testing,
};

// #[contract]: the trait, whose methods are left out of its vtable so that `dyn Greeter` may name the contract…
trait Greeter: 'static {
    fn hello(&self, name: String) -> impl Future<Output = Result<String>>
    where
        Self: Sized;
}

// …a way to call it by name, with arguments that came by hand or by wire…
fn dispatch<N: Greeter>(node: Rc<N>, method: &str, arguments: Arguments) -> Result<Running, Arguments> {
    match method {
        "hello" => Ok(Box::pin(async move {
            let ((name,), reply) = arguments.take::<(String,)>("hello", &["name"])?;
            let answer = node.hello(name).await?;
            Answer::new(answer, reply)
        })),
        _ => Err(arguments),
    }
}

// …what callers hold…
#[derive(Clone, Debug)]
struct GreeterRemote {
    node: RemoteNode,
}

impl GreeterRemote {
    async fn hello(&self, name: String) -> Result<String> {
        self.node.call(&<dyn Greeter as Contract>::INFO, "hello", (name,)).await
    }

    fn with_timeout(self, timeout: Option<Duration>) -> Self {
        Self {
            node: self.node.with_timeout(timeout),
        }
    }
}

// …and what ties them together.
impl Contract for dyn Greeter {
    type Remote = GreeterRemote;
    const INFO: ContractInfo = ContractInfo {
        name: "Greeter",
        fingerprint: fingerprint("Greeter;hello(String)->String"),
        methods: &["hello"],
    };

    fn remote(node: RemoteNode) -> GreeterRemote {
        GreeterRemote { node }
    }
}

// #[node(Greeter)]
#[derive(Default)]
struct GreeterNode {
    on_hello: Signal<String>,
    heard: Value<Vec<String>>,
    node_core: NodeCore,
}

impl GreeterNode {
    const ON_HELLO: SignalRef<Self, String> = SignalRef::new("on_hello");
}

impl Node for GreeterNode {
    fn node_core(&self) -> &NodeCore {
        &self.node_core
    }

    fn node_type(&self) -> &'static str {
        "GreeterNode"
    }

    fn node_dispatch(self: Rc<Self>, method: &str, arguments: Arguments) -> Result<Running, Arguments> {
        dispatch(self, method, arguments)
    }

    fn node_contracts(&self) -> &'static [ContractInfo] {
        &[<dyn Greeter as Contract>::INFO]
    }

    fn node_signals(&self) -> Vec<(&'static str, &dyn SignalPort)> {
        vec![("on_hello", &self.on_hello)]
    }

    // #[handlers]
    fn node_handlers(self: Rc<Self>) -> Vec<HandlerSpec> {
        vec![HandlerSpec::own(&self, Self::ON_HELLO, |node, name: String| {
            node.heard.update(|all| all.push(name));
            Handled::Done(Ok(()))
        })]
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

// What one writes oneself in any case.
impl Greeter for GreeterNode {
    async fn hello(&self, name: String) -> Result<String> {
        self.on_hello.notify(name.clone()).await?;
        Ok(format!("Hello {name}!"))
    }
}

fn main() {
    testing::run(async {
        let greeter = Rc::new(GreeterNode::default());
        let path = Path::root("example.greeter").expect("a path");
        greeter
            .node_bind(path, &testing::local_context())
            .await
            .expect("a free place");
        let remote = greeter.remote::<dyn Greeter>("@").expect("a path").with_timeout(None);
        assert_eq!(remote.hello("World".into()).await.as_deref(), Ok("Hello World!"));
        let state = greeter.node_state().remove(0).cell.expect("a list of texts serialises");
        assert_eq!(state.read_json().as_deref(), Ok(r#"["World"]"#));
        greeter.node_unbind().await.expect("no handler fails");
    });
}
