//! The browser's half of the assessments page: a grid and a form, made from the entity's fields.

use std::rc::Rc;

use client::{BrowseView, browse::BrowseOptions};
use shared::data::Entity;

use super::entity::{Assessment, rights};

/// The page.
#[must_use]
pub fn page() -> Rc<BrowseView> {
    let options = BrowseOptions {
        title: "Assessments",
        noun: "Assessment",
        fields: Assessment::fields(),
        editable: true,
    };
    BrowseView::allowing(options, rights)
}
