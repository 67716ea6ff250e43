#!/usr/bin/env bash
# Watches, rebuilds, restarts the server and reloads the page. Arguments go to `safety`.
. "$(dirname "$0")/lib.sh"
scripts/setup.sh target bindgen leptos
exec cargo leptos watch -- serve --demo "$@"
