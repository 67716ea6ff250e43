//! Nodes over real sockets: the talk's three nodes in each codec, the file of `shared/tests`, and a mirror whose owner dies.

extern crate shared as coati_shared;

use std::{net::SocketAddr, rc::Rc, time::Duration};

use coati_server::{Config, Running, Server, peer::websocket::Dial, router::Open};
use shared::{
    platform::default_platform,
    prelude::*,
    testing::{self, Placement, Tap},
    wamp::{
        codec::CodecId,
        peer::{Join, Peer},
        uri::Uri,
    },
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

#[path = "../../shared/tests/three_nodes.rs"]
mod three_nodes;

async fn serve(allowed_hosts: Vec<String>) -> Running {
    let config = Config {
        address: "127.0.0.1:0".parse().expect("an address"),
        allowed_hosts,
        ..Config::default()
    };
    let builder = Server::builder()
        .config(config)
        .realm("test")
        .authorizer(Box::new(Open));
    builder.start().await.expect("a server")
}

async fn join(to: SocketAddr, codec: CodecId, tap: &Tap) -> Result<Peer> {
    let dial = Dial {
        codec,
        ..Dial::new(format!("ws://{to}/ws"))
    };
    let link = dial.connect().await.expect("a socket");
    Peer::join(default_platform(), tap.over(link), Join::new(Uri::unchecked("test"))).await
}

async fn meet_over_sockets(codec: CodecId) -> Result<()> {
    let (server, tap) = (serve(Vec::new()).await, Tap::default());
    let (near, far) = (
        join(server.address(), codec, &tap).await?,
        join(server.address(), codec, &tap).await?,
    );
    three_nodes::three_nodes_meet_wherever_they_are(Placement::over(near, far, codec, tap.clone())).await?;
    server.stop().await;
    Ok(())
}

#[test]
fn three_nodes_meet_over_sockets_in_json() {
    testing::run(meet_over_sockets(CodecId::Json)).expect("they meet");
}

#[test]
fn three_nodes_meet_over_sockets_in_msgpack() {
    testing::run(meet_over_sockets(CodecId::Msgpack)).expect("they meet");
}

#[test]
fn three_nodes_meet_over_sockets_in_cbor() {
    testing::run(meet_over_sockets(CodecId::Cbor)).expect("they meet");
}

#[node]
struct Owner {
    #[mirror]
    total: Value<u64>,
}

#[node]
struct Panel {}

/// Lets the next connection through to a server, up to the end of the sender: then it ends without a word, as that of a
/// killed process does.
fn cable(listener: Rc<TcpListener>, to: SocketAddr) -> oneshot::Sender<()> {
    let (cut, is_cut) = oneshot::channel::<()>();
    tokio::task::spawn_local(async move {
        let (mut near, _) = listener.accept().await.expect("somebody connects");
        let mut far = TcpStream::connect(to).await.expect("the server listens");
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
            _ = is_cut => {}
        }
    });
    cut
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        default_platform().sleep(Duration::from_millis(10)).await;
    }
    panic!("in vain: {what}");
}

#[test]
fn a_mirror_over_a_socket_is_lost_with_its_owners_process_and_live_with_the_next() {
    testing::run(async {
        let listener = Rc::new(TcpListener::bind("127.0.0.1:0").await.expect("a port"));
        let address = listener.local_addr().expect("an address");
        let (server, tap) = (serve(vec![address.to_string()]).await, Tap::default());
        let near = NodeContext::root(
            default_platform(),
            Some(join(server.address(), CodecId::Json, &tap).await?),
        );
        let panel = Panel::new();
        panel.node_bind("test.panel", &near).await?;
        let total = panel.mirror(Owner::total, "test.owner")?;
        for life in 1..=3 {
            // Each life has a tree of its own: nothing of the one before says goodbye.
            let cut = cable(listener.clone(), server.address());
            let far = NodeContext::root(default_platform(), Some(join(address, CodecId::Msgpack, &tap).await?));
            let owner = Owner::new();
            owner.total.set(life);
            owner.node_bind("test.owner", &far).await?;
            until("live", || {
                (total.get(), total.status()) == (Some(life), MirrorStatus::Live)
            })
            .await;
            drop(cut);
            until("lost", || {
                total.status() == MirrorStatus::Lost(ErrorKind::NoSuchProcedure)
            })
            .await;
            assert_eq!(total.get(), Some(life), "what was known last stays to be seen");
        }
        server.stop().await;
        Ok::<_, Error>(())
    })
    .expect("a mirror");
}
