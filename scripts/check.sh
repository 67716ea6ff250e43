#!/usr/bin/env bash
# What must hold before a commit; when built, meant to take less than 90 seconds on two cores.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target

step fmt cargo fmt --all --check
step clippy cargo clippy "${locked[@]}" "${everything[@]}" --all-targets --quiet -- -D warnings
# A build, not a check: `make run` and the end-to-end tests need it anyway, so the dependencies are compiled once.
step wasm cargo build "${locked[@]}" --quiet "${client_lib[@]}"
step unit cargo test "${locked[@]}" "${everything[@]}" --lib --bins --test tidy --quiet
RUSTDOCFLAGS="-D warnings" step doc cargo doc "${locked[@]}" "${everything[@]}" --no-deps --quiet
report
[ "$failed" = 0 ]
