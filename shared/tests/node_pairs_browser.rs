//! Session roots, pairs and interleaved sessions in a browser: the same file, compiled to WASM.
#![cfg(target_arch = "wasm32")]

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

#[path = "node_pairs.rs"]
mod node_pairs;
