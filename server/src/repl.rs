//! An operator's prompt: joins a running server as a component, looks around, calls, publishes and watches.

use std::{cell::RefCell, collections::BTreeMap, fmt, io::IsTerminal, path::PathBuf, rc::Rc, time::Duration};

use futures::future::AbortHandle;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::{
    error::{Error as CallError, Result as CallResult},
    wamp::{
        CodecId, Join, MatchPolicy, Payload, Peer, Uri,
        message::{CallOptions, PublishOptions, SubscribeOptions},
        peer::{Event, Subscription},
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::LocalSet,
};

mod command;
mod nodes;
mod terminal;

use crate::{
    error::{Error, ErrorKind, Result},
    peer::websocket::Dial,
};
use command::{COMMANDS, Command, Message, parse};

/// How long a look at a registration, a session or a node may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where to join and how.
#[derive(Clone)]
pub struct Options {
    /// Such as `ws://127.0.0.1:3000/ws`.
    pub url: String,
    /// The realm.
    pub realm: String,
    /// The login token; none for bare routers.
    pub token: Option<String>,
    /// Where the lines typed are kept; none = nowhere.
    pub history: Option<PathBuf>,
}

impl fmt::Debug for Options {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        formatter
            .debug_struct("Options")
            .field("url", &self.url)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// Takes what the prompt says, a line at a time.
pub type Say = Rc<dyn Fn(&str)>;

/// Runs the prompt until `quit` or the end of the input. Without a terminal, lines are read from standard input, and
/// commands that failed are an error in the end.
///
/// # Errors
/// [`ErrorKind::Link`] when the server cannot be reached, refuses or has gone; [`ErrorKind::Commands`].
pub async fn run(options: Options, say: Say) -> Result<()> {
    // The line editor has a thread of its own. A line is typed when the one before has been answered.
    let (lines, typed) = mpsc::channel(1);
    let names = Names::default();
    let mut say = say;
    let is_script = !std::io::stdin().is_terminal();
    if is_script {
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
                if !hand_over(line, &lines) {
                    return;
                }
            }
        });
    } else {
        let (history, names) = (options.history.clone(), names.clone());
        let (ready, edits) = oneshot::channel();
        std::thread::spawn(move || terminal::edit(history, names, &lines, ready));
        if let Ok(Some(printer)) = edits.await {
            let printer = RefCell::new(printer);
            say = Rc::new(move |line: &str| {
                // A closed terminal is noticed by who reads from it.
                let _ = printer.borrow_mut().print(format!("{line}\n"));
            });
        }
    }
    let failed = LocalSet::new().run_until(converse(options, typed, names, say)).await?;
    if is_script && failed > 0 {
        let text = format!("{failed} of the commands failed");
        return Err(Error::new(ErrorKind::Commands, text));
    }
    Ok(())
}

/// A line, and whom to tell that it was answered.
pub type Typed = (String, std::sync::mpsc::SyncSender<()>);

/// Hands a line over and waits for its answer. False when nobody answers any more.
fn hand_over(line: String, lines: &mpsc::Sender<Typed>) -> bool {
    let (done, answered) = std::sync::mpsc::sync_channel(1);
    lines.blocking_send((line, done)).is_ok() && answered.recv().is_ok()
}

/// Names that can be completed, shared with the editor's thread.
pub type Names = std::sync::Arc<std::sync::Mutex<Vec<String>>>;

/// Answers the lines that come, until there are no more; how many could not be obeyed. To be run in a `LocalSet`.
///
/// # Errors
/// [`ErrorKind::Link`] as [`run`].
pub async fn converse(options: Options, mut typed: mpsc::Receiver<Typed>, names: Names, say: Say) -> Result<usize> {
    // What peers are called and say must not take over the terminal.
    let say: Say = Rc::new(move |line: &str| say(&plain(line)));

    let dial = Dial {
        codec: CodecId::Json,
        token: options.token,
        ..Dial::new(options.url)
    };
    let realm = Uri::loose(&options.realm)
        .map_err(|error| Error::configuration(format!("{:?} is no realm", options.realm)).because(error))?;
    let joined = Peer::join(
        shared::platform::default_platform(),
        dial.connect().await?,
        Join::new(realm),
    );
    let peer = joined
        .await
        .map_err(|error| Error::new(ErrorKind::Link, "The server does not let us join").because(error))?;
    let who = peer.session();
    say(&format!(
        "Joined as {} ({}). help lists the commands.",
        who.authid, who.authrole
    ));
    let mut prompt = Prompt {
        peer,
        say,
        names,
        watched: BTreeMap::new(),
        followed: BTreeMap::new(),
    };
    let mut failed = 0;
    loop {
        let (line, done) = tokio::select! {
            typed = typed.recv() => match typed {
                Some(typed) => typed,
                None => break,
            },
            reason = prompt.peer.closed() => {
                return Err(Error::new(ErrorKind::Link, format!("The server has closed the session: {}", reason.uri)));
            }
        };
        match parse(&line) {
            Ok(Command::Quit) => break,
            Ok(command) => {
                if let Err(error) = prompt.obey(command).await {
                    failed += 1;
                    (prompt.say)(&format!("{}: {}", error.uri, error.message));
                }
            }
            Err(text) => {
                failed += 1;
                (prompt.say)(&text);
            }
        }
        // The editor may have ended.
        let _ = done.send(());
    }
    prompt.peer.leave(shared::wamp::uri::close::CLOSE_REALM).await;
    Ok(failed)
}

/// A line without control characters.
fn plain(line: &str) -> String {
    let escaped = |character: char| {
        let escape = character.is_control().then(|| character.escape_default());
        escape
            .into_iter()
            .flatten()
            .chain((!character.is_control()).then_some(character))
    };
    line.chars().flat_map(escaped).collect()
}

struct Prompt {
    peer: Peer,
    say: Say,
    names: Names,
    watched: BTreeMap<String, Subscription>,
    /// By the path of the node and the name of the value.
    followed: BTreeMap<(String, String), AbortHandle>,
}

impl Prompt {
    async fn obey(&mut self, command: Command) -> CallResult<()> {
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Help => {
                for (name, arguments, text) in COMMANDS {
                    (self.say)(&format!("  {name} {arguments}"));
                    (self.say)(&format!("      {text}"));
                }
            }
            Command::Realms => (self.say)(self.peer.session().realm.as_str()),
            Command::Sessions => self.sessions().await?,
            Command::Registrations => self.list("registration", "callees").await?,
            Command::Subscriptions => self.list("subscription", "subscribers").await?,
            Command::Tree(path) => self.tree(&path).await?,
            Command::Nodes(path) => self.nodes(&path).await?,
            Command::State(path) => self.state(&path).await?,
            Command::Follow(path, value) => self.follow(path, value).await?,
            Command::Unfollow(path, value) => self.unfollow(path, value)?,
            Command::Wait(time) => tokio::time::sleep(time).await,
            Command::Call(message) => {
                let result = self.call(&message.uri, payload(&message)?).await?;
                show(&self.say, "", &result)?;
            }
            Command::Publish(message) => {
                let options = PublishOptions {
                    acknowledge: true,
                    ..PublishOptions::default()
                };
                let topic = name(&message.uri)?;
                self.peer
                    .publish_acknowledged(&topic, payload(&message)?, options)
                    .await?;
                (self.say)("published");
            }
            Command::Watch(topic, policy) => self.watch(topic, policy).await?,
            Command::Unwatch(topic) => match self.watched.remove(&topic) {
                Some(subscription) => subscription.unsubscribe().await?,
                None => return Err(no_such("It is not watched.")),
            },
        }
        Ok(())
    }

    async fn call(&self, procedure: &str, payload: Payload) -> CallResult<Payload> {
        self.peer.call(&name(procedure)?, payload, CallOptions::default()).await
    }

    /// Asks the meta API, or a node about itself.
    async fn ask<T: DeserializeOwned>(&self, procedure: &str, args: &[Value]) -> CallResult<T> {
        let options = CallOptions {
            timeout: u64::try_from(PATIENCE.as_millis()).ok(),
            ..CallOptions::default()
        };
        let payload = Payload::encode(CodecId::Json, args)?;
        let answer = self.peer.call(&name(procedure)?, payload, options).await?;
        let (value,): (T,) = answer.decode_args()?;
        Ok(value)
    }

    /// Keeps names for completion.
    fn remember(&self, found: impl Iterator<Item = String>) {
        if let Ok(mut names) = self.names.lock() {
            names.extend(found);
            names.sort();
            names.dedup();
        }
    }

    async fn sessions(&self) -> CallResult<()> {
        let ids: Vec<u64> = self.ask("wamp.session.list", &[]).await?;
        for id in ids {
            // One that has left meanwhile is no failure.
            if let Ok(session) = self.ask::<Value>("wamp.session.get", &[id.into()]).await {
                let text = |key: &str| session[key].as_str().unwrap_or("-").to_owned();
                (self.say)(&format!(
                    "{id}  {}  {}  {}",
                    text("authid"),
                    text("authrole"),
                    text("authmethod")
                ));
            }
        }
        Ok(())
    }

    /// Name, match policy and number of members of all registrations or subscriptions.
    async fn all(&self, kind: &str, members: &str) -> CallResult<Vec<(String, String, u64)>> {
        let lists: BTreeMap<String, Vec<u64>> = self.ask(&format!("wamp.{kind}.list"), &[]).await?;
        let mut found = Vec::new();
        for (policy, ids) in lists {
            for id in ids {
                let about = self.ask::<Value>(&format!("wamp.{kind}.get"), &[id.into()]).await;
                let count = self
                    .ask::<u64>(&format!("wamp.{kind}.count_{members}"), &[id.into()])
                    .await;
                if let (Ok(about), Ok(count)) = (about, count) {
                    let uri = about["uri"].as_str().unwrap_or_default().to_owned();
                    found.push((uri, policy.clone(), count));
                }
            }
        }
        found.sort();
        self.remember(found.iter().map(|(uri, _, _)| uri.clone()));
        Ok(found)
    }

    async fn list(&self, kind: &str, members: &str) -> CallResult<()> {
        for (uri, policy, count) in self.all(kind, members).await? {
            (self.say)(&format!("{uri}  ({policy})  {count} {members}"));
        }
        Ok(())
    }

    /// Procedures and topics by the parts of their names, which are the paths of nodes.
    async fn tree(&self, path: &str) -> CallResult<()> {
        let mut lines = BTreeMap::new();
        for (kind, members, mark) in [("registration", "callees", "()"), ("subscription", "subscribers", "")] {
            for (uri, _, count) in self.all(kind, members).await? {
                let below = path.is_empty() || uri == path || uri.starts_with(&format!("{path}."));
                if below {
                    lines.insert(format!("{uri}{mark}"), count);
                }
            }
        }
        let mut before: Vec<String> = Vec::new();
        for (uri, count) in lines {
            let parts: Vec<String> = uri.split('.').map(str::to_owned).collect();
            let common = parts
                .iter()
                .zip(&before)
                .take_while(|(one, other)| one == other)
                .count();
            for (depth, part) in parts.iter().enumerate().skip(common) {
                let count = if depth + 1 == parts.len() {
                    format!("  {count}")
                } else {
                    String::new()
                };
                (self.say)(&format!("{}{part}{count}", "  ".repeat(depth)));
            }
            before = parts;
        }
        Ok(())
    }

    async fn watch(&mut self, topic: String, policy: MatchPolicy) -> CallResult<()> {
        let say = Rc::clone(&self.say);
        let shown = topic.clone();
        let handler = Rc::new(move |event: Event| {
            let head = if policy == MatchPolicy::Exact {
                format!("{shown}: ")
            } else {
                format!("{}: ", event.topic)
            };
            if let Err(error) = show(&say, &head, &event.payload) {
                say(&format!("{head}{}", error.message));
            }
        });
        let options = SubscribeOptions {
            policy,
            ..SubscribeOptions::default()
        };
        // Patterns have rules of their own; the router checks them.
        let pattern = match policy {
            MatchPolicy::Exact => name(&topic)?,
            MatchPolicy::Prefix | MatchPolicy::Wildcard => Uri::unchecked(topic.as_str()),
        };
        let subscription = self.peer.subscribe(&pattern, options, handler).await?;
        (self.say)(&format!("watching {topic}"));
        self.watched.insert(topic, subscription);
        Ok(())
    }
}

fn name(text: &str) -> CallResult<Uri> {
    Uri::loose(text).map_err(|error| {
        CallError::new(
            shared::error::ErrorKind::InvalidArgument,
            format!("{text:?} is no name: {error}"),
        )
    })
}

fn no_such(text: impl Into<String>) -> CallError {
    CallError::new(shared::error::ErrorKind::NotFound, text)
}

fn payload(message: &Message) -> CallResult<Payload> {
    let payload = Payload::encode(CodecId::Json, &message.args)?;
    if message.kwargs.is_empty() {
        return Ok(payload);
    }
    payload.with_kwargs(&message.kwargs)
}

fn show(say: &Say, head: &str, payload: &Payload) -> CallResult<()> {
    let args: Vec<Value> = payload.decode_args()?;
    let kwargs: BTreeMap<String, Value> = payload.decode_kwargs()?;
    let args = args.iter().map(Value::to_string);
    let kwargs = kwargs.iter().map(|(name, value)| format!("{name}={value}"));
    say(&format!("{head}{}", args.chain(kwargs).collect::<Vec<_>>().join(" ")));
    Ok(())
}
