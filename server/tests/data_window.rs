//! Windows: opening, live changes from inside and outside, sharing, resuming, rules, limits.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coati_server::data::{FeedOptions, Viewer};
use data_support::{
    Bench, COLUMNS, Frames,
    busy::{self, Measured},
    insert_sql, snapshot_texts, texts, viewer,
};
use shared::{
    data::{Applied, Cell, Filter, Operator, Query, Range, Replica, Resume, Sorter},
    error::ErrorKind,
};

/// Applies frames until the replica's rows have these keys, and says how long that took.
async fn until_keys(replica: &mut Replica, frames: &Frames, keys: &[i64]) -> Duration {
    let started = Instant::now();
    loop {
        for frame in frames.take(replica.topic()) {
            assert_ne!(replica.apply(frame), Applied::Gap, "frames come without gaps");
        }
        let have: Vec<_> = replica
            .order()
            .iter()
            .map(|key| key.to_cell().as_integer().unwrap())
            .collect();
        if have == keys {
            return started.elapsed();
        }
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "have {have:?}, want {keys:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn by_title() -> Query {
    Query {
        filter: Filter::equals("status", "open"),
        sorters: vec![Sorter::ascending("title")],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_updates_moves_and_deletes_of_another_program_arrive() {
    for options in [FeedOptions::default(), FeedOptions::without_hints()] {
        let limit = if options.hints {
            Duration::from_millis(900)
        } else {
            Duration::from_millis(1_900)
        };
        let bench = Bench::new().await;
        let mut other = bench.other().await;
        other.run(&insert_sql(1, "b", 1, 3, "open")).await;
        other.run(&insert_sql(2, "d", 2, 3, "open")).await;
        let (hub, frames) = bench.hub(options).await;
        let ticket = hub
            .prepare("assessments", by_title(), Range::new(0, 3), &viewer())
            .unwrap();
        let mut replica = Replica::new(hub.open(ticket.window.clone()).await.unwrap());
        assert_eq!((replica.order().len(), replica.total()), (2, 2));

        other.run(&insert_sql(3, "a", 3, 3, "open")).await;
        assert!(until_keys(&mut replica, &frames, &[3, 1, 2]).await < limit);
        other.run(&insert_sql(4, "c", 3, 3, "open")).await;
        assert!(
            until_keys(&mut replica, &frames, &[3, 1, 4]).await < limit,
            "the last row is pushed out"
        );
        other.run("UPDATE assessment SET title = 'z' WHERE id = 3").await;
        assert!(
            until_keys(&mut replica, &frames, &[1, 4, 2]).await < limit,
            "a new sort value moves the row out"
        );
        other
            .run("UPDATE assessment SET status = 'closed', responsible = 'x' WHERE id = 1")
            .await;
        assert!(
            until_keys(&mut replica, &frames, &[4, 2, 3]).await < limit,
            "a row moves out of the filter"
        );
        other.run("DELETE FROM assessment WHERE id = 2").await;
        assert!(until_keys(&mut replica, &frames, &[4, 3]).await < limit);
        other.run("UPDATE assessment SET id = 9 WHERE id = 4").await;
        assert!(
            until_keys(&mut replica, &frames, &[9, 3]).await < limit,
            "a key changes"
        );
        other.run("UPDATE site SET name = 'Danzig' WHERE id = 3").await;
        other.run("INSERT OR REPLACE INTO assessment (id, title, site_id, department_id, hazard_id, probability, severity, status) VALUES (3, 'aa', 1, 1, 1, 1, 1, 'open')").await;
        assert!(
            until_keys(&mut replica, &frames, &[3, 9]).await < limit,
            "a row is replaced"
        );
        let shown: Vec<_> = replica.rows().map(|row| texts(&row.cells)).collect();
        let sql = format!(
            "SELECT {COLUMNS} FROM assessment a JOIN site s ON s.id = a.site_id WHERE status = 'open' ORDER BY title, a.id"
        );
        assert_eq!(shown, other.rows(&sql).await, "and a changed joined name is shown");
        hub.shutdown();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_windows_are_shared_and_the_last_close_ends_them() {
    let bench = Bench::new().await;
    let (hub, _) = bench.hub(FeedOptions::default()).await;
    let range = Range::new(0, 10);
    let first = hub.prepare("assessments", by_title(), range, &viewer()).unwrap();
    let second = hub
        .prepare("assessments", by_title(), range, &Viewer::new("bob", "editor"))
        .unwrap();
    assert_eq!(first, second);
    let other_rule = hub
        .prepare("assessments", by_title(), range, &Viewer::new("eve", "site-1"))
        .unwrap();
    assert_ne!(first.topic, other_rule.topic, "another rule is another window");
    assert!(first.topic.starts_with("coati.window.") && first.topic.len() == 45);
    assert!(
        !first.topic.contains(&first.window.0),
        "knowing the id does not give the topic"
    );
    hub.close(&first.window, &viewer());
    assert!(hub.open(second.window.clone()).await.is_ok());
    hub.close(&second.window, &viewer());
    assert_eq!(
        hub.open(second.window.clone()).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
    let again = hub.prepare("assessments", by_title(), range, &viewer()).unwrap();
    assert_ne!(
        again.topic, first.topic,
        "a window that was gone comes back under another topic"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_lost_frames_resumes() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "a", 1, 1, "open")).await;
    let (hub, frames) = bench.hub(FeedOptions::default()).await;
    let ticket = hub
        .prepare("assessments", by_title(), Range::new(0, 10), &viewer())
        .unwrap();
    let start = Replica::new(hub.open(ticket.window.clone()).await.unwrap());
    let mut live = start.clone();
    for id in 2..6 {
        other.run(&insert_sql(id, "b", 1, 1, "open")).await;
        until_keys(&mut live, &frames, &(1..=id).collect::<Vec<_>>()).await;
    }
    let mut late = start.clone();
    let answer = hub.resume(ticket.window.clone(), late.version()).await.unwrap();
    assert!(matches!(&answer, Resume::Frames(frames) if frames.len() == 4));
    assert_eq!(late.resume(answer), Applied::Ok);
    assert_eq!(late, live);
    assert_eq!(
        hub.resume(ticket.window.clone(), live.version()).await.unwrap(),
        Resume::Frames(vec![])
    );
    assert!(matches!(
        hub.resume(ticket.window.clone(), 77).await.unwrap(),
        Resume::Snapshot(_)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_take_rows_back_and_give_nothing_away() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "mine", 1, 1, "open")).await;
    other.run(&insert_sql(2, "theirs", 2, 1, "open")).await;
    let (hub, frames) = bench.hub(FeedOptions::default()).await;
    let eve = Viewer::new("eve", "site-1");
    let ticket = hub
        .prepare("assessments", Query::default(), Range::new(0, 10), &eve)
        .unwrap();
    let mut replica = Replica::new(hub.open(ticket.window.clone()).await.unwrap());
    assert_eq!((replica.order().len(), replica.total()), (1, 1));
    other
        .run("UPDATE assessment SET title = 'secret word' WHERE id = 2")
        .await;
    other.run("DELETE FROM assessment WHERE id = 2").await;
    other.run("UPDATE assessment SET site_id = 3 WHERE id = 1").await;
    until_keys(&mut replica, &frames, &[]).await;
    assert_eq!(hub.row("assessments", 1.into(), eve.clone()).await.unwrap(), None);
    let query = Query {
        filter: Filter::contains("title", "x"),
        ..Query::default()
    };
    assert_eq!(
        hub.position_of("assessments", query, 1.into(), eve).await.unwrap(),
        None
    );
    let stranger = Viewer::new("mallory", "stranger");
    let refused = hub
        .prepare("assessments", Query::default(), Range::new(0, 10), &stranger)
        .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthorized);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_and_ranges_are_refused_before_the_database_sees_them() {
    let bench = Bench::new().await;
    let (hub, _) = bench.hub(FeedOptions::default()).await;
    let bad = [
        (
            Query {
                filter: Filter::equals("nothing", 1),
                ..Query::default()
            },
            Range::new(0, 10),
        ),
        (
            Query {
                filter: Filter::contains("notes", "x"),
                ..Query::default()
            },
            Range::new(0, 10),
        ),
        (
            Query {
                sorters: vec![Sorter::ascending("id; DROP TABLE assessment")],
                ..Query::default()
            },
            Range::new(0, 10),
        ),
        (Query::default(), Range::new(0, 0)),
        (Query::default(), Range::new(0, 501)),
        (Query::default(), Range::new(u64::MAX, 10)),
    ];
    for (query, range) in bad {
        let error = hub.prepare("assessments", query, range, &viewer()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidArgument, "{error}");
    }
    let error = hub
        .prepare("nowhere", Query::default(), Range::new(0, 1), &viewer())
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operator_means_what_it_says() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    for (id, title) in [
        (1, "100% Cotton"),
        (2, "100 cotton"),
        (3, "a_b"),
        (4, "axb"),
        (5, "Größe"),
    ] {
        other.run(&insert_sql(id, title, 1 + id % 3, 1 + id % 5, "open")).await;
    }
    other.run("UPDATE assessment SET due = '2026-03-01' WHERE id IN (1, 2); UPDATE assessment SET due = '2026-04-01' WHERE id = 3").await;
    let (hub, _) = bench.hub(FeedOptions::default()).await;
    let day = |text: &str| Cell::Date(text.parse().unwrap());
    let due = |operator, values| Filter::condition("due", operator, values);
    let starts = |text: &str| Filter::condition("title", Operator::StartsWith, vec![text.into()]);
    let cases: Vec<(Filter, &[i64])> = vec![
        (Filter::All, &[1, 2, 3, 4, 5]),
        (Filter::contains("title", "100%"), &[1]),
        (Filter::contains("title", "COTTON"), &[1, 2]),
        (Filter::contains("title", "A_B"), &[3]),
        (Filter::contains("title", "\\"), &[]),
        (Filter::contains("title", "GRÖSSE"), &[]),
        (Filter::contains("title", "öß"), &[5]),
        (starts("100"), &[1, 2]),
        (Filter::contains("site", "URIN"), &[3]),
        (Filter::equals("title", "a_b'; DROP TABLE assessment; --"), &[]),
        (due(Operator::Equals, vec![day("2026-03-01")]), &[1, 2]),
        (due(Operator::NotEquals, vec![day("2026-03-01")]), &[3, 4, 5]),
        (due(Operator::Greater, vec![day("2026-03-01")]), &[3]),
        (
            due(Operator::Between, vec![day("2026-03-01"), day("2026-03-31")]),
            &[1, 2],
        ),
        (due(Operator::IsNull, vec![]), &[4, 5]),
        (due(Operator::IsNotNull, vec![]), &[1, 2, 3]),
        (due(Operator::In, vec![day("2026-04-01"), Cell::Null]), &[3, 4, 5]),
        (due(Operator::In, vec![]), &[]),
        (due(Operator::NotIn, vec![day("2026-04-01")]), &[1, 2, 4, 5]),
        (due(Operator::NotIn, vec![day("2026-04-01"), Cell::Null]), &[1, 2]),
        (
            Filter::Not(Box::new(due(Operator::Less, vec![day("2026-04-01")]))),
            &[3, 4, 5],
        ),
        (Filter::Or(vec![]), &[]),
        (Filter::And(vec![]), &[1, 2, 3, 4, 5]),
        (Filter::Or(vec![Filter::equals("id", 4), starts("gr")]), &[4, 5]),
        (
            Filter::is_in("id", vec![1.into(), 5.into()]).and(Filter::equals("site_id", 3)),
            &[5],
        ),
    ];
    for (filter, keys) in cases {
        let query = Query {
            filter: filter.clone(),
            ..Query::default()
        };
        let ticket = hub.prepare("assessments", query, Range::new(0, 10), &viewer()).unwrap();
        let snapshot = hub.open(ticket.window.clone()).await.unwrap();
        let have: Vec<_> = snapshot
            .rows
            .iter()
            .map(|row| row.key.to_cell().as_integer().unwrap())
            .collect();
        assert_eq!(have, keys, "{filter:?}");
        assert_eq!(snapshot.total, keys.len() as u64, "{filter:?}");
        hub.close(&ticket.window, &viewer());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sort_order_equals_the_independent_one_and_positions_agree() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    for id in 1..60_i64 {
        other
            .run(&insert_sql(
                id,
                ["Beta", "alpha", "ALPHA", "beta"][(id % 4) as usize],
                1 + id % 3,
                1 + id % 5,
                "open",
            ))
            .await;
    }
    other
        .run("UPDATE assessment SET due = '2026-03-0' || (id % 9 + 1), responsible = 'R' || (id % 3) WHERE id % 4 <> 0")
        .await;
    let (hub, _) = bench.hub(FeedOptions::default()).await;
    let names = [
        ("id", "a.id"),
        ("title", "a.title"),
        ("site", "s.name"),
        ("severity", "a.severity"),
        ("due", "a.due"),
        ("responsible", "a.responsible"),
    ];
    let mut orders: Vec<(Vec<Sorter>, String)> = Vec::new();
    for (field, column) in names {
        orders.push((vec![Sorter::ascending(field)], format!("{column} ASC, a.id ASC")));
        orders.push((vec![Sorter::descending(field)], format!("{column} DESC, a.id DESC")));
        orders.push((
            vec![Sorter::descending(field), Sorter::ascending("status")],
            format!("{column} DESC, a.status, a.id"),
        ));
    }
    for (sorters, order) in orders {
        let query = Query {
            sorters,
            ..Query::default()
        };
        let ticket = hub
            .prepare("assessments", query.clone(), Range::new(20, 25), &viewer())
            .unwrap();
        let snapshot = hub.open(ticket.window).await.unwrap();
        let sql = format!(
            "SELECT {COLUMNS} FROM assessment a JOIN site s ON s.id = a.site_id ORDER BY {order} LIMIT 25 OFFSET 20"
        );
        assert_eq!(snapshot_texts(&snapshot), other.rows(&sql).await, "{order}");
        for (index, row) in (20..).zip(&snapshot.rows).step_by(6) {
            let place = hub
                .position_of("assessments", query.clone(), row.key.clone(), viewer())
                .await
                .unwrap();
            assert_eq!(place, Some(index), "{order}");
        }
    }
    let found = hub
        .lookup("assessments", "site_id", "Y".into(), viewer())
        .await
        .unwrap();
    assert_eq!(
        found.iter().map(|item| item.text.as_str()).collect::<Vec<_>>(),
        ["lyon"]
    );
    assert_eq!(
        hub.lookup("assessments", "title", String::new(), viewer())
            .await
            .unwrap_err()
            .kind,
        ErrorKind::NotFound
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_is_busy_holds_up_no_query_of_a_tree_on_another_thread() {
    const ROUNDS: usize = 8;
    let bench = Bench::new().await;
    bench.other().await.run(&insert_sql(1, "a", 1, 3, "open")).await;
    let (hub, _frames) = bench.hub(FeedOptions::default()).await;
    let hub = Arc::new(hub);
    let measured = busy::measure(hub.clone(), 2, ROUNDS, Duration::from_millis(100)).await;
    let (alone, beside) = (Measured::median(&measured.alone), Measured::median(&measured.beside));
    let count = measured.beside.len();
    assert!(
        count >= 2 * ROUNDS,
        "{count} queries while a tree was busy {ROUNDS} times"
    );
    // In turn, so that a busy machine slows both. What waits for a part of the other tree's time is far beyond this.
    let most = (alone * 5).max(Duration::from_millis(20));
    assert!(beside <= most, "{beside:?} beside a busy tree, {alone:?} alone");
    let locked = busy::measure_under_one_lock(hub.clone(), 2, Duration::from_millis(20)).await;
    assert_eq!(locked.beside, [], "trees that share a lock would show");
    let shared = busy::measure(hub, 1, 2, Duration::from_millis(20)).await;
    assert_eq!(shared.beside, [], "trees that shared a thread would show");
}
