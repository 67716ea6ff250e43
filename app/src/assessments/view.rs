//! The browser's half of the assessments page: a grid and a form, made from the entity's fields.

use std::rc::Rc;

use client::{BrowseView, browse::BrowseOptions, form::Allowed};
use shared::data::Entity;

use super::entity::Assessment;

/// The page.
#[must_use]
pub fn page() -> Rc<BrowseView> {
    let options = BrowseOptions {
        title: "Assessments",
        noun: "Assessment",
        fields: Assessment::fields(),
        editable: true,
    };
    BrowseView::allowing(options, allowed)
}

/// Which buttons a role sees. What it may really do is decided by the source's rights.
fn allowed(role: &str) -> Allowed {
    match role {
        "admin" => Allowed::ALL,
        "assessor" => Allowed {
            delete: false,
            ..Allowed::ALL
        },
        _ => Allowed::NONE,
    }
}
