//! The oracle: random writers against random windows; each frame must leave a replica equal to an independent `SELECT`
//! in a committed state, and deliberate defects of the feed must be found.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use coati_server::data::{DataHub, Fault, FeedOptions, Origin, Viewer};
use data_support::{Bench, COLUMNS, Frames, Other, insert_sql, texts, viewer};
use shared::data::{
    Applied, Cell, ChangeSet, FieldChange, Filter, Operator, Query, Range, Replica, RowKey, Sorter, WindowTicket,
};

/// Random numbers from a seed, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
    fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[usize::try_from(self.roll(list.len() as u64)).unwrap()].clone()
    }
}

type Table = Vec<Vec<String>>;

/// A window and the same question in hand-written SQL.
struct Watched {
    ticket: WindowTicket,
    replica: Replica,
    rows_sql: String,
    count_sql: String,
    /// What the SQL answered, by position in the change log.
    expected: BTreeMap<u64, Table>,
    checked: u64,
}

fn random_query(dice: &mut Dice) -> (Query, String, Viewer) {
    let (filter, condition) = match dice.roll(7) {
        0 => (Filter::All, "1".to_owned()),
        1 => (Filter::equals("status", "open"), "a.status = 'open'".to_owned()),
        2 => (Filter::contains("title", "b"), "a.title LIKE '%b%'".to_owned()),
        3 => (
            Filter::condition("severity", Operator::GreaterOrEqual, vec![3.into()]).and(Filter::contains("site", "n")),
            "a.severity >= 3 AND s.name LIKE '%n%'".to_owned(),
        ),
        4 => (
            Filter::Or(vec![
                Filter::condition("due", Operator::IsNull, vec![]),
                Filter::equals("site_id", 2),
            ]),
            "(a.due IS NULL OR a.site_id = 2)".to_owned(),
        ),
        5 => (
            Filter::Not(Box::new(Filter::is_in("status", vec!["draft".into(), "closed".into()]))),
            "a.status NOT IN ('draft', 'closed')".to_owned(),
        ),
        _ => (
            Filter::condition("responsible", Operator::NotEquals, vec!["R1".into()]),
            "(a.responsible <> 'R1' OR a.responsible IS NULL)".to_owned(),
        ),
    };
    let orders = [
        ("id", "a.id"),
        ("title", "a.title"),
        ("site", "s.name"),
        ("severity", "a.severity"),
        ("risk", "a.risk"),
        ("due", "a.due"),
        ("responsible", "a.responsible"),
    ];
    let (field, column) = dice.pick(&orders);
    let descending = dice.roll(2) == 1;
    let direction = if descending { "DESC" } else { "ASC" };
    let sorters = vec![Sorter {
        field: field.to_owned(),
        descending,
    }];
    let (viewer, rule) = match dice.roll(4) {
        0 => (Viewer::new("eve", "site-1"), "a.site_id = 1"),
        _ => (viewer(), "1"),
    };
    let tail = format!("WHERE {condition} AND {rule} ORDER BY {column} {direction}, a.id {direction}");
    (Query { filter, sorters }, tail, viewer)
}

fn random_statement(dice: &mut Dice, next_id: &mut i64) -> String {
    let id = 1 + dice.roll(u64::try_from(*next_id).unwrap().max(1));
    let title = dice.pick(&["Alpha", "beta", "bravo", "Charlie", "delta", "abba"]);
    match dice.roll(12) {
        0..=2 => {
            *next_id += 1;
            let (site, severity) = (1 + dice.roll(3), 1 + dice.roll(5));
            let status = dice.pick(&["open", "draft", "mitigated"]);
            insert_sql(
                *next_id,
                title,
                i64::try_from(site).unwrap(),
                i64::try_from(severity).unwrap(),
                status,
            )
        }
        3 | 4 => format!("DELETE FROM assessment WHERE id = {id}"),
        5 => format!("UPDATE assessment SET title = '{title}' WHERE id = {id}"),
        6 => format!(
            "UPDATE assessment SET status = '{}' WHERE id = {id}",
            dice.pick(&["open", "draft", "mitigated"])
        ),
        7 => format!("UPDATE assessment SET site_id = {} WHERE id = {id}", 1 + dice.roll(3)),
        8 => format!(
            "UPDATE assessment SET severity = {}, due = NULL WHERE id = {id}",
            1 + dice.roll(5)
        ),
        9 => format!(
            "UPDATE assessment SET due = '2026-01-{:02}', responsible = 'R{}' WHERE id % 7 = {}",
            1 + dice.roll(28),
            dice.roll(3),
            dice.roll(7)
        ),
        10 => format!(
            "UPDATE site SET name = '{}{}' WHERE id = {}",
            title,
            dice.roll(100_000),
            1 + dice.roll(3)
        ),
        _ => {
            *next_id += 1;
            format!("UPDATE OR IGNORE assessment SET id = {next_id} WHERE id = {id}")
        }
    }
}

/// Independent answers in the state that `other` sees, noted under that state's position.
async fn note(other: &mut Other, watched: &mut [Watched]) {
    other.run("BEGIN").await;
    let position = other.position().await;
    for window in watched.iter_mut() {
        let rows = other.rows(&window.rows_sql).await;
        window.expected.insert(position, rows);
    }
    other.run("COMMIT").await;
}

fn check(window: &mut Watched) -> Result<(), String> {
    let position = window.replica.position();
    let have: Table = window.replica.rows().map(|row| texts(&row.cells)).collect();
    let want = window
        .expected
        .get(&position)
        .ok_or_else(|| format!("no state was committed at position {position}"))?;
    if have != *want {
        return Err(format!(
            "at {position}: {}\n have {have:?}\n want {want:?}",
            window.rows_sql
        ));
    }
    window.checked += 1;
    Ok(())
}

/// Applies what was published, losing a frame now and then.
async fn take_in(hub: &DataHub, frames: &Frames, watched: &mut [Watched], dice: &mut Dice) -> Result<(), String> {
    for window in watched.iter_mut() {
        for frame in frames.take(&window.ticket.topic) {
            if dice.roll(12) == 0 {
                continue;
            }
            let before = window.replica.position();
            match window.replica.apply(frame) {
                Applied::Ok => {}
                Applied::Stale => continue,
                Applied::Gap => {
                    let answer = hub.resume(window.ticket.window.clone(), window.replica.version()).await;
                    assert_ne!(
                        window.replica.resume(answer.map_err(|error| error.to_string())?),
                        Applied::Gap
                    );
                }
            }
            if window.replica.position() < before {
                return Err(format!("back in time, from {before} to {}", window.replica.position()));
            }
            check(window)?;
        }
    }
    Ok(())
}

/// One edit through the hub, as a browser would make it.
async fn edit(hub: &DataHub, dice: &mut Dice, key: i64, mutation: &mut u64) {
    let Some(row) = hub.row("assessments", RowKey::Integer(key), viewer()).await.unwrap() else {
        return;
    };
    *mutation += 1;
    let changes = if dice.roll(3) == 0 {
        ChangeSet::delete(row.key.clone(), row.version)
    } else {
        let new = Cell::from(i64::try_from(1 + dice.roll(5)).unwrap());
        let change = FieldChange {
            old: row.cells[7].clone(),
            new,
        };
        ChangeSet::update(row.key.clone(), [("severity".to_owned(), change)].into())
    };
    let origin = Origin {
        client: "tab".into(),
        mutation: *mutation,
    };
    hub.save("assessments", changes, Some(origin), viewer()).await.unwrap();
}

/// Random writes against random windows. How many states were compared, or the first difference.
async fn run(seed: u64, writes: u64, options: FeedOptions) -> Result<u64, String> {
    let mut dice = Dice(seed);
    let bench = Bench::new().await;
    let mut writers = [bench.other().await, bench.other().await];
    let mut reader = bench.other().await;
    let (hub, frames) = bench.hub(options).await;
    let mut next_id = 0;
    for _ in 0..30 {
        writers[0].run(&random_statement(&mut dice, &mut next_id)).await;
    }
    let mut watched: Vec<Watched> = Vec::new();
    let mut mutation = 0;
    for step in 0..writes {
        if watched.len() < 8 && step % 3 == 0 {
            let (query, tail, viewer) = random_query(&mut dice);
            let range = Range::new(dice.roll(12), u32::try_from(1 + dice.roll(12)).unwrap());
            let ticket = hub.prepare("assessments", query, range, &viewer).unwrap();
            let from = "FROM assessment a JOIN site s ON s.id = a.site_id";
            let rows_sql = format!(
                "SELECT {COLUMNS} {from} {tail} LIMIT {} OFFSET {}",
                range.length, range.start
            );
            let count_sql = format!("SELECT count(*) {from} {}", tail.split(" ORDER BY").next().unwrap());
            let replica = Replica::new(
                hub.open(ticket.window.clone())
                    .await
                    .map_err(|error| error.to_string())?,
            );
            watched.push(Watched {
                ticket,
                replica,
                rows_sql,
                count_sql,
                expected: BTreeMap::new(),
                checked: 0,
            });
            note(&mut reader, &mut watched).await;
            check(watched.last_mut().unwrap())?;
        }
        if dice.roll(6) == 0 {
            edit(&hub, &mut dice, i64::try_from(1 + step % 40).unwrap(), &mut mutation).await;
        } else {
            let statements: Vec<_> = (0..=dice.roll(3))
                .map(|_| random_statement(&mut dice, &mut next_id))
                .collect();
            let end = if dice.roll(5) == 0 { "ROLLBACK" } else { "COMMIT" };
            let who = usize::try_from(dice.roll(2)).unwrap();
            writers[who]
                .run(&format!("BEGIN IMMEDIATE; {}; {end}", statements.join("; ")))
                .await;
        }
        note(&mut reader, &mut watched).await;
        if dice.roll(3) == 0 {
            tokio::time::sleep(Duration::from_millis(dice.roll(25))).await;
        }
        take_in(&hub, &frames, &mut watched, &mut dice).await?;
    }
    // Quiet: every window must now come to the last state, whatever was lost on the way.
    let deadline = Instant::now() + Duration::from_secs(3);
    for window in &mut watched {
        let want = reader.rows(&window.rows_sql).await;
        let total = reader.number(&window.count_sql).await;
        loop {
            let answer = hub.resume(window.ticket.window.clone(), window.replica.version()).await;
            assert_ne!(
                window.replica.resume(answer.map_err(|error| error.to_string())?),
                Applied::Gap
            );
            let have: Table = window.replica.rows().map(|row| texts(&row.cells)).collect();
            if have == want && window.replica.total() == total {
                break;
            }
            if Instant::now() > deadline {
                let (rows, sql) = (window.replica.total(), &window.rows_sql);
                return Err(format!(
                    "never quiet: {sql}\n have {have:?} of {rows}\n want {want:?} of {total}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    hub.shutdown();
    Ok(watched.iter().map(|window| window.checked).sum())
}

fn quick(hints: bool) -> FeedOptions {
    FeedOptions {
        hints,
        poll: Duration::from_millis(20),
        watch: Duration::from_millis(5),
        ..FeedOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_leaves_a_replica_equal_to_a_committed_state() {
    let mut checked = 0;
    for seed in 0..10 {
        checked += run(seed, 80, quick(true))
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(checked > 400, "the oracle compared {checked} states only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_holds_without_any_hint() {
    let mut checked = 0;
    for seed in 100..106 {
        checked += run(seed, 80, quick(false))
            .await
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert!(checked > 100, "the oracle compared {checked} states only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oracle_finds_each_deliberate_defect() {
    for fault in [
        Fault::IgnoreDeletes,
        Fault::NeverReRange,
        Fault::DropOneKey,
        Fault::SkipAhead,
    ] {
        let mut found = false;
        for seed in 200..206 {
            let options = FeedOptions {
                fault: Some(fault),
                ..quick(true)
            };
            if run(seed, 60, options).await.is_err() {
                found = true;
                break;
            }
        }
        assert!(found, "{fault:?} went unnoticed");
    }
}
