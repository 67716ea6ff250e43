//! Placeholder that the first commit of this crate replaces.
