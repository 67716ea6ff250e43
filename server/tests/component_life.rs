//! Components: programs in other languages run with the server, come back when they end, and go with it.

mod support;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use coati_server::{
    Component, Running, Server,
    peer::websocket::Dial,
    router::{Limits, Open},
};
use serde_json::json;
use shared::{
    platform::default_platform,
    prelude::*,
    testing,
    wamp::{
        peer::{Join, Peer},
        uri::Uri,
    },
};
use support::{door, private, raw::Raw};

async fn serve(component: Component) -> Running {
    Server::builder()
        .config(private())
        .authorizer(Box::new(Open))
        .role_limits("anonymous", Limits::COMPONENT)
        .component(component)
        .start()
        .await
        .expect("the server starts")
}

fn shell(script: &str, folder: &Path) -> Component {
    let command = ["sh", "-c", script].map(str::to_owned).into();
    Component {
        directory: Some(folder.to_owned()),
        pause: Duration::from_millis(20),
        longest_pause: Duration::from_millis(80),
        stop_within: Duration::from_millis(500),
        ..Component::new("worker", command)
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn text(folder: &Path, file: &str) -> String {
    std::fs::read_to_string(folder.join(file)).unwrap_or_default()
}

fn runs(process: &str) -> bool {
    // A zombie that nobody has waited for yet does not run.
    std::fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn a_component_that_ends_comes_back_and_knows_where_to_join() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = serve(shell("echo $COATI_URL $COATI_REALM >> starts; exit 3", folder.path())).await;
    let starts = || text(folder.path(), "starts").lines().count();
    until("it is started again and again", || starts() >= 4).await;
    let expected = format!("ws://{}/ws realm1", server.address());
    assert!(text(folder.path(), "starts").lines().all(|line| line == expected));
    server.stop().await;
    let after = starts();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(starts(), after, "a stopped server starts nothing");
}

#[tokio::test]
async fn a_component_is_asked_to_end_and_its_own_children_go_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "trap 'echo asked > asked; exit 0' TERM; sleep 1000 & echo $! > child; wait";
    let server = serve(shell(script, folder.path())).await;
    until("it runs", || text(folder.path(), "child").ends_with('\n')).await;
    let child = text(folder.path(), "child").trim().to_owned();
    assert!(runs(&child));
    server.stop().await;
    assert_eq!(text(folder.path(), "asked"), "asked\n");
    until("the child is gone", || !runs(&child)).await;
}

#[tokio::test]
async fn a_component_that_does_not_listen_is_killed_in_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "trap '' TERM; echo $$ > process; while :; do sleep 1; done";
    let server = serve(shell(script, folder.path())).await;
    until("it runs", || text(folder.path(), "process").ends_with('\n')).await;
    let process = text(folder.path(), "process").trim().to_owned();
    let start = Instant::now();
    server.stop().await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    until("it is gone", || !runs(&process)).await;
}

#[tokio::test]
async fn a_component_that_cannot_be_started_harms_nobody_and_one_that_talks_much_is_not_held_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut missing = shell("", folder.path());
    missing.command = vec!["/nonexistent/program".to_owned()];
    let server = serve(missing).await;
    let mut raw = Raw::anonymous(&server).await;
    assert_eq!(raw.ask(json!([48, 1, {}, "a.b"])).await[0], 8);
    server.stop().await;

    // A megabyte without a line's end, which nobody may keep whole, and then a sign that it was all taken.
    let script = "head -c 1000000 /dev/zero | tr '\\0' x; echo done > done; sleep 1000";
    let server = serve(shell(script, folder.path())).await;
    until("its output is read", || text(folder.path(), "done") == "done\n").await;
    server.stop().await;
}

#[tokio::test]
async fn a_python_component_serves_calls_over_its_own_hand_made_rawsocket() {
    use coati_server::config::RawAddress;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.sock");
    let script = r#"
import json, os, socket, struct
link = socket.socket(socket.AF_UNIX)
link.connect(os.environ["ROUTER"])
link.sendall(bytes([0x7F, 0xF1, 0, 0]))
assert link.recv(4)[:1] == b"\x7f"
def read(count):
    data = b""
    while len(data) < count:
        more = link.recv(count - len(data))
        if not more: raise SystemExit("the router has gone")
        data += more
    return data
def send(message):
    data = json.dumps(message).encode()
    link.sendall(struct.pack(">I", len(data)) + data)
def receive():
    return json.loads(read(struct.unpack(">I", read(4))[0]))
send([1, os.environ["COATI_REALM"], {"roles": {"callee": {}}}])
assert receive()[0] == 2
send([64, 1, {}, "python.add"])
assert receive()[0] == 65
print("ready", flush=True)
while True:
    message = receive()
    if message[0] == 6: raise SystemExit("goodbye")
    send([70, message[1], {}, [sum(message[4])]])
"#;
    let mut component = Component::new("python", ["python3", "-c", script].map(str::to_owned).into());
    component.pause = Duration::from_millis(50);
    let router = path.to_string_lossy().into_owned();
    component.environment.insert("ROUTER".to_owned(), router);
    let mut config = private();
    config.raw_sockets = vec![door(RawAddress::Unix(path), Some("component"))];
    let server = Server::builder()
        .config(config)
        .authorizer(Box::new(Open))
        .component(component);
    let server = server.start().await.expect("the server starts");
    let mut raw = Raw::anonymous(&server).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    for request in 1.. {
        let answer = raw.ask(json!([48, request, {}, "python.add", [20, 22]])).await;
        if answer[0] == 50 {
            assert_eq!(answer[3], json!([42]));
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.stop().await;
}

#[node]
struct Desk {
    #[signal]
    on_changed: Signal<u32>,
    noted: Value<Vec<String>>,
}

#[handlers]
impl Desk {
    #[handler("com.example.risk.on_noted")]
    fn noted(&self, text: String) {
        self.noted.update(|all| all.push(text));
    }
}

#[derive(Debug, PartialEq, serde::Deserialize)]
struct Score {
    score: u32,
    per_day: String,
    asked_by: Option<String>,
}

/// The program that the guide for components shows, as it is.
#[test]
fn a_python_component_and_a_node_call_and_hear_each_other() {
    let known = std::env::var_os("COATI_PYTHON").map(PathBuf::from);
    let required = known.is_some();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = known.unwrap_or_else(|| here.join("../target/interop/venv/bin/python"));
    if !python.exists() {
        assert!(!required, "scripts/setup.sh autobahn has not made {}", python.display());
        eprintln!("skipped: there is no {}", python.display());
        return;
    }
    let command = [python, here.join("examples/component.py")].map(|part| part.to_string_lossy().into_owned());
    testing::run(async move {
        let server = serve(Component::new("risk", command.into())).await;
        let link = Dial::new(format!("ws://{}/ws", server.address()))
            .connect()
            .await
            .expect("a socket");
        let peer = Peer::join(default_platform(), link, Join::new(Uri::unchecked("realm1"))).await?;
        let context = NodeContext::root(default_platform(), Some(peer));
        let desk = Desk::new();
        desk.node_bind("com.example.desk", &context).await?;
        let risk = desk.remote_dyn("com.example.risk")?;
        let deadline = Instant::now() + Duration::from_secs(60);
        let score: Score = loop {
            match risk.call("score", (5, 4, "1234567890123456789.50", "2026-12-31")).await {
                Err(error) if error.kind == ErrorKind::NoSuchProcedure && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                other => break other?,
            }
        };
        let wanted = Score {
            score: 20,
            per_day: "3391670027811694.476648351648".to_owned(),
            asked_by: Some("anonymous".to_owned()),
        };
        assert_eq!(score, wanted);
        let refused = risk
            .call::<Score>("score", (9, 4, "1", "2026-12-31"))
            .await
            .unwrap_err();
        assert_eq!(
            (refused.kind, refused.message.as_str()),
            (ErrorKind::InvalidArgument, "Probability is 1 to 5.")
        );
        assert_eq!(refused.details["probability"], "1 to 5");
        // Its subscription may come after its registration.
        while desk.noted.get().is_empty() {
            assert!(Instant::now() < deadline, "no event came back");
            desk.on_changed.notify(7).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(desk.noted.get()[0], "noted 7");
        context.shutdown().await?;
        server.stop().await;
        Ok::<(), Error>(())
    })
    .expect("they understand each other");
}
