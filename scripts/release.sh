#!/usr/bin/env bash
# Leaves target/release/safety: one file with the client, styles and migrations inside.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target bindgen npm
site=$target/release-site
pkg=$site/pkg
rm -rf "$site"
mkdir -p "$pkg"

say "client"
cargo build "${locked[@]}" --profile wasm-release "${client_lib[@]}"
wasm-bindgen --target web --no-typescript --remove-name-section --remove-producers-section \
    --out-dir "$pkg" --out-name safety "$target/$wasm/wasm-release/safety.wasm"
end2end/node_modules/.bin/wasm-opt -Oz --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext \
    --enable-mutable-globals --enable-reference-types --enable-multivalue "$pkg/safety_bg.wasm" -o "$pkg/safety.wasm"
rm "$pkg/safety_bg.wasm"
cp style/main.css "$pkg/safety.css"
node scripts/compress.mjs "$site"

say "server"
COATI_SITE=$site cargo build "${locked[@]}" --release -p safety
ls -l "$target/release/safety"
