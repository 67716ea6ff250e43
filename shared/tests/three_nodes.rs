//! The talk's three nodes: a typed call and a typed signal, in one tree and across sessions.
#![cfg_attr(rustfmt, rustfmt::skip)] // One line per thought: the file is also a picture of what an application writes.
use coati_shared::{prelude::*, testing::{self, Placement}};

#[node] struct First {}

#[node] struct Second { #[signal] on_foo: Signal<String> }
impl Second {
    async fn call_third(&self) -> Result<()> { self.remote::<dyn Third>("@third")?.rpc("hello".into()).await }
}

#[contract] trait Third { async fn rpc(&self, something: String) -> Result<()>; }
#[node(Third)] struct ThirdNode { something: Value<Option<String>>, heard: Value<Vec<String>> }
impl Third for ThirdNode {
    async fn rpc(&self, something: String) -> Result<()> { self.something.set(Some(something)); Ok(()) }
}
#[handlers] impl ThirdNode {
    #[handler(Second::on_foo, at = "@first.second")]
    fn on_foo(&self, text: String) { self.heard.update(|all| all.push(text)); }
}

#[testing::test]
pub async fn three_nodes_meet_wherever_they_are(at: Placement) -> Result<()> {
    let (base, first, second, third) = (Path::root("test")?, First::new(), Second::new(), ThirdNode::new());
    first.node_bind(base.join("first")?, &at.near).await?;
    first.node_add("second", second.clone()).await?;
    third.node_bind(base.join("third")?, &at.far).await?;

    second.call_third().await?;
    second.on_foo.notify("world".into()).await?;
    at.settle().await;
    assert_eq!(third.something.get().as_deref(), Some("hello"));
    assert_eq!(third.heard.get(), ["world"]);
    assert_eq!(at.traffic(), at.expected_traffic(), "what passed the links, in the codec of the placement");

    let unknown = second.remote::<dyn Third>("@fourth")?.rpc("nobody".into()).await.unwrap_err();
    third.node_unbind().await?;
    let gone = second.call_third().await.unwrap_err();
    assert_eq!([unknown.kind, gone.kind], [ErrorKind::NoSuchProcedure; 2]);
    second.on_foo.notify("too late".into()).await?;
    at.settle().await;
    assert_eq!(third.heard.get(), ["world"], "an unbound node hears nothing");
    Ok(())
}
