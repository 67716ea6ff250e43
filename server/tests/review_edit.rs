//! A mutation's number that is used for two different edits.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use coati_server::data::{FeedOptions, Origin};
use data_support::{Bench, insert_sql, viewer};
use shared::data::{Cell, ChangeSet, FieldChange, RowKey};

#[tokio::test(flavor = "multi_thread")]
async fn another_edit_under_a_used_number_is_not_called_saved() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run(&insert_sql(1, "start", 1, 3, "open")).await;
    let (hub, _frames) = bench.hub(FeedOptions::default()).await;
    let origin = || {
        Some(Origin {
            client: "page".into(),
            mutation: 1,
        })
    };
    let edit = |old: &str, new: &str| {
        let change = FieldChange {
            old: Cell::Text(old.into()),
            new: Cell::Text(new.into()),
        };
        ChangeSet::update(RowKey::from(1), [("title".to_owned(), change)].into())
    };
    let first = hub
        .save("assessments", edit("start", "first"), origin(), viewer())
        .await;
    assert!(first.unwrap().is_saved());
    // The answer came as an error (an unknown outcome of COMMIT), so the page believes that the number is free.
    let second = hub
        .save("assessments", edit("first", "second"), origin(), viewer())
        .await;
    let stored = other.rows("SELECT title FROM assessment WHERE id = 1").await;
    let told = second.is_ok_and(|outcome| outcome.is_saved());
    assert_eq!(told, stored[0][0] == "second", "told saved, stored is {stored:?}");
    hub.shutdown();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_saved_nothing_for_a_month_is_forgotten_when_another_one_begins() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    let (hub, _frames) = bench.hub(FeedOptions::default()).await;
    let save = async |client: &str| {
        let origin = Origin {
            client: client.into(),
            mutation: 1,
        };
        let saved = hub
            .save("assessments", ChangeSet::default(), Some(origin), viewer())
            .await;
        assert!(saved.unwrap().is_saved());
    };
    save("old").await;
    save("young").await;
    let age = |client: &str, days: u32| {
        format!("UPDATE coati_client SET seen = seen - {days} * 86400 WHERE client = '{client}'")
    };
    other.run(&age("old", 31)).await;
    other.run(&age("young", 29)).await;
    save("new").await;
    let left = other.rows("SELECT client FROM coati_client ORDER BY client").await;
    assert_eq!(left, [["new"], ["young"]]);
    let answers = other.rows("SELECT client FROM coati_mutation ORDER BY client").await;
    assert_eq!(answers, [["new"], ["young"]], "and its answers");
    hub.shutdown();
}
