//! The talk's three nodes over real sockets: the file of `shared/tests`, in each codec.

extern crate shared as coati_shared;

use coati_server::{Config, Server, peer::websocket::Dial, router::Open};
use shared::{
    error::Result,
    platform::default_platform,
    testing::{self, Placement, Tap},
    wamp::{
        codec::CodecId,
        peer::{Join, Peer},
        uri::Uri,
    },
};

#[path = "../../shared/tests/three_nodes.rs"]
mod three_nodes;

async fn meet_over_sockets(codec: CodecId) -> Result<()> {
    let config = Config {
        address: "127.0.0.1:0".parse().expect("an address"),
        ..Config::default()
    };
    let server = Server::builder()
        .config(config)
        .realm("test")
        .authorizer(Box::new(Open))
        .start()
        .await
        .expect("a server");
    let (url, tap) = (format!("ws://{}/ws", server.address()), Tap::default());
    let join = async || -> Result<Peer> {
        let dial = Dial {
            codec,
            ..Dial::new(&url)
        };
        let link = dial.connect().await.expect("a socket");
        Peer::join(default_platform(), tap.over(link), Join::new(Uri::unchecked("test"))).await
    };
    let (near, far) = (join().await?, join().await?);
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
