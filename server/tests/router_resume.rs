//! Catching up over real sockets: event history across restarts, and subscribers that fall behind.
#![cfg(feature = "data")]

mod data_support;
mod support;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use coati_server::{
    Error, ErrorKind, Result, Running, Server, ServerBuilder,
    config::file::RouterFile,
    data::{DataHub, DataSource, FeedOptions},
    router::{Change, EventStore, Limits, Open, Stored},
    service::FrameChannel,
};
use data_support::{Assessments, Bench, COLUMNS, insert_sql, texts, viewer};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use shared::{
    data::{Applied, Frame, Query, Range, Replica},
    wamp::{MatchPolicy, Uri},
};
use support::{
    get, private,
    raw::{Raw, roles},
};

fn router() -> ServerBuilder {
    let builder = Server::builder().config(private()).authorizer(Box::new(Open));
    builder
        .role_limits("anonymous", Limits::COMPONENT)
        .history(MatchPolicy::Prefix, Uri::unchecked("log."), 100)
}

async fn started(builder: ServerBuilder) -> Running {
    builder.start().await.expect("the server starts")
}

/// Publishes and waits for the answer: the publication, or the error.
async fn publish(client: &mut Raw, number: u64) -> Value {
    let answer = client
        .ask(json!([16, number, {"acknowledge": true}, "log.a", [number]]))
        .await;
    if answer[0] == 17 {
        answer[2].clone()
    } else {
        answer[4].clone()
    }
}

/// The first arguments of the events after a publication.
async fn after(client: &mut Raw, publication: &Value) -> Vec<Value> {
    let subscribed = client.ask(json!([32, 1, {}, "log.a"])).await;
    let wanted = json!({"after_publication": publication});
    let call = json!([48, 2, {}, "wamp.subscription.get_events", [subscribed[2]], wanted]);
    let answer = client.ask(call).await;
    if answer[0] == 8 {
        return vec![answer[4].clone()];
    }
    let events = answer[3].as_array().cloned().unwrap_or_default();
    events.iter().map(|event| event["args"][0].clone()).collect()
}

#[tokio::test]
async fn acknowledged_events_survive_a_restart_and_are_resumed_by_publication() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("history.db").display());
    let server = started(router().history_database(&url)).await;
    let mut publisher = Raw::anonymous(&server).await;
    let first = publish(&mut publisher, 1).await;
    for number in 2..=150 {
        let publication = publish(&mut publisher, number).await;
        assert!(publication.is_u64(), "{publication}");
    }
    // Not an orderly end: what was acknowledged must be there all the same.
    let server_after = started(router().history_database(&url)).await;
    let mut client = Raw::anonymous(&server_after).await;
    assert_eq!(
        after(&mut client, &first).await,
        [json!("wamp.error.history_unavailable")]
    );
    let all = client
        .ask(json!([48, 3, {}, "wamp.subscription.get_events", [1], {"limit": 1}]))
        .await;
    assert_eq!((&all[3][0]["args"][0], &all[4]["more"]), (&json!(51), &json!(true)));
    let rest = after(&mut client, &all[3][0]["publication"]).await;
    assert_eq!(rest, (52..=150).map(|number| json!(number)).collect::<Vec<_>>());
    server_after.stop().await;
    server.stop().await;
}

#[tokio::test]
async fn realms_that_keep_their_history_in_one_database_see_only_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("history.db").display());
    let realm = |name: &str| {
        format!(
            r#"
            [[realm]]
            name = "{name}"
            [realm.authentication]
            anonymous = "guest"
            [[realm.role]]
            name = "guest"
            [[realm.role.permission]]
            uri = "log."
            match = "prefix"
            allow = ["publish", "subscribe"]
            [realm.history]
            database = "{url}"
            [[realm.history.topic]]
            uri = "log."
            match = "prefix"
            events = 100
            "#
        )
    };
    let text = ["one", "two"].map(realm).concat();
    let start = async || {
        let file = RouterFile::parse("test.toml", &text).expect("the file is right");
        started(file.builder(private()).expect("the settings are right")).await
    };
    let open = async |server: &Running, realm: &str| {
        let socket = Raw::open(server.address(), &[("sec-websocket-protocol", "wamp.2.json")]).await;
        let mut raw = socket.expect("everybody gets a socket");
        let welcome = raw.ask(json!([1, realm, {"roles": roles()}])).await;
        assert_eq!(welcome[0], 2, "{welcome}");
        raw
    };
    let server = start().await;
    let (mut one, mut two) = (open(&server, "one").await, open(&server, "two").await);
    let of_one = publish(&mut one, 1).await;
    let of_two = publish(&mut two, 2).await;
    for number in [3, 5] {
        assert!(publish(&mut one, number).await.is_u64());
        assert!(publish(&mut two, number + 1).await.is_u64());
    }
    server.stop().await;
    let server = start().await;
    for (realm, own, other, rest) in [("one", &of_one, &of_two, [3, 5]), ("two", &of_two, &of_one, [4, 6])] {
        let mut raw = open(&server, realm).await;
        assert_eq!(after(&mut raw, own).await, rest.map(|number| json!(number)), "{realm}");
        assert_eq!(
            after(&mut raw, other).await,
            [json!("wamp.error.history_unavailable")],
            "{realm}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_used_is_one_line_at_the_start() {
    let refused = router().history_database("sqlite:/nowhere/at/all.db").start().await;
    let refused = refused.expect_err("there is no such folder");
    assert_eq!(refused.kind(), ErrorKind::Configuration);
    assert!(refused.to_string().contains("/nowhere/at"), "{refused}");
}

/// A store in memory that can be told to fail.
#[derive(Default)]
struct Flaky {
    is_broken: Mutex<bool>,
    kept: Mutex<Stored>,
}

impl EventStore for Flaky {
    fn load(&self) -> BoxFuture<'_, Result<Stored>> {
        let kept = self.kept.lock().expect("no panic");
        let (events, forgotten) = (kept.events.clone(), kept.forgotten);
        async move { Ok(Stored { events, forgotten }) }.boxed()
    }

    fn write<'a>(&'a self, changes: &'a [Change], anew: bool) -> BoxFuture<'a, Result<()>> {
        async move {
            if *self.is_broken.lock().expect("no panic") {
                return Err(Error::new(ErrorKind::Io, "The disk is full"));
            }
            let mut kept = self.kept.lock().expect("no panic");
            if anew {
                kept.events.clear();
                kept.forgotten = changes[0].number - 1;
            }
            let events = changes.iter().filter_map(|change| change.event.as_deref().cloned());
            kept.events.extend(events);
            Ok(())
        }
        .boxed()
    }
}

#[tokio::test]
async fn what_cannot_be_stored_is_said_and_a_restart_shows_no_history_with_a_hole() {
    let store = Arc::new(Flaky::default());
    let server = started(router().history_store(store.clone())).await;
    let mut publisher = Raw::anonymous(&server).await;
    let first = publish(&mut publisher, 1).await;
    *store.is_broken.lock().expect("no panic") = true;
    assert_eq!(
        publish(&mut publisher, 2).await,
        json!("wamp.error.history_unavailable")
    );
    *store.is_broken.lock().expect("no panic") = false;
    let third = publish(&mut publisher, 3).await;
    publish(&mut publisher, 4).await;
    assert_eq!(
        after(&mut publisher, &first).await.len(),
        0,
        "its own events exclude the publisher"
    );
    let mut client = Raw::anonymous(&server).await;
    assert_eq!(
        after(&mut client, &first).await,
        [2, 3, 4],
        "the running router has them all"
    );
    server.stop().await;
    let server = started(router().history_store(store)).await;
    let mut client = Raw::anonymous(&server).await;
    assert_eq!(
        after(&mut client, &first).await,
        [json!("wamp.error.history_unavailable")]
    );
    assert_eq!(after(&mut client, &third).await, [4]);
    server.stop().await;
}

/// The next event, or none if nothing comes for a while.
async fn event_soon(client: &mut Raw) -> Option<Value> {
    let next = tokio::time::timeout(Duration::from_millis(500), client.next()).await;
    next.ok().map(|seen| seen.message())
}

#[tokio::test]
async fn a_grid_that_does_not_read_while_100_mb_are_published_pulls_once_and_is_right() {
    const ROWS: i64 = 50;
    const CHANGES: u64 = 100;
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    for id in 1..=ROWS {
        other.run(&insert_sql(id, "old", 1, 2, "open")).await;
    }
    let channel = FrameChannel::default();
    let sources: Vec<Arc<dyn DataSource>> = vec![Arc::new(Assessments)];
    let hub = DataHub::start(
        bench.db.clone(),
        sources,
        Arc::new(channel.clone()),
        FeedOptions::default(),
    );
    let hub = hub.await.expect("the hub starts");
    let mut config = private();
    // Reading nothing includes pings.
    config.connections.ping_after = Duration::from_secs(600);
    let server = started(router().config(config).service(Arc::new(channel))).await;
    let ticket = hub
        .prepare("assessments", Query::default(), Range::new(0, 100), &viewer())
        .expect("a window");
    let mut client = Raw::anonymous(&server).await;
    let subscribe = |request: u64| json!([32, request, {"_resumable": true}, ticket.topic]);
    assert_eq!(client.ask(subscribe(1)).await[0], 33);
    let mut replica = Replica::new(hub.open(ticket.window.clone()).await.expect("the rows"));

    let mut most_queued = 0;
    for number in 1..=CHANGES {
        // 50 rows of 20 kB.
        let text = format!("{number:020}").repeat(1_000);
        other
            .run(&format!("UPDATE assessment SET responsible = '{text}'"))
            .await;
        let patience = std::time::Instant::now() + Duration::from_secs(60);
        while hub.stats().frames < number {
            assert!(std::time::Instant::now() < patience, "frame {number} does not come");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        most_queued = most_queued.max(server.realm().stats().queue_bytes);
    }
    assert!(
        most_queued <= 2 << 20,
        "{most_queued} bytes waited for who does not read"
    );

    let mut markers = 0;
    while let Some(event) = event_soon(&mut client).await {
        assert_eq!(event[0], 36, "{event}");
        if event[3]["_behind"] == true {
            markers += 1;
            continue;
        }
        assert_eq!(markers, 0, "nothing comes after the marker");
        let frame: Frame = serde_json::from_value(event[4][0].clone()).expect("a frame");
        assert_eq!(replica.apply(frame), Applied::Ok, "what was on its way is in order");
    }
    assert_eq!(markers, 1);
    assert!(replica.version() < CHANGES, "frames were left out");
    assert_eq!(client.ask(subscribe(2)).await[0], 33);
    let pulled = hub
        .resume(ticket.window.clone(), replica.version())
        .await
        .expect("one answer");
    assert_eq!(replica.resume(pulled), Applied::Ok);
    let shown: Vec<_> = replica.rows().map(|row| texts(&row.cells)).collect();
    let from = "FROM assessment a LEFT JOIN site s ON s.id = a.site_id ORDER BY a.id";
    assert_eq!(shown, other.rows(&format!("SELECT {COLUMNS} {from}")).await);

    other
        .run("UPDATE assessment SET responsible = 'new' WHERE id = 1")
        .await;
    let event = event_soon(&mut client).await.expect("frames flow again");
    let frame: Frame = serde_json::from_value(event[4][0].clone()).expect("a frame");
    assert_eq!(replica.apply(frame), Applied::Ok);
    let stats = server.realm().stats();
    assert_eq!((stats.slow_peers, stats.router.sessions), (0, 2), "nobody was closed");
    let metrics = get(server.address(), "/metrics", &[]).await.text();
    for counter in ["coati_subscriptions_behind_total", "coati_events_dropped_total"] {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(counter))
            .unwrap_or_default();
        assert!(!line.ends_with(" 0") && !line.is_empty(), "{counter}: {line}");
    }
    server.stop().await;
    hub.shutdown();
}
