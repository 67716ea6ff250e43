//! Edits: once, whole, checked, and never over what the editor has not seen.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::collections::BTreeMap;

use coati_server::data::{DataHub, FeedOptions, Origin, Viewer};
use data_support::{Bench, Other, insert_sql, viewer};
use shared::{
    data::{Cell, ChangeSet, EditOutcome, FieldChange, RowKey},
    error::{Error, ErrorKind},
};

struct Desk {
    bench: Bench,
    hub: DataHub,
    other: Other,
}

async fn desk() -> Desk {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "first", 1, 3, "open")).await;
    other.run(&insert_sql(2, "second", 2, 4, "draft")).await;
    let (hub, _) = bench.hub(FeedOptions::default()).await;
    Desk { bench, hub, other }
}

fn values(list: &[(&str, Cell)]) -> BTreeMap<String, Cell> {
    list.iter()
        .map(|(name, cell)| ((*name).to_owned(), cell.clone()))
        .collect()
}

fn update(key: i64, list: &[(&str, Cell, Cell)]) -> ChangeSet {
    let change = |(name, old, new): &(&str, Cell, Cell)| {
        (
            (*name).to_owned(),
            FieldChange {
                old: old.clone(),
                new: new.clone(),
            },
        )
    };
    ChangeSet::update(key.into(), list.iter().map(change).collect())
}

fn new_row(title: &str) -> ChangeSet {
    let cells = [
        ("title", title.into()),
        ("site_id", 1.into()),
        ("department_id", 1.into()),
        ("hazard_id", 1.into()),
        ("probability", 2.into()),
        ("severity", 5.into()),
        ("status", "open".into()),
    ];
    ChangeSet::insert("new-1", values(&cells))
}

impl Desk {
    async fn save(&self, changes: ChangeSet) -> EditOutcome {
        self.hub.save("assessments", changes, None, viewer()).await.unwrap()
    }
    async fn save_as(&self, number: u64, changes: ChangeSet, user: &str) -> Result<EditOutcome, Error> {
        let origin = Origin {
            client: "tab-1".into(),
            mutation: number,
        };
        self.hub
            .save("assessments", changes, Some(origin), Viewer::new(user, "admin"))
            .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_row_gets_a_key_and_is_logged_with_its_origin() {
    let mut desk = desk().await;
    let outcome = desk.save_as(1, new_row("third"), "ada").await.unwrap();
    assert!(outcome.is_saved());
    assert_eq!(outcome.saved[0].temporary.as_deref(), Some("new-1"));
    assert_eq!(outcome.saved[0].key, RowKey::Integer(3));
    let log = desk
        .other
        .rows("SELECT seq, tbl, key, op, origin FROM coati_change ORDER BY seq DESC LIMIT 1")
        .await;
    assert_eq!(
        log[0],
        [outcome.position.to_string().as_str(), "assessment", "3", "I", "tab-1:1"]
    );
    desk.other.run("UPDATE assessment SET severity = 1 WHERE id = 3").await;
    let log = desk
        .other
        .rows("SELECT origin FROM coati_change ORDER BY seq DESC LIMIT 1")
        .await;
    assert_eq!(log[0], ["∅"], "the origin ends with its transaction");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_mutation_gets_the_stored_answer_and_has_no_second_effect() {
    let mut desk = desk().await;
    let first = desk.save_as(1, new_row("once"), "ada").await.unwrap();
    let again = desk.save_as(1, new_row("once"), "ada").await.unwrap();
    assert_eq!(first, again);
    assert_eq!(
        desk.other
            .number("SELECT count(*) FROM assessment WHERE title = 'once'")
            .await,
        1
    );

    let gap = desk.save_as(3, new_row("too early"), "ada").await.unwrap_err();
    assert_eq!(
        (gap.kind, gap.details.get("expected").map(String::as_str)),
        (ErrorKind::Conflict, Some("2"))
    );
    let thief = desk.save_as(2, new_row("stolen"), "mallory").await.unwrap_err();
    assert_eq!(thief.kind, ErrorKind::NotAuthorized, "a client belongs to one user");

    let clash = || update(1, &[("severity", 1.into(), 2.into())]);
    let refused = desk.save_as(2, clash(), "ada").await.unwrap();
    assert!(!refused.is_saved());
    let again = desk.save_as(2, clash(), "ada").await.unwrap();
    assert_eq!(again, refused, "a refusal is an answer too");
    let other = desk.save_as(2, new_row("another"), "ada").await.unwrap_err();
    assert_eq!(
        (other.kind, other.details.get("expected").map(String::as_str)),
        (ErrorKind::Conflict, Some("3")),
        "a number is one edit's own"
    );
    assert!(desk.save_as(3, new_row("next"), "ada").await.unwrap().is_saved());
    assert_eq!(desk.other.number("SELECT count(*) FROM assessment").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_repeats_in_any_order_leave_each_effect_once() {
    let mut desk = desk().await;
    let mut tasks = Vec::new();
    for round in 0..40_u64 {
        let hub = desk.hub.clone();
        tasks.push(tokio::spawn(async move {
            for number in 1..=25_u64 {
                let origin = Origin {
                    client: "shaky".into(),
                    mutation: number,
                };
                // A gap means that the earlier one has not arrived; the client sends again from there.
                while let Err(error) = hub
                    .save(
                        "assessments",
                        new_row(&format!("n{number}")),
                        Some(origin.clone()),
                        viewer(),
                    )
                    .await
                {
                    assert_eq!(error.kind, ErrorKind::Conflict, "round {round}: {error}");
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        desk.other
            .number("SELECT count(*) FROM assessment WHERE title LIKE 'n%'")
            .await,
        25
    );
    assert_eq!(
        desk.other
            .number("SELECT last FROM coati_client WHERE client = 'shaky'")
            .await,
        25
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn disjoint_edits_of_one_row_merge_and_a_true_clash_comes_back_by_field() {
    let mut desk = desk().await;
    assert!(
        desk.save(update(1, &[("severity", 3.into(), 5.into())]))
            .await
            .is_saved()
    );
    assert!(
        desk.save(update(1, &[("title", "first".into(), "better".into())]))
            .await
            .is_saved()
    );
    assert_eq!(
        desk.other
            .rows("SELECT title, severity FROM assessment WHERE id = 1")
            .await,
        [["better", "5"]]
    );

    let clash = desk
        .save(update(
            1,
            &[
                ("title", "first".into(), "mine".into()),
                ("probability", 2.into(), 1.into()),
            ],
        ))
        .await;
    assert_eq!(clash.conflicts.len(), 1);
    let conflict = &clash.conflicts[0];
    assert_eq!(
        (conflict.field.as_str(), &conflict.old, &conflict.theirs, &conflict.mine),
        ("title", &"first".into(), &"better".into(), &"mine".into())
    );
    assert_eq!(
        desk.other.rows("SELECT probability FROM assessment WHERE id = 1").await,
        [["2"]],
        "nothing of a refused edit stays"
    );

    let case = desk.save(update(1, &[("title", "BETTER".into(), "mine".into())])).await;
    assert_eq!(
        case.conflicts.len(),
        1,
        "a difference in case is a difference, whatever the collation"
    );
    let same = desk
        .save(update(1, &[("title", "first".into(), "better".into())]))
        .await;
    assert!(same.is_saved(), "two who want the same do not clash");
    let gone = desk.save(update(77, &[("title", "x".into(), "y".into())])).await;
    assert!(gone.conflicts[0].gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_is_deleted_only_as_it_was_seen() {
    let mut desk = desk().await;
    let row = desk.hub.row("assessments", 1.into(), viewer()).await.unwrap().unwrap();
    desk.other.run("UPDATE assessment SET severity = 1 WHERE id = 1").await;
    let stale = desk.save(ChangeSet::delete(1.into(), row.version)).await;
    assert_eq!((stale.conflicts.len(), stale.conflicts[0].gone), (1, false));
    let row = desk.hub.row("assessments", 1.into(), viewer()).await.unwrap().unwrap();
    assert!(desk.save(ChangeSet::delete(1.into(), row.version)).await.is_saved());
    assert!(desk.save(ChangeSet::delete(1.into(), row.version)).await.conflicts[0].gone);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalid_is_said_at_its_field_and_nothing_is_saved() {
    let mut desk = desk().await;
    let mut changes = new_row("");
    changes.inserted[0].values.insert("severity".into(), 9.into());
    changes.inserted[0].values.insert("notes".into(), "hidden".into());
    changes.updated = update(2, &[("status", "draft".into(), "nonsense".into())]).updated;
    changes
        .updated
        .extend(update(1, &[("title", "first".into(), "fine".into())]).updated);
    let outcome = desk.save(changes).await;
    let said: Vec<_> = outcome
        .invalid
        .iter()
        .map(|error| (error.row.as_str(), error.field.as_str(), error.message.as_str()))
        .collect();
    assert_eq!(
        said,
        [
            ("2", "status", "Status must be one of the choices."),
            ("new-1", "notes", "There is no such field."),
            ("new-1", "severity", "Severity must be between 1 and 5."),
            ("new-1", "title", "Title is required."),
        ]
    );
    assert!(outcome.saved.is_empty() && outcome.position == 0);
    assert_eq!(
        desk.other
            .number("SELECT count(*) FROM assessment WHERE title = 'fine'")
            .await,
        0
    );

    let mut orphan = new_row("orphan");
    orphan.inserted[0].values.insert("site_id".into(), 99.into());
    let outcome = desk.save(orphan).await;
    assert_eq!(outcome.invalid.len(), 1);
    assert!(outcome.invalid[0].message.contains("does not exist"), "{outcome:?}");
    let read_only = desk
        .save(update(1, &[("id", 1.into(), 5.into()), ("risk", 6.into(), 1.into())]))
        .await;
    assert_eq!(read_only.invalid.len(), 2);
    assert!(desk.bench.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_rules_hold_for_edits() {
    let mut desk = desk().await;
    let reader = Viewer::new("rita", "reader");
    let refused = desk
        .hub
        .save("assessments", new_row("no"), None, reader)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, ErrorKind::NotAuthorized);
    let eve = Viewer::new("eve", "site-1");
    let unseen = update(2, &[("title", "second".into(), "taken".into())]);
    let outcome = desk.hub.save("assessments", unseen, None, eve.clone()).await.unwrap();
    assert!(outcome.conflicts[0].gone, "a row that one may not see does not exist");
    assert_eq!(outcome.conflicts[0].theirs, Cell::Null);
    let away = update(1, &[("site_id", 1.into(), 2.into())]);
    let outcome = desk.hub.save("assessments", away, None, eve).await.unwrap();
    assert!(!outcome.is_saved(), "a row cannot be pushed out of one's own sight");
    assert_eq!(
        desk.other.rows("SELECT site_id FROM assessment ORDER BY id").await,
        [["1"], ["2"]]
    );
    let many = ChangeSet {
        inserted: vec![new_row("x").inserted[0].clone(); 501],
        ..ChangeSet::default()
    };
    let error = desk.hub.save("assessments", many, None, viewer()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
}
