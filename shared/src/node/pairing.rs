//! Pairs: nodes on several sides that know each other by role, such as a controller and its view.
//!
//! One party leads. It invites the others, each of which makes its node and answers where that is; when all have, every
//! role, and every other name of the pair, becomes a reference in the parties' contexts: `#view`, `#controller`,
//! `#origin`, for them and all below them, and for nobody else. One refusal, or no answer in time, ends the pair for all. Any
//! party may stop it. To invite again is fine, and is how a party that was away comes back.
//!
//! [`Pairing`] is the leader's part as a pure machine, [`Pair`] the shell around it for the node that leads;
//! [`join_pair`] is what an invited side does. What an invitation looks like on the wire is up to the application's
//! contracts; [`crate::session_root`] has those of browser and server.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    rc::Rc,
    time::Duration,
};

use futures::{
    FutureExt,
    future::{Either, LocalBoxFuture, join_all, ready, select},
};

use super::{Node, NodeContext, NodeExt};
use crate::{
    error::{Error, ErrorKind, Result},
    path::Path,
};

/// How long the leader waits for each party unless it says otherwise.
pub const PAIRING_TIMEOUT: Duration = Duration::from_secs(10);

/// How many parties a pair has besides its leader.
pub const PARTY_LIMIT: usize = 8;

/// What stands for what in a pair: roles and other names with their paths.
pub type Names = Vec<(String, Path)>;

/// What happens to a pair.
#[derive(Debug)]
pub enum Input {
    /// The leader wants everybody, for the first time or again.
    Invite,
    /// A party's answer to an invitation of that round: where its node is, or why there is none.
    Answer(u64, String, Result<Path>),
    /// A party, or with `None` the leader itself, stops the pair.
    Stop(Option<String>),
}

/// What the leader must do.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the party of that role for its node; the answer belongs to this round.
    Invite(u64, String),
    /// Everybody is there: the names to set in the leader's context, and to tell the others.
    Start(Names),
    /// Tell the party that the pair is over; it may not know of it.
    Dismiss(String),
    /// This attempt failed. A pair that was active before stays, and can be invited again.
    Failed(Error),
    /// The pair is over. It comes once.
    Ended,
}

/// Who takes part besides the leader.
#[derive(Debug)]
struct Party {
    /// Its node must be here or below: a role leads nowhere else, whatever the party says.
    within: Path,
    /// Where its node is, since it last answered.
    place: Option<Path>,
}

/// The leader's view of a pair.
#[derive(Debug)]
pub struct Pairing {
    parties: BTreeMap<String, Party>,
    references: Names,
    timeout: Duration,
    round: u64,
    /// Who has not answered yet in this round.
    open: BTreeSet<String>,
    failed: Option<Error>,
    was_active: bool,
    ended: bool,
}

impl Pairing {
    /// A pair of a leader, which has a role and a place, with parties of other roles, each bound somewhere below a path.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if two have the same role, or there are none or too many.
    pub fn new(role: &str, leader: Path, parties: impl IntoIterator<Item = (String, Path)>) -> Result<Self> {
        let mut all = BTreeMap::new();
        for (name, within) in parties {
            let party = Party { within, place: None };
            if name == role || all.insert(name.clone(), party).is_some() {
                let text = format!("Two parties of a pair have the role {name}.");
                return Err(Error::new(ErrorKind::InvalidArgument, text));
            }
        }
        if all.is_empty() || all.len() > PARTY_LIMIT {
            let text = format!("A pair has 1 to {PARTY_LIMIT} parties besides its leader.");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        Ok(Self {
            parties: all,
            references: vec![(role.to_owned(), leader)],
            timeout: PAIRING_TIMEOUT,
            round: 0,
            open: BTreeSet::new(),
            failed: None,
            was_active: false,
            ended: false,
        })
    }

    /// One more name that stands for a path in the pair, such as `origin`.
    #[must_use]
    pub fn with_reference(mut self, name: &str, path: Path) -> Self {
        self.references.push((name.to_owned(), path));
        self
    }

    /// How long each party has to answer, instead of [`PAIRING_TIMEOUT`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether everybody is there.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.ended && self.parties.values().all(|party| party.place.is_some())
    }

    /// Whether the pair is over.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Takes note of what happened.
    pub fn handle(&mut self, input: Input) -> Vec<Output> {
        if self.ended {
            return match input {
                // It came too late, and does not know.
                Input::Answer(_, role, Ok(_)) => vec![Output::Dismiss(role)],
                Input::Invite | Input::Answer(..) | Input::Stop(_) => Vec::new(),
            };
        }
        match input {
            Input::Invite => {
                self.round += 1;
                self.failed = None;
                self.open = self.parties.keys().cloned().collect();
                let roles = self.open.iter();
                roles.map(|role| Output::Invite(self.round, role.clone())).collect()
            }
            Input::Answer(round, role, answer) if round == self.round && self.open.remove(&role) => {
                self.answered(&role, answer);
                if self.open.is_empty() {
                    self.complete()
                } else {
                    Vec::new()
                }
            }
            // Of an older round: a newer one asks the same party.
            Input::Answer(..) => Vec::new(),
            Input::Stop(by) => self.end(by.as_deref()),
        }
    }

    fn answered(&mut self, role: &str, answer: Result<Path>) {
        let Some(party) = self.parties.get_mut(role) else {
            return;
        };
        match answer {
            Ok(place) if place.is_within(&party.within) => party.place = Some(place),
            Ok(_) => {
                let text = format!("The {role} is not below {}.", party.within);
                self.failed.get_or_insert(Error::new(ErrorKind::InvalidArgument, text));
            }
            Err(error) => {
                self.failed.get_or_insert(error);
            }
        }
    }

    fn complete(&mut self) -> Vec<Output> {
        match self.failed.take() {
            None => {
                self.was_active = true;
                let places = self.parties.iter();
                let roles = places.filter_map(|(role, party)| Some((role.clone(), party.place.clone()?)));
                vec![Output::Start(self.references.iter().cloned().chain(roles).collect())]
            }
            // Who was there once waits for whoever is away.
            Some(error) if self.was_active => vec![Output::Failed(error)],
            Some(error) => {
                let mut outputs = vec![Output::Failed(error)];
                outputs.extend(self.end(None));
                outputs
            }
        }
    }

    fn end(&mut self, by: Option<&str>) -> Vec<Output> {
        self.ended = true;
        // Also who has not answered: it may have made its node, or be about to.
        let told = self.parties.keys().filter(|role| Some(role.as_str()) != by);
        let mut outputs: Vec<Output> = told.map(|role| Output::Dismiss(role.clone())).collect();
        outputs.push(Output::Ended);
        outputs
    }
}

/// How a leader reaches the other parties.
pub trait Parties {
    /// Asks for the node of a role, and answers where it is.
    fn invite(&self, role: &str) -> LocalBoxFuture<'static, Result<Path>>;

    /// Tells the party of a role all names of the pair. Not needed where the invitation has told them.
    fn start(&self, _role: &str, _names: &Names) -> LocalBoxFuture<'static, Result<()>> {
        ready(Ok(())).boxed_local()
    }

    /// Says that the pair is over; whether that arrives is nobody's concern.
    fn dismiss(&self, role: &str) -> LocalBoxFuture<'static, ()>;
}

/// A pair as the node that leads it holds it.
pub struct Pair {
    node: Rc<dyn Node>,
    context: NodeContext,
    parties: Rc<dyn Parties>,
    pairing: RefCell<Pairing>,
}

impl Pair {
    /// A pair led by a bound node. Nothing happens yet.
    ///
    /// # Errors
    /// [`ErrorKind::Canceled`] if the node is not bound.
    pub fn new(node: Rc<dyn Node>, pairing: Pairing, parties: Rc<dyn Parties>) -> Result<Rc<Self>> {
        let context = node.node_context().ok_or_else(unbound)?;
        let pair = Rc::new(Self {
            node,
            context,
            parties,
            pairing: RefCell::new(pairing),
        });
        let weak = Rc::downgrade(&pair);
        pair.context.insert(PairStop::new(move || match weak.upgrade() {
            Some(pair) => async move { pair.stop(None).await }.boxed_local(),
            None => ready(Ok(())).boxed_local(),
        }));
        Ok(pair)
    }

    /// Invites everybody and waits until all are there, or one of them is not in time. The references are set
    /// when this returns. A pair that fails before it was ever active is over, and its leader unbound.
    ///
    /// # Errors
    /// The first refusal; [`ErrorKind::Timeout`]; [`ErrorKind::Canceled`] if it was stopped meanwhile.
    pub async fn invite(&self) -> Result<()> {
        let invitations = self.pairing.borrow_mut().handle(Input::Invite);
        if invitations.is_empty() {
            return Err(over());
        }
        let outcomes = join_all(invitations.into_iter().map(|invitation| async move {
            let Output::Invite(round, role) = invitation else {
                return None;
            };
            let answer = self.limited(&role, self.parties.invite(&role)).await;
            let outputs = self.pairing.borrow_mut().handle(Input::Answer(round, role, answer));
            self.carry_out(outputs).await
        }));
        let outcome = outcomes.await.into_iter().flatten().next();
        // Nothing came of this round if another one, or a stop, overtook it.
        outcome.unwrap_or_else(|| Err(over()))
    }

    /// Stops the pair, also on the other sides, and unbinds the leader; `by` is who wants it, and needs no telling.
    ///
    /// # Errors
    /// The first error of a handler of unbinding, after everything is unbound.
    pub async fn stop(&self, by: Option<&str>) -> Result<()> {
        let outputs = self.pairing.borrow_mut().handle(Input::Stop(by.map(ToOwned::to_owned)));
        match self.carry_out(outputs).await {
            Some(result) => result,
            None => self.node.node_unbind().await,
        }
    }

    /// Whether everybody is there.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.pairing.borrow().is_active()
    }

    /// Whether the pair is over.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.pairing.borrow().is_ended()
    }

    async fn limited<T>(&self, role: &str, answer: LocalBoxFuture<'static, Result<T>>) -> Result<T> {
        let timeout = self.pairing.borrow().timeout;
        match select(answer, self.context.platform().sleep(timeout)).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => {
                let text = format!("The {role} did not come within {timeout:?}.");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    async fn start(&self, names: Names) -> Result<()> {
        for (name, path) in &names {
            self.context.set_reference(name.clone(), path.clone());
        }
        let roles: Vec<String> = self.pairing.borrow().parties.keys().cloned().collect();
        let told = roles
            .iter()
            .map(|role| self.limited(role, self.parties.start(role, &names)));
        join_all(told).await.into_iter().collect()
    }

    /// Does what the machine says; answers how the attempt, or the pair, ended if it did.
    async fn carry_out(&self, outputs: Vec<Output>) -> Option<Result<()>> {
        let mut outcome = None;
        for output in outputs {
            match output {
                Output::Invite(..) => {}
                Output::Start(names) => outcome = Some(self.start(names).await),
                Output::Failed(error) => outcome = Some(Err(error)),
                Output::Dismiss(role) => {
                    self.context.platform().spawn_local(self.parties.dismiss(&role));
                }
                Output::Ended => {
                    self.context.remove::<PairStop>();
                    let unbound = self.node.node_unbind().await;
                    outcome = Some(outcome.unwrap_or(Ok(())).and(unbound));
                }
            }
        }
        outcome
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pair")
            .field("pairing", &self.pairing)
            .finish_non_exhaustive()
    }
}

/// Stops the pair that a node is in: a value in the context of each party, and so of all below it.
#[derive(Clone)]
struct PairStop(Rc<dyn Fn() -> LocalBoxFuture<'static, Result<()>>>);

impl PairStop {
    fn new(stop: impl Fn() -> LocalBoxFuture<'static, Result<()>> + 'static) -> Self {
        Self(Rc::new(stop))
    }
}

/// Makes a bound node of an invited side a party: sets the names of the pair in its context, and says how that side
/// stops it. Answers where the node is. To join again is fine.
///
/// # Errors
/// [`ErrorKind::Canceled`] if the node is not bound.
pub fn join_pair(
    node: &Rc<dyn Node>,
    names: Names,
    stop: impl Fn() -> LocalBoxFuture<'static, Result<()>> + 'static,
) -> Result<Path> {
    let (path, context) = node.node_path().zip(node.node_context()).ok_or_else(unbound)?;
    for (name, path) in names {
        context.set_reference(name, path);
    }
    context.insert(PairStop::new(stop));
    Ok(path)
}

/// Stops the pair that a node, or one above it, is in, for all its parties.
///
/// # Errors
/// [`ErrorKind::NotFound`] if it is in none; else the first error of unbinding this side, after everything is unbound.
pub fn stop_pair(node: &(impl Node + ?Sized)) -> LocalBoxFuture<'static, Result<()>> {
    let stop = node.node_core().context().and_then(|context| context.get::<PairStop>());
    match stop {
        Some(stop) => (stop.0)(),
        None => ready(Err(Error::new(ErrorKind::NotFound, "The node is in no pair."))).boxed_local(),
    }
}

fn unbound() -> Error {
    Error::new(ErrorKind::Canceled, "The node of a pair was unbound.")
}

fn over() -> Error {
    Error::new(
        ErrorKind::Canceled,
        "The pair was stopped, or invited again, meanwhile.",
    )
}

#[cfg(test)]
mod tests;
