#!/usr/bin/env bash
# Builds the browser side into target/site/pkg, as `cargo leptos build` would, with cargo and wasm-bindgen only.
. "$(dirname "$0")/lib.sh"
pkg=$target/site/pkg
built=$target/$wasm/debug/safety.wasm

cargo build "${locked[@]}" "${client_lib[@]}"
mkdir -p "$pkg"
if [ ! "$pkg/safety.wasm" -nt "$built" ] || [ ! -s "$pkg/safety.js" ]; then
    rm -rf "$pkg/snippets"
    wasm-bindgen --target web --no-typescript --out-dir "$pkg" --out-name safety "$built"
    mv "$pkg/safety_bg.wasm" "$pkg/safety.wasm"
fi
cmp -s style/main.css "$pkg/safety.css" || cp style/main.css "$pkg/safety.css"
