//! The talk's three nodes in a browser: the same file, the same router, compiled to WASM.
#![cfg(target_arch = "wasm32")]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

#[path = "three_nodes.rs"]
mod three_nodes;
