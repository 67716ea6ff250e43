//! Which controllers there are, and which of them an intent elects.

use std::rc::Rc;

use futures::future::LocalBoxFuture;
use shared::{
    error::{Error, ErrorKind, Result},
    intent::{Intent, Operation},
    node::Node,
};

use crate::RealmHandle;

/// The server's half of a context.
pub trait Controller: Node {
    /// Runs each time a view has been paired with this controller: at first and after every lost link.
    fn paired(self: Rc<Self>) -> LocalBoxFuture<'static, Result<()>>;
}

/// Whom a controller is made for, and where.
#[derive(Clone)]
pub struct ControllerScope {
    /// The realm that the session is in.
    pub realm: RealmHandle,
    /// Login name.
    pub login: String,
    /// The user's role.
    pub role: String,
}

/// Makes a controller. It is bound by the caller.
pub type Build = Box<dyn Fn(&ControllerScope, &Intent) -> Result<Rc<dyn Controller>> + Send + Sync>;

/// A kind of controller and the intents that it can realise.
pub struct Candidate {
    /// What it does.
    pub operation: Operation,
    /// With the rows of which source.
    pub source: &'static str,
    /// The view that it needs in the browser.
    pub view: &'static str,
    /// Title for people.
    pub title: &'static str,
    /// Roles that may have it; empty means nobody.
    pub roles: &'static [&'static str],
    /// Makes one.
    pub build: Build,
}

/// All kinds of controllers of an application.
#[derive(Default)]
pub struct Catalogue {
    candidates: Vec<Candidate>,
}

impl Catalogue {
    /// The same catalogue with one more candidate.
    #[must_use]
    pub fn with(mut self, candidate: Candidate) -> Self {
        self.candidates.push(candidate);
        self
    }

    /// The one candidate for an intent that this role may have.
    ///
    /// # Errors
    /// `NotFound` if there is none, `Refused` if several are equally good.
    pub(super) fn elect(&self, intent: &Intent, role: &str) -> Result<&Candidate> {
        let fits = |candidate: &&Candidate| {
            candidate.operation == intent.operation
                && candidate.source == intent.content.source
                && candidate.roles.contains(&role)
        };
        let mut fitting = self.candidates.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(candidate), None) => Ok(candidate),
            (Some(_), Some(_)) => Err(Error::new(ErrorKind::Refused, "Several pages could do this.")),
            (None, _) => Err(Error::new(
                ErrorKind::NotFound,
                "There is no page for this, or it is not for your role.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(operation: Operation, roles: &'static [&'static str]) -> Candidate {
        Candidate {
            operation,
            source: "rows",
            view: "view",
            title: "Rows",
            roles,
            build: Box::new(|_, _| Err(Error::new(ErrorKind::Refused, "not in this test"))),
        }
    }

    #[test]
    fn operation_source_and_role_elect_and_a_tie_is_no_choice() {
        let catalogue = Catalogue::default()
            .with(candidate(Operation::View, &["reader"]))
            .with(candidate(Operation::Edit, &["writer"]))
            .with(candidate(Operation::Edit, &["writer"]));
        let kind = |intent: &Intent, role| {
            catalogue
                .elect(intent, role)
                .map(|found| found.operation)
                .map_err(|e| e.kind)
        };
        assert_eq!(kind(&Intent::view("rows"), "reader"), Ok(Operation::View));
        assert_eq!(kind(&Intent::view("rows"), "writer"), Err(ErrorKind::NotFound));
        assert_eq!(kind(&Intent::view("columns"), "reader"), Err(ErrorKind::NotFound));
        let edit = Intent {
            operation: Operation::Edit,
            ..Intent::view("rows")
        };
        assert_eq!(kind(&edit, "writer"), Err(ErrorKind::Refused));
    }
}
