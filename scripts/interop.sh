#!/usr/bin/env bash
# WAMP clients by others walk over our router, and over Crossbar when recording; clients are installed where missing.
#   scripts/interop.sh                 every client against ours, compared with the recordings
#   scripts/interop.sh record          every client against a private Crossbar; writes the recordings
#   CLIENTS="python node" scripts/interop.sh
. "$(dirname "$0")/lib.sh"
here=$root/server/tests/interop
work=$target/interop
venv=$work/venv
clients=${CLIENTS:-python node browser rust}
mkdir -p "$work"
export PYTHONDONTWRITEBYTECODE=1

# Servers that this script started, and nothing else, end with it.
children=()
trap 'for child in "${children[@]}"; do kill -- "-$child" 2>/dev/null || true; done' EXIT

install_crossbar() {
    "$venv/bin/pip" freeze | grep -ix "crossbar==26.10.1" >/dev/null && return
    say "installing Crossbar"
    "$venv/bin/pip" install -q --disable-pip-version-check crossbar==26.10.1
}

install_node() {
    [ "$here/node/node_modules/.package-lock.json" -nt "$here/node/package-lock.json" ] && return
    say "installing Autobahn|JS and Node 22"
    (cd "$here/node" && npm ci --no-audit --no-fund >/dev/null && touch node_modules/.package-lock.json)
}

# Waits for a port of loopback; the server's log tells why if it never opens.
wait_for() {
    for _ in $(seq 300); do
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return
        sleep 0.1
    done
    tail -20 "$2" >&2
    fail "no server on port $1"
}

free_port() {
    "$venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Each client meets a fresh router: retained events and sessions of one tour must not show in the next.
start_crossbar() {
    port=$(free_port)
    rm -rf "$work/crossbar"
    mkdir -p "$work/crossbar"
    sed "s/\"port\": 18080/\"port\": $port/" "$here/crossbar/config.json" >"$work/crossbar/config.json"
    setsid "$venv/bin/crossbar" start --cbdir "$work/crossbar" --loglevel warn >"$work/crossbar.log" 2>&1 &
    children+=($!)
    wait_for "$port" "$work/crossbar.log"
    url=ws://127.0.0.1:$port/
}

start_ours() {
    port=$(free_port)
    setsid "$target/debug/examples/router" --addr "127.0.0.1:$port" --realm realm1 >"$work/router.log" 2>&1 &
    children+=($!)
    wait_for "$port" "$work/router.log"
    url=ws://127.0.0.1:$port/ws
}

# Every way to log in, and procedures that judge: Autobahn|Python against a router with a configuration file.
logins() {
    port=$(free_port)
    export LOGIN_TICKET=a-ticket-of-this-test LOGIN_SECRET=a-secret-of-this-test
    setsid "$target/debug/examples/router" --addr "127.0.0.1:$port" --config "$here/logins.toml" >"$work/logins-router.log" 2>&1 &
    children+=($!)
    wait_for "$port" "$work/logins-router.log"
    "$venv/bin/python" "$here/python/logins.py" --url "ws://127.0.0.1:$port/ws" 2>"$work/logins.log" ||
        { tail -15 "$work/logins.log" >&2; return 1; }
}

tour() {
    case $1 in
        python) "$venv/bin/python" "$here/python/tour.py" --url "$url" 2>"$work/$1.log" ;;
        node) "$here/node/node_modules/node/bin/node" "$here/node/node.mjs" --url "$url" 2>"$work/$1.log" ;;
        browser) node "$here/node/browser.mjs" --url "$url" 2>"$work/$1.log" ;;
        rust) "$work/battler/debug/coati-interop-tour" --url "$url" 2>"$work/$1.log" ;;
        *) fail "unknown client: $1" ;;
    esac
}

prepare() {
    case $1 in
        node) install_node ;;
        browser) install_node && scripts/setup.sh npm chromium ;;
        rust) CARGO_TARGET_DIR=$work/battler cargo build -q --locked --manifest-path "$here/battler/Cargo.toml" ;;
        *) ;;
    esac
}

scripts/setup.sh autobahn node
bad=0
if [ "${1:-}" = record ]; then install_crossbar; else cargo build -q "${locked[@]}" -p coati-server --example router; fi
for client in $clients; do
    [ -e "$here/expected/$client.jsonl" ] || [ "${1:-}" = record ] || continue
    prepare "$client"
    say "$client"
    if [ "${1:-}" = record ]; then
        start_crossbar
        tour "$client" >"$work/$client.jsonl" || { tail -5 "$work/$client.log" >&2; fail "the tour of $client ended early"; }
        mkdir -p "$here/expected"
        version=$("$venv/bin/pip" freeze | sed -n 's/^crossbar==/crossbar /p')
        "$venv/bin/python" "$here/compare.py" record "$here/expected/$client.jsonl" --router "$version" <"$work/$client.jsonl"
    else
        start_ours
        tour "$client" >"$work/$client.jsonl" || { tail -5 "$work/$client.log" >&2; bad=1; }
        "$venv/bin/python" "$here/compare.py" check "$here/expected/$client.jsonl" "$here/differences.md" \
            --client "$client" ${WRITE:+--write} <"$work/$client.jsonl" || bad=1
    fi
    kill -- "-${children[-1]}" 2>/dev/null || true
    unset 'children[-1]'
done
if [ "${1:-}" != record ] && [[ " $clients " == *" python "* ]]; then
    say "python logs in"
    logins || bad=1
fi
exit "$bad"
