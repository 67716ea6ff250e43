//! What is announced takes no memory. Alone in its program, because memory is measured for the whole of it.

mod support;

use coati_server::{
    Server,
    config::{RawAddress, RawSocket},
};
use support::{
    octets::{Octets, ws_head},
    private,
};

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("Linux tells");
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    resident.expect("a number of pages") * 4096
}

#[tokio::test]
async fn announced_gigabytes_take_no_memory() {
    let mut config = private();
    let address = RawAddress::Tcp("127.0.0.1:0".parse().expect("an address"));
    let role = "component".to_owned();
    config.raw_sockets = vec![RawSocket { address, role }];
    config.connections.per_address = 200;
    let server = Server::builder()
        .config(config)
        .start()
        .await
        .expect("the server starts");
    let (web, raw) = (server.address(), server.raw_addresses()[0]);
    let mut peers = Vec::new();
    for _ in 0..50 {
        let mut peer = Octets::tcp(web).await;
        let offer = "Sec-WebSocket-Protocol: wamp.2.json\r\n";
        assert_eq!(peer.upgrade(web, offer).await, 101);
        peers.push(peer);
    }
    let before = resident();
    for peer in &mut peers {
        peer.send(&ws_head(0x81, 1 << 30)).await;
        peer.send(&[b'x'; 1024]).await;
        assert_eq!(peer.ws_close().await, 1009);
    }
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut peer = Octets::tcp(raw).await;
        peer.greet([0x7F, 0xF1, 0, 0]).await;
        // Within the limit, so it is waited for.
        peer.send(&[0, 0x3F, 0xFF, 0xFF, b'[']).await;
        waiting.push(peer);
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 4 << 20,
        "50 announced gigabytes and 50 times 4 MiB took {grown} bytes"
    );
    server.stop().await;
}
