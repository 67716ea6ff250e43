//! What the tests of live data share: a file with the example schema, sources over it, and an independent reader.
#![allow(
    dead_code,
    missing_docs,
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "each test uses a part of it"
)]

pub mod busy;
pub mod postgres;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use coati_server::data::{
    Column, DataHub, DataSource, Db, FeedOptions, FramePublisher, Join, Mapping, Migrations, Rights, Rule,
    SqlEventStore, Viewer,
};
use coati_server::router::{Change, EventStore as _, Recorded};
use shared::data::{Cell, Choice, Field, Filter, Frame, Snapshot};
use shared::wamp::{CodecId, Payload, PublicationId, SessionId, message::PublishOptions};
use sqlx::{AssertSqlSafe, Connection as _, Row as _, SqliteConnection, sqlite::SqliteConnectOptions};

pub const STATUSES: &[Choice] = &[
    Choice {
        value: "draft",
        label: "Draft",
    },
    Choice {
        value: "open",
        label: "Open",
    },
    Choice {
        value: "mitigated",
        label: "Mitigated",
    },
    Choice {
        value: "closed",
        label: "Closed",
    },
];

pub const FIELDS: &[Field] = &[
    Field::integer("id", "Id").read_only(),
    Field::text("title", "Title", 200),
    Field::lookup("site_id", "Site", "sites", "site"),
    Field::text("site", "Site", 200).read_only(),
    Field::lookup("department_id", "Department", "sites", "site"),
    Field::lookup("hazard_id", "Hazard", "sites", "site"),
    Field::integer_within("probability", "Probability", 1, 5),
    Field::integer_within("severity", "Severity", 1, 5),
    Field::integer_within("risk", "Risk", 1, 25).read_only(),
    Field::choice("status", "Status", STATUSES),
    Field::text("responsible", "Responsible", 100).nullable(),
    Field::date("due", "Due").nullable(),
    Field::multiline("notes", "Notes", 4_000).nullable().hidden(),
];

/// The columns of [`FIELDS`] that are visible, for hand-written SQL.
pub const COLUMNS: &str = "a.id, a.title, a.site_id, s.name, a.department_id, a.hazard_id, a.probability, a.severity, a.risk, a.status, \
                           a.responsible, a.due";

static MAPPING: Mapping = Mapping {
    table: "assessment",
    key: "id",
    joins: &[Join {
        table: "site",
        alias: "s",
        from: "",
        column: "site_id",
        key: "id",
        optional: false,
    }],
    columns: &[
        Column::base("id"),
        Column::base("title"),
        Column::base("site_id"),
        Column::joined_unique("site", "s", "name"),
        Column::base("department_id"),
        Column::base("hazard_id"),
        Column::base("probability"),
        Column::base("severity"),
        Column::base("risk"),
        Column::base("status"),
        Column::base("responsible"),
        Column::base("due"),
        Column::base("notes"),
    ],
};

/// Assessments. A viewer of the role `site-N` sees that site only; `stranger` sees nothing.
pub struct Assessments;

impl DataSource for Assessments {
    fn name(&self) -> &'static str {
        "assessments"
    }
    fn fields(&self) -> &'static [Field] {
        FIELDS
    }
    fn mapping(&self) -> &'static Mapping {
        &MAPPING
    }
    fn rule(&self, viewer: &Viewer) -> Rule {
        match viewer.role.strip_prefix("site-") {
            Some(site) => Rule::Only(Filter::equals("site_id", site.parse::<i64>().unwrap_or_default())),
            None if viewer.role == "stranger" => Rule::Deny,
            // A rule that fits into the statement of an opening window, but not beside several changed keys.
            None if viewer.role == "listed" => {
                Rule::Only(Filter::is_in("id", (1..=32_755).map(Cell::Integer).collect()))
            }
            None => Rule::All,
        }
    }
    fn rights(&self, viewer: &Viewer) -> Rights {
        if viewer.role == "reader" {
            Rights::NONE
        } else {
            Rights::ALL
        }
    }
}

static SITE_MAPPING: Mapping = Mapping {
    table: "site",
    key: "id",
    joins: &[],
    columns: &[Column::base("id"), Column::base("name")],
};

pub struct Sites;

impl DataSource for Sites {
    fn name(&self) -> &'static str {
        "sites"
    }
    fn fields(&self) -> &'static [Field] {
        const FIELDS: &[Field] = &[Field::integer("id", "Id").read_only(), Field::text("name", "Name", 200)];
        FIELDS
    }
    fn mapping(&self) -> &'static Mapping {
        &SITE_MAPPING
    }
    fn rule(&self, _: &Viewer) -> Rule {
        Rule::All
    }
    fn display(&self) -> Option<&'static str> {
        Some("name")
    }
}

/// Keeps what is published, by topic.
#[derive(Clone, Default)]
pub struct Frames(Arc<Mutex<BTreeMap<String, Vec<Frame>>>>);

impl Frames {
    pub fn take(&self, topic: &str) -> Vec<Frame> {
        self.0
            .lock()
            .expect("no test panics while it holds this")
            .remove(topic)
            .unwrap_or_default()
    }
}

impl FramePublisher for Frames {
    fn publish(&self, topic: &str, frame: &Frame) {
        self.0
            .lock()
            .expect("as above")
            .entry(topic.to_owned())
            .or_default()
            .push(frame.clone());
    }
}

pub fn migrations() -> Migrations {
    Migrations {
        sqlite: sqlx::migrate!("../migrations/sqlite"),
        postgres: sqlx::migrate!("../migrations/postgres"),
    }
}

/// A migrated file in a folder of its own, with a few sites and the like.
pub struct Bench {
    pub folder: tempfile::TempDir,
    pub db: Db,
}

impl Bench {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let db = Db::connect(&format!("sqlite:{}", folder.path().join("test.db").display()))
            .await
            .expect("a new file");
        db.migrate(&migrations()).await.expect("migrations run");
        let bench = Self { folder, db };
        let mut other = bench.other().await;
        for sql in [
            "INSERT INTO company (id, name) VALUES (1, 'One')",
            "INSERT INTO site (id, company_id, name, city) VALUES (1, 1, 'Turin', 'Turin'), (2, 1, 'lyon', 'Lyon'), (3, 1, 'Gdansk', 'Gdansk')",
            "INSERT INTO department (id, site_id, name) VALUES (1, 1, 'Stores'), (2, 2, 'Press')",
            "INSERT INTO hazard (id, name, category) VALUES (1, 'Fire', 'Fire'), (2, 'Noise', 'Physical')",
        ] {
            other.run(sql).await;
        }
        bench
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("test.db")
    }

    /// A connection that knows nothing of ours: as another program would have it.
    pub async fn other(&self) -> Other {
        let options = SqliteConnectOptions::new()
            .filename(self.path())
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        Other {
            connection: SqliteConnection::connect_with(&options)
                .await
                .expect("the file is there"),
        }
    }

    pub async fn hub(&self, options: FeedOptions) -> (DataHub, Frames) {
        let frames = Frames::default();
        let sources: Vec<Arc<dyn DataSource>> = vec![Arc::new(Assessments), Arc::new(Sites)];
        let hub = DataHub::start(self.db.clone(), sources, Arc::new(frames.clone()), options)
            .await
            .expect("the hub starts");
        (hub, frames)
    }
}

/// Another program's connection.
pub struct Other {
    pub connection: SqliteConnection,
}

impl Other {
    pub async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.connection)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Rows as lists of text, null as `∅`.
    pub async fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut self.connection)
            .await;
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let text = |row: &sqlx::sqlite::SqliteRow, index: usize| {
            row.try_get_unchecked::<Option<String>, _>(index)
                .expect("SQLite turns any value into text")
                .unwrap_or_else(|| "∅".into())
        };
        rows.iter()
            .map(|row| (0..row.len()).map(|index| text(row, index)).collect())
            .collect()
    }

    pub async fn number(&mut self, sql: &str) -> u64 {
        self.rows(sql).await[0][0].parse().expect("a number")
    }

    /// The end of the change log in the state that this connection sees now.
    pub async fn position(&mut self) -> u64 {
        self.number("SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'coati_change'), 0)")
            .await
    }
}

/// Cells as [`Other::rows`] shows them.
pub fn texts(cells: &[Cell]) -> Vec<String> {
    cells
        .iter()
        .map(|cell| if cell.is_null() { "∅".into() } else { cell.to_string() })
        .collect()
}

pub fn snapshot_texts(snapshot: &Snapshot) -> Vec<Vec<String>> {
    snapshot.rows.iter().map(|row| texts(&row.cells)).collect()
}

pub fn viewer() -> Viewer {
    Viewer::new("ada", "admin")
}

pub fn insert_sql(id: i64, title: &str, site: i64, severity: i64, status: &str) -> String {
    format!(
        "INSERT INTO assessment (id, title, site_id, department_id, hazard_id, probability, severity, status) \
         VALUES ({id}, '{title}', {site}, 1, 1, 2, {severity}, '{status}')"
    )
}

/// What a store of event history must do on either database.
pub async fn event_store_keeps_and_forgets(url: &str) {
    let realm = |name: &str| shared::wamp::Uri::unchecked(name);
    let store = SqlEventStore::open(url, &realm("one")).await.unwrap();
    let other = SqlEventStore::open(url, &realm("two")).await.unwrap();
    let event = |number: u64| Recorded {
        number,
        publication: PublicationId::new(number + 100).unwrap(),
        time: Duration::from_millis(1_700_000_000_000 + number),
        topic: realm("log.\u{0}ä"),
        session: SessionId::new(5).unwrap(),
        authid: "o'neil".into(),
        authrole: "user".into(),
        options: PublishOptions::default(),
        payload: Payload::encode(CodecId::Cbor, &(number, "\u{0}")).unwrap(),
    };
    let change = |number: u64, evicted: &[u64]| Change {
        number,
        event: Some(Arc::new(event(number))),
        evicted: evicted.to_vec(),
        forgotten: evicted.iter().max().copied().unwrap_or(0),
    };
    store
        .write(&[change(1, &[]), change(2, &[1]), change(3, &[])], false)
        .await
        .unwrap();
    other.write(&[change(1, &[])], false).await.unwrap();
    let kept = async |store: &SqlEventStore| {
        let stored = store.load().await.unwrap();
        (stored.events, stored.forgotten)
    };
    // The change that said what was let go is not the last of its batch here: the last one's word counts.
    assert_eq!(kept(&store).await, (vec![event(2), event(3)], 0));
    store.write(&[change(4, &[2, 3])], false).await.unwrap();
    assert_eq!(kept(&store).await, (vec![event(4)], 3));
    let twice = store.write(&[change(6, &[]), change(4, &[])], false).await;
    assert!(twice.is_err(), "a number is written once");
    assert_eq!(kept(&store).await, (vec![event(4)], 3), "all or none");
    store.write(&[change(9, &[])], true).await.unwrap();
    assert_eq!(kept(&store).await, (vec![event(9)], 8));
    assert_eq!(kept(&other).await, (vec![event(1)], 0), "each realm has its own");
}
