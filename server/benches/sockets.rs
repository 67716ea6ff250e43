//! What a call from a WebSocket peer to a node of the server costs beside a bare echo, a tree of 1,000 nodes to bind, and
//! a query beside a tree that is busy.
//!
//! `cargo bench -p coati-server --bench sockets`. Client and server share the process and its processors; processor time
//! is that of both.
#![allow(clippy::print_stdout, missing_docs, reason = "a report for people")]

#[path = "../tests/data_support/mod.rs"]
mod data_support;

use std::{
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{WebSocketUpgrade, ws::Message as Frame},
    routing::get,
    serve::ListenerExt,
};
use coati_server::{
    Config, Running, Server, TreeHost,
    peer::websocket::Dial,
    router::{Limits, Open, Principal},
    tree_host::ThreadTreeHost,
};
use futures::{FutureExt, SinkExt, StreamExt};
use shared::{
    platform::default_platform,
    prelude::*,
    testing::Tap,
    wamp::{Join, Peer},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

/// Rounds of echo and call in turn; the medians count.
const ROUNDS: usize = 5;
const CALLS: u32 = 10_000;
const NODES: usize = 1_000;
const TEXT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

type Fallible<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Ten endpoints: five calls, a signal and four handlers.
#[contract]
trait Five {
    async fn one(&self, text: String) -> Result<String>;
    async fn two(&self) -> Result<()>;
    async fn three(&self) -> Result<()>;
    async fn four(&self) -> Result<()>;
    async fn five(&self) -> Result<()>;
}

#[node(Five)]
struct Wide {
    #[signal]
    rang: Signal<u32>,
    heard: Value<u32>,
}

impl Five for Wide {
    async fn one(&self, text: String) -> Result<String> {
        Ok(text)
    }
    async fn two(&self) -> Result<()> {
        Ok(())
    }
    async fn three(&self) -> Result<()> {
        Ok(())
    }
    async fn four(&self) -> Result<()> {
        Ok(())
    }
    async fn five(&self) -> Result<()> {
        Ok(())
    }
}

#[handlers]
impl Wide {
    #[handler(Self::rang)]
    fn first(&self, count: u32) {
        self.heard.set(count);
    }
    #[handler(Self::rang)]
    fn second(&self, count: u32) {
        self.heard.set(count);
    }
    #[handler(Self::rang, at = "bench.other")]
    fn third(&self, count: u32) {
        self.heard.set(count);
    }
    #[handler(Self::rang, at = "bench.another")]
    fn fourth(&self, count: u32) {
        self.heard.set(count);
    }
}

async fn tree(root: &str, context: &NodeContext, nodes: usize) -> Result<Rc<Wide>> {
    let path = Path::root(root)?;
    let root = Wide::new();
    root.node_bind(path, context).await?;
    for index in 1..nodes {
        root.node_add(&format!("n{index}"), Wide::new()).await?;
    }
    Ok(root)
}

fn main() -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let server = runtime.block_on(router())?;
    let echo = runtime.block_on(echo())?;
    let trees = ThreadTreeHost::start(1)?;
    let (bound, is_bound) = std::sync::mpsc::channel();
    let realm = server.realm().clone();
    trees.spawn_tree(Box::new(move || {
        async move {
            let joined = realm
                .internal_peer(default_platform(), Principal::internal("bench"))
                .await;
            let context = NodeContext::root(default_platform(), joined.ok());
            let root = tree("bench.root", &context, 1).await;
            let _ = bound.send(root.is_ok());
            std::future::pending::<()>().await;
        }
        .boxed_local()
    }));
    assert!(is_bound.recv()?, "the node is there");
    calls(&server, echo)?;
    bind(&server)?;
    runtime.block_on(queries());
    Ok(())
}

async fn router() -> Fallible<Running> {
    let mut config = Config::default();
    config.address.set_port(0);
    let builder = Server::builder().config(config).authorizer(Box::new(Open));
    Ok(builder.role_limits("anonymous", Limits::COMPONENT).start().await?)
}

/// The same sockets with the same buffers, and nothing behind them.
async fn echo() -> Fallible<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let answer = |upgrade: WebSocketUpgrade| async move {
        let upgrade = upgrade
            .protocols(["wamp.2.json"])
            .read_buffer_size(2 * 1024)
            .write_buffer_size(16 * 1024);
        upgrade.on_upgrade(async |mut socket| {
            while let Some(Ok(frame)) = socket.recv().await {
                if matches!(frame, Frame::Text(_)) && socket.send(frame).await.is_err() {
                    return;
                }
            }
        })
    };
    let routes = Router::new().route("/ws", get(answer));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

/// A client on a thread and runtime of its own, as if it were another program.
struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn open(to: SocketAddr) -> Fallible<Self> {
        let mut request = format!("ws://{to}/ws").into_client_request()?;
        let offer = HeaderValue::from_static("wamp.2.json");
        request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        let settings = WebSocketConfig::default().read_buffer_size(4096);
        Ok(Self(connect_async_with_config(request, Some(settings), true).await?.0))
    }

    async fn ask(&mut self, text: String) -> Fallible<String> {
        self.0.send(Message::text(text)).await?;
        loop {
            if let Message::Text(text) = self.0.next().await.ok_or("the end")?? {
                return Ok(text.as_str().to_owned());
            }
        }
    }
}

/// Median time and mean processor time of one exchange, in microseconds.
async fn exchange(client: &mut Client, answer: &str) -> Fallible<(f64, f64)> {
    let mut times = Vec::new();
    let (before, mut measured) = (processor()?, 0.0);
    for number in 1..=CALLS {
        let begun = Instant::now();
        let text = client
            .ask(format!(r#"[48,{number},{{}},"bench.root.one",["{TEXT}"]]"#))
            .await?;
        times.push(begun.elapsed());
        assert!(text.starts_with(answer) && text.contains(TEXT), "{text}");
        measured += 1.0;
    }
    times.sort_unstable();
    Ok((micros(times[times.len() / 2]), (processor()? - before) * 1e6 / measured))
}

fn calls(server: &Running, echo: SocketAddr) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut beside = Client::open(echo).await?;
        let mut caller = Client::open(server.address()).await?;
        caller.ask(r#"[1,"realm1",{"roles":{"caller":{}}}]"#.to_owned()).await?;
        let (mut echoes, mut calls) = (Vec::new(), Vec::new());
        // A first round warms caches and counts for nothing; request ids begin again with each session only, so the
        // router sees them again: an id may be used again once its call is over.
        for round in 0..=ROUNDS {
            let (echo, call) = (
                exchange(&mut beside, "[48,").await?,
                exchange(&mut caller, "[50,").await?,
            );
            if round > 0 {
                echoes.push(echo);
                calls.push(call);
            }
        }
        let (echo, call) = (median(echoes), median(calls));
        println!("echo: p50 {:.1} µs, {:.1} µs of processor", echo.0, echo.1);
        println!("call of a node: p50 {:.1} µs, {:.1} µs of processor", call.0, call.1);
        println!("a call to one echo: {:.2} (wanted: at most 1.7)", call.0 / echo.0);
        Ok(())
    })
}

fn median(mut rounds: Vec<(f64, f64)>) -> (f64, f64) {
    rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
    rounds[rounds.len() / 2]
}

fn bind(server: &Running) -> Fallible<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut times = Vec::new();
        let mut messages = 0;
        for _ in 0..ROUNDS {
            let (link, tap) = (
                Dial::new(format!("ws://{}/ws", server.address())).connect().await?,
                Tap::default(),
            );
            let peer = Peer::join(
                default_platform(),
                tap.over(link),
                Join::new(server.realm().name().clone()),
            )
            .await?;
            let context = NodeContext::root(default_platform(), Some(peer));
            let begun = Instant::now();
            let root = tree("bench.tree", &context, NODES).await?;
            times.push(begun.elapsed());
            messages = tap.counts().values().sum::<u64>();
            root.node_unbind().await?;
            context.shutdown().await?;
        }
        times.sort_unstable();
        let took = micros(times[ROUNDS / 2]) / 1e3;
        println!(
            "{NODES} nodes of 10 endpoints over a socket: {took:.1} ms, {messages} messages (wanted: below 500 ms)"
        );
        Ok(())
    })
}

/// The slowest of a tree's queries, alone and beside a tree that keeps its own thread for 800 ms.
async fn queries() {
    use data_support::{Bench, busy, insert_sql};
    const BUSY: Duration = Duration::from_millis(800);
    let bench = Bench::new().await;
    bench.other().await.run(&insert_sql(1, "a", 1, 3, "open")).await;
    let (hub, _frames) = bench.hub(coati_server::data::FeedOptions::default()).await;
    let measured = busy::measure(hub.into(), 2, ROUNDS, BUSY).await;
    let show = |times: &[Duration]| {
        let slowest = times.iter().max().copied().unwrap_or_default();
        let p50 = busy::Measured::median(times);
        (
            slowest,
            format!("p50 {p50:.1?}, slowest {slowest:.1?} of {}", times.len()),
        )
    };
    let ((before, alone), (after, beside)) = (show(&measured.alone), show(&measured.beside));
    println!("a query beside an idle tree: {alone}");
    println!("a query beside a tree busy for {BUSY:?}: {beside}");
    let more = after.saturating_sub(before);
    println!("the slowest takes {more:.1?} more (wanted: below 20 ms)");
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// User and system seconds of this process.
fn processor() -> Fallible<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name in parentheses may hold spaces; the 14th and 15th fields are the 12th and 13th after it.
    let rest = stat.rsplit_once(')').ok_or("unexpected /proc stat")?.1;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<std::result::Result<f64, _>>()? / 100.0)
}
