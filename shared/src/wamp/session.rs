//! The pure client session.
