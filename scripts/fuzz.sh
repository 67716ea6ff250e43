#!/usr/bin/env bash
# libFuzzer on each target in turn; what it finds is in fuzz/artifacts, with the line that repeats it.
#   scripts/fuzz.sh [TARGET...]             SECONDS_EACH=600 scripts/fuzz.sh cbor
. "$(dirname "$0")/lib.sh"
{ has cargo-fuzz && rustup run nightly rustc --version >/dev/null 2>&1; } ||
    fail "fuzzing needs a nightly compiler and cargo-fuzz; type: rustup toolchain install nightly --profile minimal && cargo install cargo-fuzz"
targets=("$@")
[ $# -gt 0 ] || targets=(fuzz/seeds/*)
# The same versions as everything else.
cp Cargo.lock fuzz/Cargo.lock
for one in "${targets[@]##*/}"; do
    say "$one"
    mkdir -p "fuzz/corpus/$one"
    # New inputs go into the first folder; only the second is part of the repository.
    cargo +nightly fuzz run --fuzz-dir fuzz --target-dir "$target/fuzz" "$one" "fuzz/corpus/$one" "fuzz/seeds/$one" -- \
        -max_total_time="${SECONDS_EACH:-60}" -max_len=4096 -timeout=5 -rss_limit_mb=1024
done
