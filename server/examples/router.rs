//! `cargo run -p coati-server --example router -- --addr 127.0.0.1:8080 --realm realm1`: a bare WAMP router.
//!
//! Without `--config`, everybody who reaches the address is `anonymous` and may do everything.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, rc::Rc};

use clap::Parser;
use coati_server::{
    Config, Result, Server, ServerBuilder,
    config::file::RouterFile,
    repl,
    router::{Limits, Open},
    telemetry,
};

/// A bare WAMP router for any client: WebSocket at /ws with JSON, MessagePack or CBOR.
#[derive(Parser)]
struct Options {
    /// Where to listen; 127.0.0.1:8080 unless the configuration says otherwise.
    #[arg(long)]
    addr: Option<SocketAddr>,
    /// The realm that it routes; realm1 unless the configuration says otherwise.
    #[arg(long)]
    realm: Option<String>,
    /// Connections that one address may have.
    #[arg(long)]
    per_address: Option<usize>,
    /// Realm, roles, transports, limits and components; see router.toml beside this file.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Instead of routing, open a prompt on the router at this address, such as ws://127.0.0.1:8080/ws.
    #[arg(long, value_name = "URL")]
    repl: Option<String>,
    /// The login token for the prompt, where the router wants one.
    #[arg(long, env = "COATI_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Where the prompt keeps the lines typed.
    #[arg(long)]
    history: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::start_logging();
    let ended = match options.repl.clone() {
        Some(url) => prompt(url, options).await,
        None => match builder(options) {
            Ok(server) => server.run().await,
            Err(error) => Err(error),
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the program ends");
            ExitCode::FAILURE
        }
    }
}

async fn prompt(url: String, options: Options) -> Result<()> {
    let prompt = repl::Options {
        url,
        realm: options.realm.unwrap_or_else(|| "realm1".to_owned()),
        token: options.token,
        history: options.history,
    };
    let say = |line: &str| {
        // A closed terminal is noticed by who reads from it.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    repl::run(prompt, Rc::new(say)).await
}

fn builder(options: Options) -> Result<ServerBuilder> {
    let mut config = Config::default();
    config.address.set_port(8080);
    if let Some(limit) = options.per_address {
        config.connections.per_address = limit;
    }
    let mut server = match options.config {
        Some(file) => RouterFile::read(&file)?.builder(config)?,
        None => Server::builder()
            .config(config)
            .authorizer(Box::new(Open))
            .role_limits("anonymous", Limits::COMPONENT)
            .meta_role("anonymous"),
    };
    if let Some(address) = options.addr {
        server = server.address(address);
    }
    if let Some(realm) = options.realm {
        server = server.realm(realm);
    }
    Ok(server)
}
