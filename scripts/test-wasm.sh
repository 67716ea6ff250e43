#!/usr/bin/env bash
# The tests/*_browser.rs of shared and client, in headless Chromium.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target bindgen chromium
export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=wasm-bindgen-test-runner
export CHROMEDRIVER=${CHROMEDRIVER:-$(command -v chromedriver)}
# The runner reads its browser's options from webdriver.json in the package's folder.
for package in shared client; do
    compgen -G "$package/tests/*_browser.rs" >/dev/null || continue
    cp scripts/webdriver.json "$package/webdriver.json"
    trap 'rm -f shared/webdriver.json client/webdriver.json' EXIT
    cargo test "${locked[@]}" --target "$wasm" -p "coati-$package" --test '*_browser'
done
