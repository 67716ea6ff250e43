# Sourced by every script: the project's root, plain messages, and steps with minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
target=${CARGO_TARGET_DIR:-$root/target}
# CI must not quietly resolve other versions than the lock file's.
locked=()
if [ "${CI:-}" = true ]; then
    locked=(--locked)
    # One build from nothing: what the next build could reuse costs time and 2 GB here.
    export CARGO_INCREMENTAL=0
fi
wasm=wasm32-unknown-unknown
logs=$target/logs
# The tests of components in Python need it when a script runs them; plain `cargo test` leaves them out without it.
export COATI_PYTHON=$target/interop/venv/bin/python

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# What the sets of features are is written once: two commands with different sets would build dependencies twice.
everything=(--workspace --all-features)
client_lib=(-p safety --lib --no-default-features --features client --target "$wasm")

# room GIGABYTES: stops with one clear line, rather than in the middle of a build, when the disk of `target` is nearly full.
room() {
    mkdir -p "$target"
    local free
    free=$(($(df -Pk "$target" | awk 'NR == 2 { print $4 }') / 1024 / 1024))
    [ "$free" -ge "$1" ] || fail "$target has $free GB of free disk; this needs $1. Older builds can go: cargo clean"
}

# step NAME COMMAND...: runs it, keeps its log, remembers its time; a failure does not stop the later steps.
table=()
failed=0
step() {
    local name=$1 start=$SECONDS result=ok took
    shift
    say "$name"
    mkdir -p "$logs"
    if ! "$@" 2>&1 | tee "$logs/${name// /-}.log"; then
        result=FAILED
        failed=$((failed + 1))
    fi
    took=$((SECONDS - start))
    table+=("$(printf '%-22s %3d min %02d s   %s' "$name" $((took / 60)) $((took % 60)) "$result")")
}

# The table of the steps, and the total.
report() {
    printf '\n'
    printf '%s\n' "${table[@]}"
    printf '%-22s %3d min %02d s\n' total $((SECONDS / 60)) $((SECONDS % 60))
}
