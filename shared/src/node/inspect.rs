//! What an operator may see of a node: two calls that every node answers and the router passes on for operators only.
//!
//! [`NODE_INSPECT`] tells what the node is and holds; [`NODE_FOLLOW`] sends a value of it whenever that changes, until the
//! caller gives up or the node goes. State that is marked `#[secret]` is named, and its value never leaves the tree.

use std::{cell::RefCell, rc::Rc, time::Duration};

use futures::{StreamExt, channel::mpsc};
use serde::{Deserialize, Serialize};

use super::Node;
use crate::{
    error::{Error, ErrorKind, Result},
    state::{StateCell, Watch},
    wamp::{
        payload::Payload,
        peer::Progress,
        router::{NODE_FOLLOW, NODE_INSPECT},
    },
};

/// Most bytes of names and values in one [`Inspection`]: a browser's messages have 64 KiB.
pub const MOST_SHOWN: usize = 32 * 1024;

/// The shortest time between two values that are sent to one who follows; what changes more often is merged.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// What a node is and holds: the answer of [`NODE_INSPECT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inspection {
    /// Name of its type.
    pub kind: String,
    /// Its contracts, with the names of their calls.
    pub contracts: Vec<(String, Vec<String>)>,
    /// Names of its signals.
    pub signals: Vec<String>,
    /// Its state by name.
    pub state: Vec<(String, Shown)>,
    /// Names of its children, in the order in which they were added.
    pub children: Vec<String>,
    /// How many children did not fit.
    pub left_out: usize,
}

/// What is shown of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// JSON.
    Value(String),
    /// It is marked `#[secret]`.
    Secret,
    /// Its type does not serialise.
    Opaque,
    /// This many bytes of JSON, which do not fit.
    TooLarge(usize),
}

/// What is asked of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Inspect,
    Follow,
}

impl Question {
    pub(super) fn of(method: &str) -> Option<Self> {
        match method {
            NODE_INSPECT => Some(Self::Inspect),
            NODE_FOLLOW => Some(Self::Follow),
            _ => None,
        }
    }
}

/// Answers an operator.
pub(super) async fn answer(
    node: Rc<dyn Node>,
    question: Question,
    arguments: Payload,
    progress: Progress,
) -> Result<Payload> {
    match question {
        Question::Inspect => Payload::encode(arguments.codec(), &(inspect(&*node)?,)),
        Question::Follow => {
            let (name,): (String,) = arguments.decode_args()?;
            follow(&node, &name, &arguments, &progress).await
        }
    }
}

/// What there is to see of a node.
fn inspect(node: &dyn Node) -> Result<Inspection> {
    let mut room = MOST_SHOWN;
    let mut fits = |size: usize| {
        let left = room.checked_sub(size);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let contracts = node.node_contracts().iter().map(|contract| {
        let methods = contract.methods.iter().map(|method| (*method).to_owned());
        (contract.name.to_owned(), methods.collect())
    });
    let signals = node.node_signals();
    let signals = signals.iter().map(|(name, _)| (*name).to_owned());
    let mut state = Vec::new();
    for entry in node.node_state() {
        let shown = match &entry.cell {
            _ if entry.is_secret => Shown::Secret,
            None => Shown::Opaque,
            Some(cell) => {
                let json = cell.read_json()?;
                if fits(json.len()) {
                    Shown::Value(json)
                } else {
                    Shown::TooLarge(json.len())
                }
            }
        };
        state.push((entry.name.to_owned(), shown));
    }
    let all = node.node_core().children();
    let mut children: Vec<String> = all.into_iter().map(|(name, _)| name).collect();
    let shown = children.iter().take_while(|name| fits(name.len() + 1)).count();
    let left_out = children.len() - shown;
    children.truncate(shown);
    Ok(Inspection {
        kind: node.node_type().to_owned(),
        contracts: contracts.collect(),
        signals: signals.collect(),
        state,
        children,
        left_out,
    })
}

/// The cell of a value that may be shown.
fn cell(node: &dyn Node, name: &str) -> Result<Rc<dyn StateCell>> {
    let entry = node.node_state().into_iter().find(|entry| entry.name == name);
    let unknown = || Error::new(ErrorKind::NotFound, format!("The node has no value {name}."));
    let entry = entry.ok_or_else(unknown)?;
    if entry.is_secret {
        let text = format!("The value {name} is secret.");
        return Err(Error::new(ErrorKind::NotAuthorized, text));
    }
    let opaque = || Error::new(ErrorKind::Refused, format!("The value {name} cannot be shown."));
    entry.cell.ok_or_else(opaque)
}

/// Sends a value now and after each change, until this future is dropped.
async fn follow(node: &Rc<dyn Node>, name: &str, arguments: &Payload, progress: &Progress) -> Result<Payload> {
    if !progress.is_wanted() {
        let text = "Whoever follows a value must take more than one result.";
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let gone = || Error::new(ErrorKind::Canceled, "The node was unbound.");
    let platform = node.node_core().context().ok_or_else(gone)?.platform().clone();
    let cell = cell(&**node, name)?;
    let newest = Rc::new(RefCell::new(None));
    let (bell, mut rung) = mpsc::channel(0);
    let _watch = Watch::new({
        let (newest, mut bell) = (newest.clone(), bell);
        move || {
            *newest.borrow_mut() = Some(cell.read_json());
            // One that is full has been rung and not been heard yet.
            let _ = bell.try_send(());
        }
    });
    while let Some(()) = rung.next().await {
        let Some(json) = newest.take() else { continue };
        let json = json?;
        let shown = if json.len() <= MOST_SHOWN {
            Shown::Value(json)
        } else {
            Shown::TooLarge(json.len())
        };
        progress.send(Payload::encode(arguments.codec(), &(shown,))?)?;
        platform.sleep(FOLLOW_EVERY).await;
    }
    Ok(Payload::empty(arguments.codec()))
}
