#!/usr/bin/env bash
# Playwright on Debian's Chromium. GREP=text picks tests; everything that is missing is built or installed first.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target bindgen chromium sqlite npm
scripts/build-client.sh
# The same command as the test step's build, so that nothing is compiled twice.
cargo build "${locked[@]}" "${everything[@]}" --bins --examples --tests
cd end2end
export COATI_BIN=${COATI_BIN:-$target/debug} COATI_SITE=${COATI_SITE:-$target/site}
exec npx playwright test ${GREP:+--grep "$GREP"} "$@"
