//! `cargo run -p coati-server --example echo -- --addr 127.0.0.1:9001`: what Autobahn's fuzzing client talks to.
//!
//! Every text and binary message comes back, on the WebSocket code and with the buffers that the router uses.

use std::net::SocketAddr;

use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use clap::Parser;

/// Answers every message with itself.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001")]
    addr: SocketAddr,
}

/// The largest message of the test suite is 16 MiB.
const LARGEST: usize = 32 * 1024 * 1024;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let echo = get(|upgrade: WebSocketUpgrade| async move {
        upgrade
            .read_buffer_size(2 * 1024)
            .write_buffer_size(16 * 1024)
            .max_message_size(LARGEST)
            .max_frame_size(LARGEST)
            .on_upgrade(run)
    });
    let listener = tokio::net::TcpListener::bind(options.addr).await?;
    axum::serve(listener, Router::new().route("/", echo)).await
}

async fn run(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answered = match message {
            Message::Text(_) | Message::Binary(_) => socket.send(message).await,
            // Pings and the close handshake are answered by the library.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if answered.is_err() {
            return;
        }
    }
}
