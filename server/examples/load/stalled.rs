//! One peer that never reads, beside 500 that do: pairs of runs with and without it, in turn.

use std::{
    cell::{Cell, RefCell},
    io::{Read, Write},
    net::TcpStream,
    rc::Rc,
    time::{Duration, Instant},
};

use futures::SinkExt;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::{Options, Outcome, Peer, memory, show};

const READERS: usize = 500;
const PAIRS: usize = 5;
const EVENTS: u64 = 240;
/// At this pace nobody who reads is ever behind.
const PAUSE: Duration = Duration::from_millis(25);
/// So large that what the system buffers and the router's own limit are both exceeded.
const BYTES: usize = 8 * 1024;

/// What one run has shown.
struct Run {
    p99_us: f64,
    lost: u64,
    grown_kib: f64,
    /// How the connection of the one that never reads ended.
    end: Option<String>,
}

pub(super) async fn measure(options: &Rc<Options>) -> Outcome<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        for stalls in [pair % 2 == 0, pair % 2 == 1] {
            let runs = if stalls { &mut with } else { &mut without };
            runs.push(run(options, stalls).await?);
        }
    }
    let of = |runs: &[Run], figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let p99 = |runs: &[Run]| of(runs, |run| run.p99_us);
    show(&format!("stalled\tp99_us_without\t{:.0}", p99(&without)))?;
    show(&format!("stalled\tp99_us_with\t{:.0}", p99(&with)))?;
    show(&format!("stalled\tp99_ratio\t{:.2}", p99(&with) / p99(&without)))?;
    let lost: u64 = with.iter().chain(&without).map(|run| run.lost).sum();
    show(&format!("stalled\tlost\t{lost}"))?;
    if !options.pid.is_empty() {
        let more = of(&with, |run| run.grown_kib) - of(&without, |run| run.grown_kib);
        show(&format!("stalled\tmemory_kib\t{more:.0}"))?;
    }
    let ends: Vec<&str> = with.iter().filter_map(|run| run.end.as_deref()).collect();
    show(&format!("stalled\tclosed\t{}", ends.len()))?;
    show(&format!("# ends of the one that never reads: {}", ends.join("; ")))
}

async fn run(options: &Rc<Options>, stalls: bool) -> Outcome<Run> {
    let (epoch, times) = (Instant::now(), Rc::new(RefCell::new(Vec::<Duration>::new())));
    let received = Rc::new(Cell::new(0_u64));
    let mut tasks = Vec::new();
    for index in 0..READERS {
        let mut peer = subscriber(options, index).await?;
        let (times, received) = (times.clone(), received.clone());
        tasks.push(tokio::task::spawn_local(async move {
            while let Ok(text) = peer.next().await {
                let sent = text
                    .split("T:")
                    .nth(1)
                    .and_then(|it| it.split(':').next()?.parse().ok());
                let Some(sent) = sent else { continue };
                times
                    .borrow_mut()
                    .push(epoch.elapsed().saturating_sub(Duration::from_nanos(sent)));
                received.set(received.get() + 1);
            }
        }));
    }
    let mut stalled = if stalls {
        Some(subscriber(options, READERS).await?)
    } else {
        None
    };
    let mut publisher = Peer::join(options, "/publisher", READERS + 1).await?;
    let closed_before = slow_peers_closed(options)?;
    let padding = "x".repeat(BYTES);
    let (mut start, mut grown, mut ending) = (None, 0.0_f64, None);
    for number in 1..=EVENTS {
        let sent = epoch.elapsed().as_nanos();
        let event = format!(r#"[16,{number},{{}},"bench.stalled",["T:{sent}:{padding}"]]"#);
        publisher.socket.send(Message::text(event)).await?;
        tokio::time::sleep(PAUSE).await;
        if number % 20 > 0 {
            continue;
        }
        let now = memory(&options.pid)?;
        grown = grown.max(now - *start.get_or_insert(now));
        if slow_peers_closed(options)? > closed_before
            && let Some(mut peer) = stalled.take()
        {
            // The farewell waits behind what the system has buffered.
            ending = Some(tokio::task::spawn_local(async move {
                loop {
                    if let Err(end) = peer.next().await {
                        return end.to_string();
                    }
                }
            }));
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let lost = EVENTS * READERS as u64 - received.get();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let end = match ending {
        Some(ending) => tokio::time::timeout(Duration::from_secs(5), ending)
            .await
            .ok()
            .transpose()?,
        None => None,
    };
    let mut times = times.take();
    times.sort_unstable();
    let p99 = times
        .get(times.len().saturating_sub(1) * 99 / 100)
        .ok_or("nothing arrived")?;
    Ok(Run {
        p99_us: p99.as_secs_f64() * 1e6,
        lost,
        grown_kib: grown,
        end,
    })
}

async fn subscriber(options: &Options, index: usize) -> Outcome<Peer> {
    let mut peer = Peer::join(options, "/subscriber", index).await?;
    drop(peer.ask(r#"[32,1,{},"bench.stalled"]"#.to_owned(), "[33,").await?);
    Ok(peer)
}

/// What our router's metrics say; 0 where there are none.
fn slow_peers_closed(options: &Options) -> Outcome<u64> {
    let request = options.url.as_str().into_client_request()?;
    let host = request.uri().authority().ok_or("an address without a host")?.as_str();
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    // One line for each kind of peer.
    let counts = text
        .lines()
        .filter(|line| line.starts_with("coati_slow_peers_closed_total"))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    Ok(counts.sum())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
