//! Runs Coati nodes in a browser: connection, session, views, data grid and forms.

pub mod browse;
pub mod connection;
pub mod form;
pub mod grid;
pub mod parts;
