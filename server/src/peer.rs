//! Peers in processes of their own: how a native program joins a router.

pub mod websocket;
