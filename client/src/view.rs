//! The browser's half of a context: a node that can be seen.

use std::{collections::BTreeMap, rc::Rc};

use leptos::prelude::AnyView;
use shared::{node::Node, session_root::PairingOffer};

use crate::parts::{Dialogs, Toasts};

/// A node that renders. It outlives its elements: they are made when its tab comes to the front.
///
/// `#controller` resolves from the node once it is bound.
pub trait View: Node {
    /// What is on the screen while the view is in front. Called at most once at a time.
    fn render(self: Rc<Self>, desk: Desk) -> AnyView;

    /// The controller is there, for the first time or again after the link was lost.
    fn on_paired(&self) {}

    /// The link is lost: subscriptions are void, calls fail until [`View::on_paired`].
    fn on_lost(&self) {}
}

/// What a view may use of the page around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desk {
    /// Asks questions.
    pub dialogs: Dialogs,
    /// Tells news.
    pub toasts: Toasts,
}

/// Makes a view for a controller's offer.
pub type ViewFactory = Rc<dyn Fn(&PairingOffer) -> Rc<dyn View>>;

/// The views that an application has, by the name that controllers ask for.
#[derive(Clone, Default)]
pub struct Views(BTreeMap<&'static str, ViewFactory>);

impl Views {
    /// No views.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more view; the last of a name wins.
    #[must_use]
    pub fn with<V: View>(mut self, name: &'static str, make: impl Fn(&PairingOffer) -> Rc<V> + 'static) -> Self {
        self.0.insert(name, Rc::new(move |offer| make(offer)));
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<ViewFactory> {
        self.0.get(name).cloned()
    }
}
