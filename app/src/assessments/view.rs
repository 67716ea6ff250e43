//! The browser's half of the assessments page: a grid and a form, made from the entity's fields.

use std::rc::Rc;

use client::{BrowseView, browse::BrowseOptions};
use shared::data::Entity;

use super::entity::Assessment;

/// The page.
#[must_use]
pub fn page() -> Rc<BrowseView> {
    BrowseView::new(BrowseOptions {
        title: "Assessments",
        noun: "Assessment",
        fields: Assessment::fields(),
        editable: true,
    })
}
