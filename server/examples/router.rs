//! `cargo run -p coati-server --example router -- --addr 127.0.0.1:8080 --realm realm1`: a bare WAMP router.
//!
//! Everybody who reaches the address is `anonymous` and may do everything outside `wamp.`.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use coati_server::{
    Config, Server,
    router::{Limits, Open},
    telemetry,
};

/// A bare WAMP router for any client: WebSocket at /ws with JSON, MessagePack or CBOR.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    addr: SocketAddr,
    /// The realm that it routes.
    #[arg(long, default_value = "realm1")]
    realm: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::start_logging();
    let config = Config {
        address: options.addr,
        ..Config::default()
    };
    let server = Server::builder()
        .config(config)
        .realm(options.realm)
        .authorizer(Box::new(Open))
        .role_limits("anonymous", Limits::COMPONENT);
    match server.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the router ends");
            ExitCode::FAILURE
        }
    }
}
