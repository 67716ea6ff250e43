//! What operators do from a terminal beside a running server: hand out tokens, and look inside at a prompt.

use std::{io::IsTerminal, path::PathBuf, rc::Rc};

use clap::{Args, Subcommand};
use server::{
    Error, ErrorKind,
    auth::{MOST_TOKEN_DAYS, issue_token},
    repl,
};

use crate::{
    cli::{Database, say},
    serve,
};

/// The role whose people are operators when they come with a token.
pub(crate) const OPERATORS: &str = "admin";

/// Where the prompt looks for its token first. Not an option: those show in the list of processes.
const TOKEN_VARIABLE: &str = "SAFETY_TOKEN";

/// Digits of a token's hash that name it.
const ID_LENGTH: usize = 8;

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token that acts as an account, and print it; only its hash is kept.
    Add {
        /// Login name of the account. With an `admin`'s, `safety repl` can be used.
        login: String,
        /// What it is for, as `token list` shows it.
        #[arg(long, default_value = "operator")]
        label: String,
        /// How many days it holds.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_TOKEN_DAYS)))]
        days: u32,
        #[command(flatten)]
        database: Database,
    },
    /// Show the tokens that hold: id, account, day of the end, label.
    List {
        #[command(flatten)]
        database: Database,
    },
    /// End a token. Who uses it is cut off within half a minute.
    Remove {
        /// The id that `token list` shows.
        id: String,
        #[command(flatten)]
        database: Database,
    },
}

/// Options of `repl`.
#[derive(Debug, Args)]
pub(crate) struct Repl {
    /// Where the server takes sockets.
    #[arg(long, env = "SAFETY_URL", default_value = "ws://127.0.0.1:3000/ws")]
    url: String,
    /// The realm to join.
    #[arg(long, env = "SAFETY_REALM", default_value = serve::REALM)]
    realm: String,
    /// File with the token that `safety token add` printed. Without it: SAFETY_TOKEN, or a prompt.
    #[arg(long, env = "SAFETY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Where typed lines are kept; `.safety_history` in the home folder unless said otherwise.
    #[arg(long, env = "SAFETY_HISTORY")]
    history: Option<PathBuf>,
}

pub(crate) async fn token(command: TokenCommand) -> Result<(), Error> {
    match command {
        TokenCommand::Add {
            login,
            label,
            days,
            database,
        } => {
            let db = serve::open(&database.database).await?;
            if db.find_role(&login).await?.is_none() {
                let text = format!("There is no account {login:?}; make it with: safety user add");
                return Err(Error::new(ErrorKind::Accounts, text));
            }
            say(&issue_token(&db, &login, &label, days).await?);
        }
        TokenCommand::List { database } => {
            let db = serve::open(&database.database).await?;
            for token in db.tokens().await? {
                let id = &token.token.to_hex()[..ID_LENGTH];
                let end = chrono::DateTime::from_timestamp(token.expires, 0).unwrap_or_default();
                let label = token.label.unwrap_or_default();
                say(&format!(
                    "{id}  {}  {}  {label}",
                    token.name,
                    end.format("%Y-%m-%d %H:%M")
                ));
            }
        }
        TokenCommand::Remove { id, database } => {
            let is_id = id.len() == ID_LENGTH && id.bytes().all(|digit| digit.is_ascii_hexdigit());
            let db = serve::open(&database.database).await?;
            let found = if is_id {
                db.remove_token(&id.to_ascii_lowercase()).await?
            } else {
                0
            };
            match found {
                1 => say(&format!("The token {id} has ended.")),
                0 => {
                    let text = format!("There is no token {id:?}; safety token list shows all");
                    return Err(Error::new(ErrorKind::Accounts, text));
                }
                more => {
                    let text = format!("{more} tokens have the id {id}; none was ended");
                    return Err(Error::new(ErrorKind::Accounts, text));
                }
            }
        }
    }
    Ok(())
}

pub(crate) async fn repl(options: Repl) -> Result<(), Error> {
    let token = read_token(options.token_file)?;
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".safety_history"));
    let prompt = repl::Options {
        url: options.url,
        realm: options.realm,
        token: Some(token),
        history: options.history.or_else(home),
    };
    repl::run(prompt, Rc::new(say)).await
}

fn read_token(file: Option<PathBuf>) -> Result<String, Error> {
    let token = if let Some(file) = file {
        std::fs::read_to_string(&file).map_err(|error| {
            let text = format!("The token in {} cannot be read", file.display());
            Error::new(ErrorKind::Io, text).because(error)
        })?
    } else if let Ok(token) = std::env::var(TOKEN_VARIABLE) {
        token
    } else if std::io::stdin().is_terminal() {
        rpassword::prompt_password("Token: ")
            .map_err(|error| Error::new(ErrorKind::Io, "No token could be read").because(error))?
    } else {
        let text = format!(
            "A token is needed: make one with `safety token add LOGIN` and put it into {TOKEN_VARIABLE} or --token-file"
        );
        return Err(Error::configuration(text));
    };
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::configuration("That is no token"));
    }
    Ok(token.to_owned())
}
