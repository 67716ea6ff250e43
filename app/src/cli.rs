//! Safety's command line: what an operator types, or sets as environment variables.

use std::{
    io::{BufRead, IsTerminal, Write},
    net::SocketAddr,
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand};
use server::{
    Config, Error,
    data::{Db, FeedOptions},
};

use crate::{
    demo,
    operator::{self, Repl, TokenCommand},
    serve::{self, Trial},
};

/// Where the data is unless the operator says otherwise.
pub(crate) const DEFAULT_DATABASE: &str = "sqlite:data/safety.db";

/// Workplace-risk assessment: one binary with everything inside.
#[derive(Debug, Parser)]
#[command(name = "safety", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the application until Ctrl-C or SIGTERM.
    Serve(Serve),
    /// Bring the database to this version's schema.
    Migrate(Database),
    /// Fill the database with invented assessments, always the same ones.
    Seed {
        #[command(flatten)]
        database: Database,
        /// How many assessments.
        #[arg(long, env = "SAFETY_ROWS", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
        rows: u64,
    },
    /// Manage the people who may log in.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Manage the tokens by which operators and programs join instead of people in browsers.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Open an operator's prompt on a running server; without a terminal, obey the lines of standard input.
    Repl(Repl),
}

#[derive(Debug, Args)]
pub(crate) struct Database {
    /// Where the data is: `sqlite:FILE` (made when missing) or `postgres://…`.
    #[arg(long, env = "DATABASE_URL", default_value = DEFAULT_DATABASE)]
    pub(crate) database: String,
}

/// Options of `serve`.
#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on.
    #[arg(long, env = "SAFETY_ADDR", default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    #[command(flatten)]
    database: Database,
    /// Fill an empty database with demo data and one account per role, printed at start.
    #[arg(long, env = "SAFETY_DEMO")]
    demo: bool,
    /// How many assessments the demo data has.
    #[arg(long, env = "SAFETY_DEMO_ROWS", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    demo_rows: u64,
    /// Host names (`name` or `name:port`) that are served beside this machine's own.
    #[arg(long = "host", env = "SAFETY_HOSTS", value_delimiter = ',')]
    hosts: Vec<String>,
    /// A reverse proxy in front ends TLS.
    #[arg(long, env = "SAFETY_BEHIND_PROXY")]
    behind_proxy: bool,
    /// Let in-process hints wake the feed (`on`), or let only its timer find changes (`off`).
    #[arg(long, env = "COATI_FEED_HINTS", default_value = "on", value_parser = ["on", "off"])]
    feed_hints: String,
    /// Expect another fingerprint of the contracts than this build's, to see what an outdated client shows.
    #[arg(long, env = "COATI_TEST_CONTRACTS", hide = true, requires = "diagnostics")]
    expect_contracts: Option<String>,
    /// Offer a page with a button that panics on each side, to see what a user would see.
    #[arg(long, env = "SAFETY_DIAGNOSTICS", hide = true)]
    diagnostics: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Add somebody; the password comes from a prompt or, without a terminal, from standard input.
    Add {
        /// Login name.
        login: String,
        /// Role: `admin`, `assessor` or `reader`.
        #[arg(long, env = "SAFETY_ROLE", value_parser = ["admin", "assessor", "reader"])]
        role: String,
        #[command(flatten)]
        database: Database,
    },
}

/// Runs the command line; the exit code tells success.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("The system gives no threads: {error}")),
    };
    match runtime.block_on(run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve(options) => {
            server::telemetry::start_logging();
            let config = Config {
                address: options.addr,
                allowed_hosts: options.hosts,
                behind_proxy: options.behind_proxy,
                ..Config::default()
            };
            let feed = FeedOptions {
                hints: options.feed_hints == "on",
                ..FeedOptions::default()
            };
            let demo = options.demo.then_some(options.demo_rows);
            let trial = options.diagnostics.then_some(Trial {
                contracts: options.expect_contracts,
            });
            serve::serve(config, &options.database.database, feed, demo, trial).await
        }
        Command::Migrate(database) => {
            serve::open(&database.database).await?;
            say("The database is at this version's schema.");
            Ok(())
        }
        Command::Seed { database, rows } => {
            let db = serve::open(&database.database).await?;
            demo::seed(&db, rows).await?;
            say(&format!("{rows} assessments are there."));
            Ok(())
        }
        Command::User {
            command: UserCommand::Add { login, role, database },
        } => {
            let password = read_password()?;
            let db = serve::open(&database.database).await?;
            add_user(&db, &login, &password, &role).await?;
            say(&format!("{login} can log in as {role}."));
            Ok(())
        }
        Command::Token { command } => operator::token(command).await,
        Command::Repl(options) => operator::repl(options).await,
    }
}

/// Adds an account with a hashed password.
pub(crate) async fn add_user(db: &Db, login: &str, password: &str, role: &str) -> Result<(), Error> {
    if db.find_role(login).await?.is_some() {
        return Err(Error::configuration(format!("{login} exists already")));
    }
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || server::auth::hash_password(&password))
        .await
        .map_err(|_| Error::configuration("Hashing the password failed"))??;
    db.add_account(login, &hash, role).await
}

fn read_password() -> Result<String, Error> {
    let problem = |error: std::io::Error| Error::configuration(format!("No password could be read: {error}"));
    if std::io::stdin().is_terminal() {
        let first = rpassword::prompt_password("Password: ").map_err(problem)?;
        if rpassword::prompt_password("Once more: ").map_err(problem)? != first {
            return Err(Error::configuration("The two passwords differ"));
        }
        return Ok(first);
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(problem)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn fail(line: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "safety: {line}");
    ExitCode::FAILURE
}
