//! The database file: what must hold when it is opened, and what is said when it does not.
#![cfg(feature = "data")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a test stops at the first surprise")]

mod data_support;

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use coati_server::{
    auth::{AccountStore, Login, Root, RootStore, TokenHash, issue_token, unix_now},
    data::{Backend, Db, Statement},
};
use data_support::{Bench, migrations};
use shared::{data::Cell, error::ErrorKind};

async fn open(path: &Path) -> Result<Db, shared::error::Error> {
    Db::connect(&format!("sqlite:{}", path.display())).await
}

#[tokio::test]
async fn each_reason_not_to_open_has_its_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let missing = open(&path("nowhere/safety.db")).await.unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
    assert!(
        missing.message.contains("nowhere") && missing.message.contains("does not exist"),
        "{missing}"
    );

    std::fs::write(
        path("text.db"),
        "This is a letter to my aunt, and longer than a header of one hundred bytes. ".repeat(9),
    )
    .unwrap();
    let text = open(&path("text.db")).await.unwrap_err();
    assert!(
        text.message.contains("text.db") && text.message.contains("not a SQLite database"),
        "{text}"
    );

    drop(open(&path("frozen.db")).await.unwrap());
    let mut permissions = std::fs::metadata(path("frozen.db")).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(path("frozen.db"), permissions).unwrap();
    let frozen = open(&path("frozen.db")).await.unwrap_err();
    assert!(frozen.message.contains("frozen.db is read-only"), "{frozen}");

    let is_folder = open(folder.path()).await.unwrap_err();
    assert!(is_folder.message.contains("is a folder"), "{is_folder}");
    for url in ["mysql://x", "sqlite:", "sqlite::memory:", ""] {
        assert_eq!(
            Db::connect(url).await.unwrap_err().kind,
            ErrorKind::InvalidArgument,
            "{url}"
        );
    }
    for error in [missing, text, frozen, is_folder] {
        assert!(!error.message.contains('\n'));
    }
}

#[tokio::test]
async fn the_bundled_sqlite_is_new_enough_and_every_connection_is_set_up() {
    let bench = Bench::new().await;
    assert_eq!(bench.db.backend(), Backend::Sqlite);
    let mut reader = bench.db.read().await.unwrap();
    let mut writer = bench.db.write().await.unwrap();
    for (pragma, value) in [
        ("journal_mode", Cell::from("wal")),
        ("synchronous", 2.into()),
        ("foreign_keys", 1.into()),
        ("recursive_triggers", 1.into()),
        ("busy_timeout", 5_000.into()),
    ] {
        let statement = Statement::new(format!("PRAGMA {pragma}"), Vec::new());
        assert_eq!(
            reader.fetch_one(&statement).await.unwrap(),
            Some(vec![value.clone()]),
            "{pragma}"
        );
        assert_eq!(
            writer.fetch_one(&statement).await.unwrap(),
            Some(vec![value]),
            "{pragma}"
        );
    }
    let statement = Statement::new("DELETE FROM assessment", Vec::new());
    assert!(reader.execute(&statement).await.is_err(), "a reader cannot write");
    let version = writer
        .fetch_one(&Statement::new("SELECT sqlite_version()", Vec::new()))
        .await
        .unwrap()
        .unwrap();
    let numbers: Vec<u32> = version[0]
        .as_text()
        .unwrap()
        .split('.')
        .map(|part| part.parse().unwrap())
        .collect();
    assert!(numbers >= vec![3, 51, 3], "{version:?} may lose writes");
}

#[tokio::test]
async fn migrating_again_changes_nothing_and_both_dialects_have_the_same_numbers() {
    let bench = Bench::new().await;
    bench.db.migrate(&migrations()).await.unwrap();
    let numbers = |migrator: &sqlx::migrate::Migrator| {
        migrator
            .iter()
            .map(|one| (one.version, one.description.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(numbers(&migrations().sqlite), numbers(&migrations().postgres));
    let mut other = bench.other().await;
    let tables = other
        .rows("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%migration%' ORDER BY 1")
        .await;
    assert_eq!(
        tables,
        [["_sqlx_migrations"], ["coati_migration"]],
        "each has a version table of its own"
    );
}

#[tokio::test]
async fn a_database_that_is_newer_than_the_program_is_refused() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)").await;
    let error = bench.db.migrate(&migrations()).await.unwrap_err();
    assert!(
        error.message.contains("9999") && error.message.contains("newer"),
        "{error}"
    );
}

#[tokio::test]
async fn both_dialects_describe_the_same_tables() {
    let read = |dialect: &str, file: &str| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(root.join(file.replace('@', dialect))).unwrap();
        columns(&text)
    };
    assert_eq!(
        read("sqlite", "../migrations/@/0001_safety.sql"),
        read("postgres", "../migrations/@/0001_safety.sql")
    );
}

/// Table and column names with whether null is refused, in order.
fn columns(sql: &str) -> Vec<(String, String, bool)> {
    let mut table = String::new();
    let mut found = Vec::new();
    for line in sql.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["CREATE", "TABLE", name, ..] => table = (*name).to_owned(),
            [name, kind, ..] if ["INTEGER", "TEXT", "bigint", "text", "date"].contains(&kind.trim_end_matches(',')) => {
                let required = line.contains("NOT NULL") || line.contains("PRIMARY KEY");
                found.push((table.clone(), (*name).to_owned(), required));
            }
            _ => {}
        }
    }
    assert!(found.len() > 15);
    found
}

#[tokio::test]
async fn accounts_and_logins_survive_and_end() {
    let bench = Bench::new().await;
    let db = &bench.db;
    assert!(!db.has_accounts().await.unwrap());
    assert!(db.put_account("Ada", "hash-1", "admin").await.unwrap());
    assert!(
        !db.put_account("ada", "hash-2", "reader").await.unwrap(),
        "names ignore case"
    );
    let account = db.find_account("ADA").await.unwrap().unwrap();
    assert_eq!(
        (
            account.name.as_str(),
            account.password_hash.as_str(),
            account.role.as_str()
        ),
        ("Ada", "hash-2", "reader")
    );
    assert_eq!(db.find_role("nobody").await.unwrap(), None);
    for bad in ["", "two words", "a\nb", &"x".repeat(101)] {
        assert!(db.put_account(bad, "hash", "admin").await.is_err());
    }
    let now = unix_now();
    let login = Login {
        token: TokenHash::of("t"),
        name: "Ada".into(),
        created: now,
        seen: now,
        expires: now + 60,
        label: None,
    };
    db.create_login(login.clone()).await.unwrap();
    db.touch_login(login.token, now + 5).await.unwrap();
    let (found, account) = db.find_login(login.token).await.unwrap().unwrap();
    assert_eq!((found.seen, account.enabled), (now + 5, true));
    let stored = TokenHash::of("u");
    let old = Login {
        token: stored,
        expires: now - 1,
        ..login.clone()
    };
    db.create_login(old).await.unwrap();
    db.create_login(Login {
        token: TokenHash::of("v"),
        ..login.clone()
    })
    .await
    .unwrap();
    assert!(
        db.find_login(stored).await.unwrap().is_none(),
        "expired logins are swept"
    );
    db.delete_login(login.token).await.unwrap();
    assert!(db.find_login(login.token).await.unwrap().is_none());
    assert!(
        db.create_login(Login {
            name: "Nobody".into(),
            ..login
        })
        .await
        .is_err()
    );

    // The one who changed the password may have done so because somebody else knew it.
    let token = issue_token(db, "Ada", "prompt", 1).await.unwrap();
    assert_eq!(db.tokens().await.unwrap().len(), 1);
    assert!(db.find_login(TokenHash::of("v")).await.unwrap().is_some());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = told.clone();
    db.changes()
        .unwrap()
        .listen(move |name| heard.lock().unwrap().push(name.to_owned()));
    db.put_account("ada", "hash-3", "reader").await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["Ada"], "for the sockets that are open");
    for old in ["v", &token] {
        assert!(
            db.find_login(TokenHash::of(old)).await.unwrap().is_none(),
            "a new password ends old logins"
        );
    }
    let token = TokenHash::of(&issue_token(db, "Ada", "prompt", 1).await.unwrap());
    assert_eq!(db.remove_token("zz").await.unwrap(), 0);
    assert_eq!(db.remove_token(&token.to_hex()[..8]).await.unwrap(), 1);
    assert_eq!(db.tokens().await.unwrap(), []);

    let root = Root {
        base: "root.1".into(),
        name: "Ada".into(),
        secret: TokenHash::of("s"),
    };
    db.save_root(root.clone()).await.unwrap();
    db.save_root(Root {
        secret: TokenHash::of("s2"),
        ..root.clone()
    })
    .await
    .unwrap();
    assert_eq!(
        db.find_root("root.1").await.unwrap().unwrap().secret,
        TokenHash::of("s2")
    );
    db.delete_root("root.1").await.unwrap();
    assert_eq!(db.find_root("root.1").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_of_another_process_makes_ours_wait_but_not_fail() {
    let bench = Bench::new().await;
    let mut other = bench.other().await;
    other.run("BEGIN IMMEDIATE").await;
    let db = bench.db.clone();
    let ours = tokio::spawn(async move {
        let mut transaction = db.write().await?;
        transaction
            .execute(&Statement::new("UPDATE site SET city = 'X' WHERE id = 1", Vec::new()))
            .await?;
        db.commit(transaction).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!ours.is_finished());
    other.run("COMMIT").await;
    ours.await.unwrap().unwrap();
}

#[tokio::test]
async fn event_history_is_kept_and_forgotten_in_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("history.db").display());
    data_support::event_store_keeps_and_forgets(&url).await;
}
