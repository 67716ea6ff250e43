//! Pairs, replays, mirrors and streams in a browser: the same files, compiled to WASM.
#![cfg(target_arch = "wasm32")]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

#[path = "node_mirror.rs"]
mod node_mirror;
#[path = "node_pairs.rs"]
mod node_pairs;
#[path = "node_replay.rs"]
mod node_replay;
#[path = "node_streams.rs"]
mod node_streams;
