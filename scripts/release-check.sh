#!/usr/bin/env bash
# The release, started from an empty folder, serves exactly the files of the site folder it was built from.
. "$(dirname "$0")/lib.sh"
[ -x "$target/release/safety" ] || scripts/release.sh
node scripts/release-check.mjs "$target/release/safety" "$target/release-site"
