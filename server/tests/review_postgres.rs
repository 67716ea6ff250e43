//! Two editors of one value over PostgreSQL: the second one hears of the first.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::{sync::Arc, time::Duration};

use coati_server::data::{DataHub, DataSource, Db, FeedOptions};
use data_support::postgres::{Cluster, run};
use data_support::{Assessments, Frames, Sites, migrations, viewer};
use shared::data::{Cell, ChangeSet, FieldChange, RowKey};
use sqlx::{Connection as _, PgConnection};

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
