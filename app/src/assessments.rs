//! The page of assessments: every known risk in a live grid, edited in a form.

pub mod entity;

#[cfg(feature = "server")]
pub mod controller;
#[cfg(feature = "server")]
pub mod source;
#[cfg(feature = "client")]
pub mod view;
