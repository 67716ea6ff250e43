//! One user's strange window must not stop everybody's live data.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::time::{Duration, Instant};

use coati_server::data::{FeedOptions, Viewer};
use data_support::{Bench, insert_sql, viewer};
use shared::{
    data::{Cell, Filter, Query, Range, Sorter},
    error::ErrorKind,
};

/// Opens the windows of `strange` queries, then changes a row and waits for the frame of an ordinary window.
async fn others_stay_live_beside(strange: Vec<Query>) {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "a", 1, 3, "open")).await;
    let (hub, frames) = bench.hub(FeedOptions::default()).await;
    let range = Range::new(0, 10);
    for query in strange {
        // Being refused is fine; being accepted and then harming others is not.
        if let Ok(ticket) = hub.prepare("assessments", query, range, &viewer()) {
            drop(hub.open(ticket.window).await);
        }
    }
    let ordinary = hub.prepare("assessments", Query::default(), range, &viewer()).unwrap();
    hub.open(ordinary.window).await.unwrap();
    other.run(&insert_sql(2, "b", 1, 3, "open")).await;
    let started = Instant::now();
    while frames.take(&ordinary.topic).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(4),
            "no frame for the ordinary window: {:?}",
            hub.stats()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hub.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn large_filters_of_one_user_do_not_stop_the_feed_of_others() {
    let many = |number: i64| {
        let values = vec![Cell::Integer(1); 500];
        let part = Filter::is_in("id", values);
        let mut parts = vec![part; 31];
        parts.push(Filter::equals("severity", number));
        Query {
            filter: Filter::And(parts),
            sorters: Vec::new(),
        }
    };
    others_stay_live_beside((1..=3).map(many).collect()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_chain_of_empty_conditions_does_not_stop_the_feed_of_others() {
    // Around the depth that SQLite takes, so that a slightly larger statement than the one at opening is refused.
    let chain = |length: usize| Query {
        filter: Filter::And(vec![Filter::All; length]),
        sorters: vec![Sorter::ascending("title")],
    };
    others_stay_live_beside((985..=1001).map(chain).collect()).await;
}

/// A rule is the application's, so no limit on queries keeps it small.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_cannot_be_judged_is_ended_and_the_others_go_on() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "a", 1, 3, "open")).await;
    let (hub, frames) = bench.hub(FeedOptions::default()).await;
    let range = Range::new(0, 10);
    let listed = Viewer::new("bo", "listed");
    let strange = hub.prepare("assessments", Query::default(), range, &listed).unwrap();
    let opened = hub.open(strange.window.clone()).await.unwrap();
    let ordinary = hub.prepare("assessments", Query::default(), range, &viewer()).unwrap();
    hub.open(ordinary.window.clone()).await.unwrap();
    let many: Vec<_> = (2..40).map(|id| insert_sql(id, "b", 1, 3, "open")).collect();
    other.run(&format!("BEGIN; {}; COMMIT", many.join("; "))).await;
    let started = Instant::now();
    while frames.take(&ordinary.topic).is_empty() {
        assert!(
            started.elapsed() < Duration::from_secs(8),
            "no frame: {:?}",
            hub.stats()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = frames.take(&strange.topic);
    assert!(
        told.last().is_some_and(|frame| frame.version > opened.version + 1),
        "a gap, so that its client asks: {told:?}"
    );
    let asked = hub.resume(strange.window, opened.version).await.unwrap_err();
    assert_eq!(asked.kind, ErrorKind::NotFound);
    hub.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_windows_of_one_user_do_not_make_others_wait() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other
        .run(
            "INSERT INTO assessment (title, site_id, department_id, hazard_id, probability, severity, status) \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) \
             SELECT 'row number ' || i, 1, 1, 1, 1 + i % 5, 1 + i % 3, 'open' FROM n",
        )
        .await;
    let (hub, frames) = bench.hub(FeedOptions::default()).await;
    // What one socket may hold: 32 contexts of 16 windows.
    for number in 0..512 {
        let query = Query {
            filter: Filter::contains("title", format!("no such {number}")),
            sorters: Vec::new(),
        };
        let ticket = match hub.prepare("assessments", query, Range::new(0, 1), &viewer()) {
            Ok(ticket) => ticket,
            // Refused from some number on: that is the point.
            Err(_) => break,
        };
        hub.open(ticket.window).await.unwrap();
    }
    let ordinary = hub
        .prepare(
            "assessments",
            Query::default(),
            Range::new(0, 10),
            &Viewer::new("bob", "admin"),
        )
        .unwrap();
    hub.open(ordinary.window).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut worst = Duration::ZERO;
    for round in 0..4 {
        frames.take(&ordinary.topic);
        let started = Instant::now();
        other
            .run(&format!("UPDATE assessment SET title = 'changed {round}' WHERE id = 1"))
            .await;
        other.run(&insert_sql(60_000 + round, "new", 1, 3, "open")).await;
        while frames.take(&ordinary.topic).is_empty() {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing in 30 s");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        worst = worst.max(started.elapsed());
    }
    assert!(
        worst < Duration::from_secs(3),
        "others wait {worst:?} for one user's windows"
    );
    hub.shutdown();
}
