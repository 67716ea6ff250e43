//! A private PostgreSQL server for the tests of live data.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use sqlx::{AssertSqlSafe, PgConnection};

/// A private server, gone with the value.
pub struct Cluster {
    folder: tempfile::TempDir,
    binaries: PathBuf,
    port: u16,
}

impl Cluster {
    pub fn start() -> Self {
        let versions =
            std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is not installed: apt-get install postgresql");
        let binaries = versions
            .map(|version| version.unwrap().path().join("bin"))
            .max()
            .expect("a version of PostgreSQL");
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let cluster = Self { folder, binaries, port };
        let path = cluster.folder.path().display().to_string();
        assert!(Command::new("chmod").args(["777", &path]).status().unwrap().success());
        cluster.run("initdb", &["-A", "trust", "-U", "postgres", "--no-sync"]);
        let options = format!("-p {port} -k {path} -c listen_addresses=127.0.0.1 -c fsync=off");
        cluster.run("pg_ctl", &["-w", "-l", &format!("{path}/log"), "-o", &options, "start"]);
        cluster
    }

    /// PostgreSQL refuses to run as root, so root becomes `postgres` for it.
    pub fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.binaries.join(program);
        let data = self.folder.path().join("data");
        let as_root = std::fs::metadata("/proc/self")
            .map(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
            .unwrap_or(false);
        let mut command = if as_root {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        let status = command
            .arg("-D")
            .arg(data)
            .args(arguments)
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "{arguments:?}");
    }

    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["-m", "immediate", "stop"]);
    }
}

pub async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}
