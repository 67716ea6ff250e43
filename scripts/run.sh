#!/usr/bin/env bash
# From clone to a running demo: sets up what is missing, builds both sides, serves. Arguments go to `safety serve`.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target bindgen
scripts/build-client.sh
cargo build "${locked[@]}" -p safety
export COATI_SITE=${COATI_SITE:-$target/site}
exec "$target/debug/safety" serve --demo "$@"
