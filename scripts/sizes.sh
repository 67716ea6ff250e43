#!/usr/bin/env bash
# Prints what the release weighs: client as sent, server binary, resident memory of an idle server.
. "$(dirname "$0")/lib.sh"
[ -x "$target/release/safety" ] || fail "no release yet; please type: make release"
pkg=$target/release-site/pkg
for file in safety.wasm safety.js safety.css; do
    printf '%-28s %9d bytes, brotli %8d\n' "client $file" "$(stat -c %s "$pkg/$file")" "$(stat -c %s "$pkg/$file.br")"
done
printf '%-28s %9d bytes\n' "server binary" "$(stat -c %s "$target/release/safety")"

folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
(cd "$folder" && exec "$target/release/safety" serve --addr 127.0.0.1:"${PORT:-38473}") > "$folder/log" 2>&1 &
server=$!
for _ in $(seq 50); do grep -q listening "$folder/log" && break; sleep 0.1; done
grep -q listening "$folder/log" || { cat "$folder/log"; fail "the release does not start"; }
sleep 2
printf '%-28s %9d KiB\n' "server idle, resident" "$(awk '/^VmRSS/{print $2}' "/proc/$server/status")"
