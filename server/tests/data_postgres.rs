//! The same windows and edits over PostgreSQL: transactions that overlap, commit out of order, roll back and truncate.
//!
//! Each test starts a cluster of its own in a temporary folder; `make test` installs PostgreSQL where it is missing.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use coati_server::data::{DataHub, DataSource, Db, FeedOptions, Origin, Viewer};
use data_support::postgres::{Cluster, run};
use data_support::{Assessments, COLUMNS, Frames, Sites, migrations, texts, viewer};
use shared::data::{Applied, Cell, ChangeSet, FieldChange, Filter, Operator, Query, Range, Replica, RowKey, Sorter};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<Vec<String>> {
    let columns: Vec<_> = COLUMNS.split(", ").map(|column| format!("{column}::text")).collect();
    let sql = sql.replace('*', &columns.join(", "));
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap();
    let text = |row: &sqlx::postgres::PgRow, index| row.get::<Option<String>, _>(index).unwrap_or_else(|| "∅".into());
    rows.iter()
        .map(|row| (0..row.len()).map(|index| text(row, index)).collect())
        .collect()
}

async fn start(cluster: &Cluster) -> (DataHub, Frames, PgConnection) {
    let db = Db::connect(&cluster.url()).await.unwrap();
    db.migrate(&migrations()).await.unwrap();
    db.migrate(&migrations()).await.unwrap();
    let mut connection = PgConnection::connect(&cluster.url()).await.unwrap();
    for sql in [
        "INSERT INTO company (id, name) VALUES (1, 'One')",
        "INSERT INTO site (id, company_id, name, city) VALUES (1, 1, 'Turin', 'T'), (2, 1, 'lyon', 'L'), (3, 1, 'Gdansk', 'G')",
        "INSERT INTO department (id, site_id, name) VALUES (1, 1, 'Stores')",
        "INSERT INTO hazard (id, name, category) VALUES (1, 'Fire', 'Fire')",
    ] {
        run(&mut connection, sql).await;
    }
    let frames = Frames::default();
    let sources: Vec<Arc<dyn DataSource>> = vec![Arc::new(Assessments), Arc::new(Sites)];
    let options = FeedOptions {
        poll: Duration::from_millis(20),
        ..FeedOptions::default()
    };
    let hub = DataHub::start(db, sources, Arc::new(frames.clone()), options)
        .await
        .unwrap();
    (hub, frames, connection)
}

/// Writes in transactions that overlap with those of others, by a seed.
async fn write(url: String, seed: u64, until: Instant) {
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let mut number = seed;
    let mut roll = |sides: u64| {
        number = number
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % sides
    };
    while Instant::now() < until {
        run(&mut connection, "BEGIN").await;
        for _ in 0..=roll(3) {
            // Each writer has rows of its own, so that nobody waits and no two deadlock.
            let id = seed * 1_000 + roll(40);
            let (site, severity) = (1 + roll(3), 1 + roll(5));
            let sql = match roll(5) {
                0 | 1 => format!(
                    "INSERT INTO assessment (id, title, site_id, department_id, hazard_id, probability, severity, status, due) \
                     VALUES ({id}, 'T{}', {site}, 1, 1, 1, {severity}, 'open', '2026-01-0{severity}') \
                     ON CONFLICT (id) DO UPDATE SET title = excluded.title",
                    roll(50)
                ),
                2 => format!("DELETE FROM assessment WHERE id = {id}"),
                3 => format!(
                    "UPDATE assessment SET title = 'U{}', due = NULL WHERE id = {id}",
                    roll(50)
                ),
                _ => format!("UPDATE assessment SET site_id = {site}, severity = {severity} WHERE id = {id}"),
            };
            run(&mut connection, &sql).await;
            tokio::time::sleep(Duration::from_millis(roll(8))).await;
        }
        run(&mut connection, if roll(6) == 0 { "ROLLBACK" } else { "COMMIT" }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_transactions_lose_nothing() {
    let cluster = Cluster::start();
    let (hub, frames, mut connection) = start(&cluster).await;
    let from = "FROM assessment a JOIN site s ON s.id = a.site_id";
    let specs = [
        (
            Query {
                sorters: vec![Sorter::ascending("title")],
                ..Query::default()
            },
            "TRUE",
            "a.title ASC NULLS FIRST, a.id ASC",
        ),
        (
            Query {
                filter: Filter::equals("site_id", 2),
                sorters: vec![Sorter::descending("due")],
            },
            "a.site_id = 2",
            "a.due DESC NULLS LAST, a.id DESC",
        ),
        (
            Query {
                filter: Filter::condition("severity", Operator::Greater, vec![2.into()])
                    .and(Filter::contains("title", "t1")),
                sorters: vec![Sorter::ascending("site")],
            },
            "a.severity > 2 AND a.title ILIKE '%t1%'",
            "s.name ASC, a.id ASC",
        ),
    ];
    let mut windows = Vec::new();
    for (query, condition, order) in specs {
        for start in [0, 5] {
            let ticket = hub
                .prepare("assessments", query.clone(), Range::new(start, 15), &viewer())
                .unwrap();
            let replica = Replica::new(hub.open(ticket.window).await.unwrap());
            windows.push((
                replica,
                format!("SELECT * {from} WHERE {condition} ORDER BY {order} LIMIT 15 OFFSET {start}"),
            ));
        }
    }
    for round in 0..3_u64 {
        let until = Instant::now() + Duration::from_millis(1_500);
        let writers: Vec<_> = (1..=6)
            .map(|writer| tokio::spawn(write(cluster.url(), round * 10 + writer, until)))
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        if round == 1 {
            run(&mut connection, "TRUNCATE assessment").await;
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        for (replica, sql) in &mut windows {
            let want = rows(&mut connection, sql).await;
            loop {
                for frame in frames.take(replica.topic()) {
                    assert_ne!(replica.apply(frame), Applied::Gap);
                }
                let have: Vec<_> = replica.rows().map(|row| texts(&row.cells)).collect();
                if have == want {
                    break;
                }
                assert!(Instant::now() < deadline, "{sql}\n have {have:?}\n want {want:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    assert!(hub.stats().frames > 100, "{:?}", hub.stats());
    hub.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_and_accounts_work_alike() {
    let cluster = Cluster::start();
    let (hub, _, mut connection) = start(&cluster).await;
    let cells = [
        ("title", Cell::from("new")),
        ("site_id", 1.into()),
        ("department_id", 1.into()),
        ("hazard_id", 1.into()),
        ("probability", 2.into()),
        ("severity", 5.into()),
        ("status", "open".into()),
        ("due", Cell::Date("2026-02-03".parse().unwrap())),
        ("responsible", Cell::Null),
    ];
    let values = cells.into_iter().map(|(name, cell)| (name.to_owned(), cell)).collect();
    let origin = Origin {
        client: "tab".into(),
        mutation: 1,
    };
    let insert = ChangeSet::insert("n", values);
    let save = |changes: ChangeSet, origin: Option<Origin>| {
        hub.save("assessments", changes, origin, Viewer::new("ada", "admin"))
    };
    let made = save(insert.clone(), Some(origin.clone())).await.unwrap();
    assert_eq!(save(insert.clone(), Some(origin)).await.unwrap(), made);
    let key = made.saved[0].key.clone();
    let clear = |old: &str| {
        let change = FieldChange {
            old: Cell::Date(old.parse().unwrap()),
            new: Cell::Null,
        };
        ChangeSet::update(key.clone(), [("due".to_owned(), change)].into())
    };
    assert_eq!(save(clear("2020-01-01"), None).await.unwrap().conflicts.len(), 1);
    assert!(save(clear("2026-02-03"), None).await.unwrap().is_saved());
    let log = sqlx::query("SELECT count(*) FROM coati_change WHERE origin = 'tab:1'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(log.get::<i64, _>(0), 1);
    let mut orphan = insert;
    orphan.inserted[0].values.insert("site_id".into(), 99.into());
    assert!(!save(orphan, None).await.unwrap().is_saved());
    assert!(hub.db().put_account("Ada", "hash", "admin").await.unwrap());
    assert!(!hub.db().put_account("ADA", "hash", "reader").await.unwrap());
    assert_eq!(hub.db().find_role("ada").await.unwrap().as_deref(), Some("reader"));
    hub.shutdown();
}

#[tokio::test]
async fn event_history_is_kept_and_forgotten_in_postgres() {
    let cluster = Cluster::start();
    data_support::event_store_keeps_and_forgets(&cluster.url()).await;
}

#[tokio::test]
async fn who_is_behind_what_another_server_has_pruned_reads_everything_again() {
    let cluster = Cluster::start();
    let (hub, _frames, mut connection) = start(&cluster).await;
    hub.shutdown();
    let insert = "INSERT INTO assessment (title, site_id, department_id, hazard_id, probability, severity, status) \
                  SELECT 'old', 1, 1, 1, 2, 2, 'open' FROM generate_series(1, 20)";
    run(&mut connection, insert).await;
    let slow = FeedOptions {
        poll: Duration::from_secs(3_600),
        ..FeedOptions::default()
    };
    let quick = FeedOptions {
        poll: Duration::from_millis(1),
        kept: 0,
        ..FeedOptions::default()
    };
    let at = async |options| {
        let db = Db::connect(&cluster.url()).await.unwrap();
        let sources: Vec<Arc<dyn DataSource>> = vec![Arc::new(Assessments), Arc::new(Sites)];
        let hub = DataHub::start(db, sources, Arc::new(Frames::default()), options).await;
        hub.unwrap()
    };
    let behind = at(slow).await;
    let ticket = behind
        .prepare("assessments", Query::default(), Range::new(0, 100), &viewer())
        .unwrap();
    let titles = async || {
        let snapshot = behind.open(ticket.window.clone()).await.unwrap();
        let titles: std::collections::BTreeSet<_> = snapshot.rows.iter().map(|row| row.cells[1].to_string()).collect();
        titles
    };
    assert_eq!(titles().await, ["old".to_owned()].into());
    let ahead = at(quick).await;
    run(&mut connection, "UPDATE assessment SET title = 'new'").await;
    let patience = Instant::now() + Duration::from_secs(60);
    let mut left = 1;
    while left > 0 {
        assert!(Instant::now() < patience, "{left} rows are left in the log");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let count = sqlx::query("SELECT count(*) FROM coati_change")
            .fetch_one(&mut connection)
            .await;
        left = count.unwrap().get::<i64, _>(0);
    }
    assert_eq!(titles().await, ["old".to_owned()].into(), "it has not looked yet");
    behind.db().ring();
    let patience = Instant::now() + Duration::from_secs(5);
    while titles().await != ["new".to_owned()].into() {
        assert!(Instant::now() < patience, "what was pruned is never shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ahead.shutdown();
    behind.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_edits_of_the_same_value_at_once_only_one_is_saved() {
    let cluster = Cluster::start();
    let (hub, _frames, mut other) = start(&cluster).await;
    run(
        &mut other,
        "INSERT INTO assessment (id, title, site_id, department_id, hazard_id, probability, severity, status) VALUES (900, 'start', 1, 1, 1, 1, 1, 'open')",
    )
    .await;
    let mut overwritten = 0;
    let mut before = "start".to_owned();
    for round in 0..60 {
        let edit = |who: &str| {
            let change = FieldChange {
                old: Cell::Text(before.clone()),
                new: Cell::Text(format!("{who} {round}")),
            };
            let changes = ChangeSet::update(RowKey::from(900), [("title".to_owned(), change)].into());
            hub.save("assessments", changes, None, viewer())
        };
        let (ada, bob) = tokio::join!(edit("ada"), edit("bob"));
        let saved = |outcome: &shared::error::Result<shared::data::EditOutcome>| {
            outcome.as_ref().is_ok_and(|outcome| outcome.is_saved())
        };
        overwritten += usize::from(saved(&ada) && saved(&bob));
        let row = hub
            .row("assessments", RowKey::from(900), viewer())
            .await
            .unwrap()
            .unwrap();
        before = row.cells[1].to_string();
    }
    assert_eq!(overwritten, 0, "of 60 pairs of clashing edits, so many were both saved");
    hub.shutdown();
}
