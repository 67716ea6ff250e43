//! Puts the server of Safety together: database, live data, session roots, client.

use std::{io::Write, sync::Arc};

use futures::FutureExt;
use server::{
    Config, Error, ErrorKind, Server,
    data::{DataHub, Db, FeedOptions},
    http::ReadyCheck,
    service::{Candidate, Catalogue, CursorNode, FrameChannel, Sessions},
};
use shared::intent::Operation;

use crate::{
    assessments::{controller::AssessmentsController, source},
    cli, demo, diagnostics,
    operator::OPERATORS,
};

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The name of the realm.
pub(crate) const REALM: &str = "safety";

/// The accounts that `--demo` makes, and their passwords, which are printed at start.
const DEMO_ACCOUNTS: [(&str, &str, &str); 3] = [
    ("admin", "admin-demo", "admin"),
    ("assessor", "assessor-demo", "assessor"),
    ("reader", "reader-demo", "reader"),
];

/// What only a test or a demonstration asks for.
pub(crate) struct Trial {
    /// The fingerprint that clients must have instead of this build's.
    pub(crate) contracts: Option<String>,
}

/// Opens the database and brings it to this version's schema.
pub(crate) async fn open(url: &str) -> Result<Db, Error> {
    make_default_folder(url)?;
    let db = Db::connect(url).await?;
    db.migrate(&source::migrations()).await?;
    Ok(db)
}

/// The default database has a folder of its own, which a first start makes; any other folder must be there.
fn make_default_folder(url: &str) -> Result<(), Error> {
    if url != cli::DEFAULT_DATABASE {
        return Ok(());
    }
    std::fs::create_dir_all("data")
        .map_err(|error| Error::new(ErrorKind::Io, "The folder data cannot be made here").because(error))
}

/// Serves until the process is told to stop.
pub(crate) async fn serve(
    config: Config,
    url: &str,
    feed: FeedOptions,
    demo: Option<u64>,
    trial: Option<Trial>,
) -> Result<(), Error> {
    let db = open(url).await?;
    if let Some(rows) = demo {
        fill(&db, rows).await?;
    }
    let frames = FrameChannel::default();
    let hub = DataHub::start(db.clone(), source::sources(), Arc::new(frames.clone()), feed).await?;
    let mut catalogue = Catalogue::default().with(assessments(hub));
    if trial.is_some() {
        catalogue = catalogue.with(diagnostics::candidate());
    }
    let db = Arc::new(db);
    let asked = db.clone();
    let database: ReadyCheck = Arc::new(move || {
        let db = asked.clone();
        async move { db.ping().await.map_err(|error| error.to_string()) }.boxed()
    });
    Server::builder()
        .config(config)
        .title("Safety")
        .realm(REALM)
        .operators(OPERATORS)
        .contracts(trial.and_then(|trial| trial.contracts).unwrap_or_else(crate::contracts))
        .client("safety", ASSETS)
        .accounts(db.clone())
        .ready_check("database", database)
        .service(Arc::new(frames))
        .service(Arc::new(Sessions::new(catalogue, db)))
        .run()
        .await
}

fn assessments(hub: DataHub) -> Candidate {
    Candidate {
        operation: Operation::View,
        source: "assessments",
        view: "assessments",
        title: "Assessments",
        roles: &["admin", "assessor", "reader"],
        build: Box::new(move |scope, _intent| {
            let rows = CursorNode::over(hub.clone(), "assessments", scope);
            Ok(AssessmentsController::with_rows(rows))
        }),
    }
}

async fn fill(db: &Db, rows: u64) -> Result<(), Error> {
    if demo::is_empty(db).await? {
        demo::seed(db, rows).await?;
    }
    for (login, password, role) in DEMO_ACCOUNTS {
        if db.find_role(login).await?.is_none() {
            cli::add_user(db, login, password, role).await?;
        }
        let _ = writeln!(std::io::stdout(), "demo account: {login} / {password} ({role})");
    }
    Ok(())
}
