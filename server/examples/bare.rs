//! What sockets cost without WAMP: echo, two-peer forwarder and broadcaster on the same axum WebSocket code.
//!
//! `cargo run --release -p coati-server --example bare -- --addr 127.0.0.1:8081`. Frames that come in at `/caller` go out
//! at `/callee` and back; frames that come in at `/publisher` go out at every `/subscriber`; `/echo` answers itself.
//! Buffers, runtime flavour and workers are those of the router, so that the difference is what routing costs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::{
        State, WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
    routing::get,
    serve::ListenerExt,
};
use clap::Parser;
use futures::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Sockets without WAMP, to compare with.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8081")]
    addr: SocketAddr,
}

/// Frames that one peer may be behind, as in the router.
const QUEUE: usize = 1024;

/// Who gets what comes in.
#[derive(Default)]
struct Hall {
    caller: Mutex<Option<Sender<Message>>>,
    callee: Mutex<Option<Sender<Message>>>,
    subscribers: Mutex<Vec<Sender<Message>>>,
}

#[derive(Clone, Copy)]
enum Seat {
    Caller,
    Callee,
    Publisher,
    Subscriber,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let options = Options::parse();
    let hall = Arc::new(Hall::default());
    let seat = |seat: Seat| {
        get(move |upgrade: WebSocketUpgrade, State(hall): State<Arc<Hall>>| async move { open(upgrade, hall, seat) })
    };
    let routes = Router::new()
        .route("/echo", get(async |upgrade| sized(upgrade).on_upgrade(echo)))
        .route("/caller", seat(Seat::Caller))
        .route("/callee", seat(Seat::Callee))
        .route("/publisher", seat(Seat::Publisher))
        .route("/subscriber", seat(Seat::Subscriber))
        .with_state(hall);
    let listener = tokio::net::TcpListener::bind(options.addr).await?;
    let listener = listener.tap_io(|stream| {
        // A socket that is gone already shows when it is read.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, routes).await
}

fn open(upgrade: WebSocketUpgrade, hall: Arc<Hall>, seat: Seat) -> Response {
    sized(upgrade).on_upgrade(move |socket| run(socket, hall, seat))
}

fn sized(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.read_buffer_size(2 * 1024).write_buffer_size(16 * 1024)
}

async fn run(socket: WebSocket, hall: Arc<Hall>, seat: Seat) {
    let (sink, stream) = socket.split();
    let (sender, receiver) = channel(QUEUE);
    match seat {
        Seat::Caller => *hall.caller.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone()),
        Seat::Callee => *hall.callee.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender.clone()),
        Seat::Subscriber => {
            let mut all = hall.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|one| !one.is_closed());
            all.push(sender.clone());
        }
        Seat::Publisher => {}
    }
    tokio::select! {
        () = read(stream, &hall, seat) => {}
        () = write(sink, receiver) => {}
    }
}

/// Without a queue, which nobody needs who answers itself: filling one would wake a second worker each time.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        if is_data(&message) && socket.send(message).await.is_err() {
            return;
        }
    }
}

fn is_data(message: &Message) -> bool {
    matches!(message, Message::Text(_) | Message::Binary(_))
}

async fn read(mut stream: SplitStream<WebSocket>, hall: &Hall, seat: Seat) {
    while let Some(Ok(message)) = stream.next().await {
        if !is_data(&message) {
            continue;
        }
        let to = match seat {
            Seat::Caller => hall.callee.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Seat::Callee => hall.caller.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Seat::Publisher => {
                for one in &*hall.subscribers.lock().unwrap_or_else(PoisonError::into_inner) {
                    // A full queue loses the frame; the load tool would say so.
                    let _ = one.try_send(message.clone());
                }
                None
            }
            Seat::Subscriber => None,
        };
        if let Some(to) = to
            && to.send(message).await.is_err()
        {
            return;
        }
    }
}

async fn write(mut sink: SplitSink<WebSocket, Message>, mut receiver: Receiver<Message>) {
    while let Some(message) = receiver.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if sink.feed(message).await.is_err() {
                return;
            }
            next = receiver.try_recv().ok();
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}
