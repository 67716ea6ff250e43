//! `cargo run --release -p coati-server --example load -- --url ws://127.0.0.1:8080/ws all`: measures any WAMP router.
//!
//! It speaks WAMP in JSON by hand and shares no code with the router, so that it measures Crossbar and `bare` (the same
//! sockets without WAMP, `--dialect bare`) in the same way. One client thread; only loopback addresses; every scenario
//! is bounded in count and time. The processes named by `--pid` are looked at through `/proc` (Linux).

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    error::Error,
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

#[path = "load/stalled.rs"]
mod stalled;

use clap::{Parser, ValueEnum};
use futures::{FutureExt, SinkExt, StreamExt, stream};
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Notify,
    task::LocalSet,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, client::IntoClientRequest, http::HeaderValue, protocol::WebSocketConfig},
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Connections from one loopback address: routers limit how many one address may open.
const PER_ADDRESS: usize = 50;
/// Events on their way to all subscribers before the next one is published.
const WINDOW: u64 = 4;
/// 64 bytes for calls.
const CALL_PAYLOAD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Measures a WAMP router: calls, fan-out, connections.
#[derive(Parser)]
struct Options {
    /// Where the router listens, such as ws://127.0.0.1:8080/ws; for `bare` without a path.
    #[arg(long)]
    url: String,
    /// WAMP, or the frames alone.
    #[arg(long, value_enum, default_value = "wamp")]
    dialect: Dialect,
    /// The realm to join.
    #[arg(long, default_value = "realm1")]
    realm: String,
    /// The server's processes, for processor time and memory.
    #[arg(long)]
    pid: Vec<u32>,
    /// Seconds per scenario, at most.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Operations per scenario, at most.
    #[arg(long, default_value_t = 2_000_000)]
    count: u64,
    /// Idle connections to hold.
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// What to measure.
    #[arg(value_enum, required = true)]
    scenarios: Vec<Scenario>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Dialect {
    Wamp,
    Bare,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// One frame there and back.
    Echo,
    /// Calls, one after the other.
    Call1,
    /// Calls, 64 in flight.
    Call64,
    /// Events to 100 subscribers, flat out.
    Fanout100,
    /// Events to 500 subscribers, flat out.
    Fanout500,
    /// Joining, one after the other.
    Connect1,
    /// Joining, 16 at a time.
    Connect16,
    /// Memory of connections that do nothing.
    Idle,
    /// Events to 500 with and without one more that never reads: five pairs of runs.
    Stalled,
    /// Everything above that the dialect has.
    All,
}

fn main() -> Outcome<()> {
    let options = Rc::new(Options::parse());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(options))
}

async fn run(options: Rc<Options>) -> Outcome<()> {
    let files = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = files.lines().find(|line| line.starts_with("Max open files"));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    show(&format!(
        "# {} · {processors} processors · {}",
        options.url,
        files.unwrap_or("open files: unknown")
    ))?;
    for scenario in &options.scenarios {
        for one in scenario.parts(options.dialect) {
            measure(&options, one).await?;
            // What the last scenario closed is gone before the next begins.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }
    Ok(())
}

impl Scenario {
    fn parts(self, dialect: Dialect) -> Vec<Self> {
        use Scenario::{All, Call1, Call64, Connect1, Connect16, Echo, Fanout100, Fanout500, Idle};
        match (self, dialect) {
            (All, Dialect::Wamp) => vec![Call1, Call64, Fanout100, Fanout500, Connect1, Connect16, Idle],
            (All, Dialect::Bare) => vec![Echo, Call1, Call64, Fanout100, Fanout500, Connect1, Connect16, Idle],
            (one, _) => vec![one],
        }
    }
}

async fn measure(options: &Rc<Options>, scenario: Scenario) -> Outcome<()> {
    match scenario {
        Scenario::Echo => echo(options).await,
        Scenario::Call1 => calls(options, "call1", 1).await,
        Scenario::Call64 => calls(options, "call64", 64).await,
        Scenario::Fanout100 => fan_out(options, "fanout100", 100).await,
        Scenario::Fanout500 => fan_out(options, "fanout500", 500).await,
        Scenario::Connect1 => connects(options, "connect1", 1).await,
        Scenario::Connect16 => connects(options, "connect16", 16).await,
        Scenario::Idle => idle(options).await,
        Scenario::Stalled => stalled::measure(options).await,
        Scenario::All => Ok(()),
    }
}

/// One line of the report.
fn show(line: &str) -> Outcome<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// A connection that has joined.
struct Peer {
    socket: WebSocketStream<TcpStream>,
}

impl Peer {
    /// Connects from the `index`-th place and joins. `path` is what `bare` knows the role by.
    async fn join(options: &Options, path: &str, index: usize) -> Outcome<Self> {
        let url = match options.dialect {
            Dialect::Wamp => options.url.clone(),
            Dialect::Bare => format!("{}{path}", options.url.trim_end_matches('/')),
        };
        let mut request = url.as_str().into_client_request()?;
        let host = request.uri().host().unwrap_or_default();
        let host: IpAddr = if host == "localhost" {
            Ipv4Addr::LOCALHOST.into()
        } else {
            host.parse()?
        };
        if !host.is_loopback() {
            return Err("only loopback addresses: this tool would be an attack on others".into());
        }
        let port = request.uri().port_u16().unwrap_or(80);
        if options.dialect == Dialect::Wamp {
            let offer = HeaderValue::from_static("wamp.2.json");
            request.headers_mut().insert("Sec-WebSocket-Protocol", offer);
        }
        let tcp = TcpSocket::new_v4()?;
        let place = index / PER_ADDRESS;
        let (high, low) = (place / 250 + 1, place % 250 + 1);
        let from = Ipv4Addr::new(127, 0, u8::try_from(high)?, u8::try_from(low)?);
        tcp.bind(SocketAddr::from((from, 0)))?;
        tcp.set_nodelay(true)?;
        let tcp = tcp.connect(SocketAddr::from((host, port))).await?;
        let settings = WebSocketConfig::default().read_buffer_size(4096);
        let (socket, _) = client_async_with_config(request, tcp, Some(settings)).await?;
        let mut peer = Self { socket };
        let roles = r#"{"publisher":{},"subscriber":{},"caller":{},"callee":{}}"#;
        let hello = format!(r#"[1,"{}",{{"roles":{roles}}}]"#, options.realm);
        match options.dialect {
            Dialect::Wamp => drop(peer.ask(hello, "[2,").await?),
            Dialect::Bare if path == "/echo" => drop(peer.ask(hello, "[1,").await?),
            Dialect::Bare => {}
        }
        Ok(peer)
    }

    /// Sends a request; the answer must begin like this.
    async fn ask(&mut self, request: String, begins: &str) -> Outcome<String> {
        self.socket.send(Message::text(request)).await?;
        let answer = self.next().await?;
        if answer.starts_with(begins) {
            return Ok(answer.as_str().to_owned());
        }
        Err(format!("expected {begins}…, got {answer}").into())
    }

    /// The next text frame.
    async fn next(&mut self) -> Outcome<tokio_tungstenite::tungstenite::Utf8Bytes> {
        loop {
            match self.socket.next().await.ok_or("the server closed the connection")?? {
                Message::Text(text) => return Ok(text),
                Message::Close(reason) => return Err(format!("closed: {reason:?}").into()),
                Message::Ping(_) => self.socket.flush().await?,
                Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {}
            }
        }
    }

    /// The next text frame if it is there already.
    fn next_now(&mut self) -> Outcome<Option<tokio_tungstenite::tungstenite::Utf8Bytes>> {
        self.next().now_or_never().transpose()
    }
}

/// The number in the second place of a message, which all requests and answers have.
fn request_of(text: &str) -> u64 {
    let digits = text.split(',').nth(1).unwrap_or_default();
    digits.parse().unwrap_or_default()
}

async fn echo(options: &Options) -> Outcome<()> {
    let mut peer = Peer::join(options, "/echo", 0).await?;
    let meter = Meter::start(options)?;
    let mut times = Vec::new();
    while meter.goes_on(times.len() as u64) {
        let begun = Instant::now();
        let frame = format!(r#"[48,{},{{}},"bench.echo",["{CALL_PAYLOAD}"]]"#, times.len() + 1);
        drop(peer.ask(frame, "[48,").await?);
        times.push(begun.elapsed());
    }
    meter.report("echo", times)
}

async fn calls(options: &Rc<Options>, name: &str, in_flight: usize) -> Outcome<()> {
    let mut callee = Peer::join(options, "/callee", 0).await?;
    if options.dialect == Dialect::Wamp {
        drop(callee.ask(r#"[64,1,{},"bench.echo"]"#.to_owned(), "[65,").await?);
    }
    let serving = tokio::task::spawn_local(async move {
        loop {
            let mut next = Some(callee.next().await?);
            while let Some(text) = next {
                let answer = format!(r#"[70,{},{{}},["{CALL_PAYLOAD}"]]"#, request_of(&text));
                callee.socket.feed(Message::text(answer)).await?;
                next = callee.next_now()?;
            }
            callee.socket.flush().await?;
        }
        #[allow(unreachable_code, reason = "it names the error type")]
        Outcome::Ok(())
    });
    let mut caller = Peer::join(options, "/caller", 1).await?;
    let (mut next, mut pending, mut times) = (1_u64, BTreeMap::new(), Vec::new());
    // Caches, branch predictors and buffers are warm before the clock starts.
    let mut meter = Meter::start(options)?;
    let mut warm = false;
    loop {
        while pending.len() < in_flight && meter.goes_on(times.len() as u64) {
            let call = format!(r#"[48,{next},{{}},"bench.echo",["{CALL_PAYLOAD}"]]"#);
            caller.socket.feed(Message::text(call)).await?;
            pending.insert(next, Instant::now());
            next += 1;
        }
        if pending.is_empty() {
            break;
        }
        caller.socket.flush().await?;
        let mut answer = Some(caller.next().await?);
        while let Some(text) = answer {
            if text.starts_with("[8,") {
                return Err(format!("a call failed: {text}").into());
            }
            if let Some(begun) = pending.remove(&request_of(&text)) {
                times.push(begun.elapsed());
            }
            answer = caller.next_now()?;
        }
        if !warm && times.len() >= 200 {
            warm = true;
            times.clear();
            meter = Meter::start(options)?;
        }
    }
    serving.abort();
    meter.report(name, times)
}

async fn fan_out(options: &Rc<Options>, name: &str, subscribers: usize) -> Outcome<()> {
    let epoch = Instant::now();
    let times = Rc::new(RefCell::new(Vec::<Duration>::new()));
    let delivered = Rc::new(Cell::new(0_u64));
    let all_there = Rc::new(Notify::new());
    let mut tasks = Vec::new();
    for index in 0..subscribers {
        let mut peer = Peer::join(options, "/subscriber", index).await?;
        if options.dialect == Dialect::Wamp {
            drop(peer.ask(r#"[32,1,{},"bench.topic"]"#.to_owned(), "[33,").await?);
        }
        let (times, delivered, all_there) = (times.clone(), delivered.clone(), all_there.clone());
        let whole = subscribers as u64;
        tasks.push(tokio::task::spawn_local(async move {
            while let Ok(text) = peer.next().await {
                let sent = text
                    .split("T:")
                    .nth(1)
                    .and_then(|it| it.split(':').next()?.parse().ok());
                let Some(sent) = sent else { continue };
                let took = epoch.elapsed().saturating_sub(Duration::from_nanos(sent));
                times.borrow_mut().push(took);
                delivered.set(delivered.get() + 1);
                if delivered.get().is_multiple_of(whole) {
                    all_there.notify_one();
                }
            }
        }));
    }
    let mut publisher = Peer::join(options, "/publisher", subscribers).await?;
    let padding = "x".repeat(170);
    let meter = Meter::start(options)?;
    let (mut published, whole) = (0_u64, subscribers as u64);
    while meter.goes_on(delivered.get()) {
        let sent = epoch.elapsed().as_nanos();
        published += 1;
        let event = format!(r#"[16,{published},{{}},"bench.topic",["T:{sent}:{padding}"]]"#);
        publisher.socket.send(Message::text(event)).await?;
        while published - delivered.get() / whole >= WINDOW {
            let waited = tokio::time::timeout(Duration::from_secs(5), all_there.notified()).await;
            if waited.is_err() {
                let missing = published * whole - delivered.get();
                return Err(format!("{missing} of {} deliveries are missing", published * whole).into());
            }
        }
    }
    let end = Instant::now() + Duration::from_secs(5);
    while delivered.get() < published * whole && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let lost = published * whole - delivered.get();
    meter.report(name, times.take())?;
    if lost > 0 {
        show(&format!("{name}\tlost\t{lost}"))?;
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn connects(options: &Rc<Options>, name: &str, at_once: usize) -> Outcome<()> {
    let meter = Meter::start(options)?;
    let times = Rc::new(RefCell::new(Vec::new()));
    let opened = stream::iter(0..).take_while(|_| std::future::ready(meter.goes_on(times.borrow().len() as u64 * 100)));
    // Times a hundred: connections are that much dearer than messages.
    let opened = opened.map(|index: usize| {
        let times = times.clone();
        async move {
            let begun = Instant::now();
            let peer = Peer::join(options, "/echo", index % 5000).await?;
            times.borrow_mut().push(begun.elapsed());
            drop(peer);
            Outcome::Ok(())
        }
    });
    let mut opened = std::pin::pin!(opened.buffer_unordered(at_once));
    while let Some(one) = opened.next().await {
        one?;
    }
    meter.report(name, times.take())
}

async fn idle(options: &Rc<Options>) -> Outcome<()> {
    let before = memory(&options.pid)?;
    let begun = Instant::now();
    let joining = stream::iter(0..options.connections).map(|index| Peer::join(options, "/echo", index));
    let mut peers = Vec::new();
    let mut joining = std::pin::pin!(joining.buffer_unordered(16));
    while let Some(peer) = joining.next().await {
        peers.push(peer?);
    }
    let took = begun.elapsed();
    // Buffers of the handshake are given back a little later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = memory(&options.pid)?;
    let held = peers.len();
    show(&format!("idle\tconnections\t{held}"))?;
    show(&format!("idle\topened_per_s\t{:.0}", per_second(held, took)))?;
    if !options.pid.is_empty() {
        show(&format!("idle\trss_before_mib\t{:.1}", before / 1024.0))?;
        show(&format!("idle\trss_after_mib\t{:.1}", after / 1024.0))?;
        show(&format!(
            "idle\tkib_per_connection\t{:.1}",
            (after - before) / float(held)
        ))?;
    }
    // Held means alive: the last one still gets its answer.
    if let (Some(peer), Dialect::Wamp) = (peers.last_mut(), options.dialect) {
        drop(peer.ask(r#"[32,1,{},"bench.idle"]"#.to_owned(), "[33,").await?);
    }
    Ok(())
}

/// Clock and processor time of one scenario.
struct Meter {
    begun: Instant,
    longest: Duration,
    most: u64,
    pids: Vec<u32>,
    server: (f64, f64),
    client: (f64, f64),
}

impl Meter {
    fn start(options: &Options) -> Outcome<Self> {
        Ok(Self {
            begun: Instant::now(),
            longest: Duration::from_secs_f64(options.seconds),
            most: options.count,
            pids: options.pid.clone(),
            server: processor(&options.pid)?,
            client: processor(&[std::process::id()])?,
        })
    }

    fn goes_on(&self, done: u64) -> bool {
        done < self.most && self.begun.elapsed() < self.longest
    }

    /// Prints operations per second, latencies, and processor time per operation, in microseconds.
    fn report(&self, name: &str, mut times: Vec<Duration>) -> Outcome<()> {
        let took = self.begun.elapsed();
        let operations = times.len();
        if operations == 0 {
            return Err(format!("{name}: nothing was measured").into());
        }
        times.sort_unstable();
        let at = |percent: usize| times[(operations - 1) * percent / 100].as_secs_f64() * 1e6;
        show(&format!("{name}\tper_s\t{:.0}", per_second(operations, took)))?;
        show(&format!("{name}\tp50_us\t{:.0}", at(50)))?;
        show(&format!("{name}\tp99_us\t{:.0}", at(99)))?;
        let each = |seconds: f64| seconds * 1e6 / float(operations);
        if !self.pids.is_empty() {
            let (user, system) = processor(&self.pids)?;
            let (user, system) = (user - self.server.0, system - self.server.1);
            show(&format!("{name}\tcpu_us\t{:.2}", each(user + system)))?;
            show(&format!("{name}\tcpu_user_us\t{:.2}", each(user)))?;
        }
        let (user, system) = processor(&[std::process::id()])?;
        show(&format!(
            "{name}\tclient_cpu_us\t{:.2}",
            each(user + system - self.client.0 - self.client.1)
        ))
    }
}

fn per_second(operations: usize, took: Duration) -> f64 {
    float(operations) / took.as_secs_f64()
}

#[allow(clippy::cast_precision_loss, reason = "counts of operations are far below 2^53")]
fn float(number: usize) -> f64 {
    number as f64
}

/// User and system seconds of the processes since they began.
fn processor(pids: &[u32]) -> Outcome<(f64, f64)> {
    // Linux counts in hundredths of a second here, whatever its own clock does.
    const TICKS: f64 = 100.0;
    let (mut user, mut system) = (0.0, 0.0);
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may hold spaces; the 14th and 15th fields are the 12th and 13th after it.
        let rest = stat.rsplit_once(')').ok_or("unexpected /proc stat")?.1;
        let mut fields = rest.split_whitespace().skip(11);
        let mut next = || -> Outcome<f64> { Ok(fields.next().ok_or("short /proc stat")?.parse::<f64>()? / TICKS) };
        user += next()?;
        system += next()?;
    }
    Ok((user, system))
}

/// Resident memory of the processes in KiB.
fn memory(pids: &[u32]) -> Outcome<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .ok_or("no VmRSS")?;
        sum += line.trim().trim_end_matches(" kB").parse::<f64>()?;
    }
    Ok(sum)
}
