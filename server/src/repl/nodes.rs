//! The prompt's look into nodes: which there are, what they hold, and a value as it changes.

use std::{cell::Cell, rc::Rc};

use futures::future::{AbortHandle, Abortable};
use shared::{
    error::Result as CallResult,
    node::inspect::{Inspection, Shown},
    wamp::{
        CodecId, Payload,
        message::CallOptions,
        router::{NODE_FOLLOW, NODE_INSPECT},
    },
};
use tokio::sync::oneshot;

use super::{PATIENCE, Prompt, name, no_such};

/// Most nodes that one command walks over.
const MOST_NODES: usize = 1_000;

impl Prompt {
    async fn inspect(&self, path: &str) -> CallResult<Inspection> {
        self.ask(&format!("{path}.{NODE_INSPECT}"), &[]).await
    }

    /// The paths of nodes without a parent: each is registered as the prefix of all that is below it.
    async fn roots(&self) -> CallResult<Vec<String>> {
        let all = self.all("registration", "callees").await?;
        let prefixes = all.into_iter().filter(|(_, policy, _)| policy == "prefix");
        let roots = prefixes.filter_map(|(uri, _, _)| uri.strip_suffix('.').map(str::to_owned));
        Ok(roots.collect())
    }

    /// Shows the nodes at a path and below, or just all roots.
    pub(super) async fn nodes(&self, path: &str) -> CallResult<()> {
        let deep = !path.is_empty();
        let mut waiting: Vec<(usize, String)> = self.roots().await?.into_iter().map(|root| (0, root)).collect();
        if deep {
            let below = format!("{path}.");
            waiting.retain(|(_, root)| root == path || root.starts_with(&below));
            if waiting.is_empty() {
                waiting.push((0, path.to_owned()));
            }
        }
        waiting.reverse();
        let mut shown = 0;
        while let Some((depth, path)) = waiting.pop() {
            if shown == MOST_NODES {
                (self.say)(&format!("… and more: {MOST_NODES} nodes are shown at once"));
                break;
            }
            shown += 1;
            self.remember([path.clone()].into_iter());
            let indent = "  ".repeat(depth);
            let label = if depth == 0 {
                path.as_str()
            } else {
                path.rsplit('.').next().unwrap_or_default()
            };
            match self.inspect(&path).await {
                Ok(found) => {
                    (self.say)(&format!("{indent}{label}  {}", found.kind));
                    if deep {
                        let children = found.children.iter().rev();
                        waiting.extend(children.map(|child| (depth + 1, format!("{path}.{child}"))));
                        if found.left_out > 0 {
                            (self.say)(&format!("{indent}  … and {} more", found.left_out));
                        }
                    }
                }
                // Other programs register prefixes too, and a node may go while we walk.
                Err(error) if depth > 0 || !deep || shown > 1 || !waiting.is_empty() => {
                    (self.say)(&format!("{indent}{label}  ({})", error.message));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Shows what a node is and holds.
    pub(super) async fn state(&self, path: &str) -> CallResult<()> {
        let found = self.inspect(path).await?;
        self.remember([path.to_owned()].into_iter());
        (self.say)(&format!("{path}  {}", found.kind));
        for (contract, methods) in &found.contracts {
            (self.say)(&format!("  {contract}: {}", methods.join(", ")));
        }
        for signal in &found.signals {
            (self.say)(&format!("  signal {signal}"));
        }
        for (name, shown) in &found.state {
            (self.say)(&format!("  {name} = {}", text(shown)));
        }
        for child in &found.children {
            (self.say)(&format!("  .{child}"));
        }
        if found.left_out > 0 {
            (self.say)(&format!("  … and {} more", found.left_out));
        }
        Ok(())
    }

    /// Shows a value now, which this waits for, and whenever it changes.
    pub(super) async fn follow(&mut self, path: String, value: String) -> CallResult<()> {
        let procedure = name(&format!("{path}.{NODE_FOLLOW}"))?;
        let payload = Payload::encode(CodecId::Json, &(&value,))?;
        let (say, peer) = (Rc::clone(&self.say), self.peer.clone());
        let head = format!("{path} {value}");
        let (begin, begun) = oneshot::channel();
        let begin = Rc::new(Cell::new(Some(begin)));
        let progress = Rc::new({
            let (say, head, begin) = (Rc::clone(&say), head.clone(), Rc::clone(&begin));
            move |payload: Payload| {
                match payload.decode_args::<(Shown,)>() {
                    Ok((shown,)) => say(&format!("{head} = {}", text(&shown))),
                    Err(error) => say(&format!("{head}: {}", error.message)),
                }
                if let Some(begin) = begin.take() {
                    let _ = begin.send(Ok(()));
                }
            }
        });
        let (handle, registration) = AbortHandle::new_pair();
        let call = async move {
            let ended = peer
                .call_progressive(&procedure, payload, CallOptions::default(), progress)
                .await;
            let why = ended.err().unwrap_or_else(|| no_such("The node has ended it."));
            match begin.take() {
                Some(begin) => drop(begin.send(Err(why))),
                None => say(&format!("{head} is not followed any more: {}", why.message)),
            }
        };
        tokio::task::spawn_local(Abortable::new(call, registration));
        let silent = || no_such("The node does not answer.");
        match tokio::time::timeout(PATIENCE, begun).await {
            Ok(Ok(answer)) => answer?,
            Ok(Err(_)) | Err(_) => {
                handle.abort();
                return Err(silent());
            }
        }
        if let Some(former) = self.followed.insert((path, value), handle) {
            former.abort();
        }
        Ok(())
    }

    pub(super) fn unfollow(&mut self, path: String, value: String) -> CallResult<()> {
        let followed = self.followed.remove(&(path, value));
        followed.ok_or_else(|| no_such("It is not followed."))?.abort();
        Ok(())
    }
}

fn text(shown: &Shown) -> String {
    match shown {
        Shown::Value(json) => json.clone(),
        Shown::Secret => "(secret)".to_owned(),
        Shown::Opaque => "(not shown: its type does not serialise)".to_owned(),
        Shown::TooLarge(bytes) => format!("({bytes} bytes, too many to show)"),
    }
}
