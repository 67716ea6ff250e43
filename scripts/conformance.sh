#!/usr/bin/env bash
# Autobahn's WebSocket test suite against our sockets (example `echo`); rewrites server/tests/interop/websocket.md.
# The suite is a program for CPython 2.7; PYTHON27 names one if `python2.7` and pyenv's are not there.
. "$(dirname "$0")/lib.sh"
work=$target/interop/wstest
suite=autobahntestsuite==25.10.1

find_python() {
    local one
    for one in "${PYTHON27:-}" "$(command -v python2.7 || true)" "$HOME"/.pyenv/versions/2.7.*/bin/python; do
        [ -n "$one" ] && "$one" --version 2>&1 | grep '^Python 2\.7' >/dev/null && echo "$one" && return
    done
    fail "the test suite needs CPython 2.7; please install it (pyenv install 2.7.18) or set PYTHON27"
}

if [ ! -x "$work/bin/wstest" ]; then
    python=$(find_python)
    say "installing $suite for $("$python" --version 2>&1)"
    "$python" -m pip install -q --disable-pip-version-check --target "$work-tools" 'virtualenv<20.22' 2>/dev/null
    PYTHONPATH=$work-tools "$python" -m virtualenv -q "$work"
    "$work/bin/pip" install -q --disable-pip-version-check "$suite" 2>/dev/null
fi

# Optimised: the suite measures nothing, but sends megabytes byte by byte.
export CARGO_PROFILE_RELEASE_STRIP=none
cargo build -q --release "${locked[@]}" -p coati-server --no-default-features --example echo
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$target/release/examples/echo" --addr "127.0.0.1:$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done

mkdir -p "$work/run"
cat >"$work/run/fuzz.json" <<JSON
{"outdir": "./reports", "servers": [{"agent": "coati", "url": "ws://127.0.0.1:$port/", "options": {"version": 18}}],
 "cases": ["${CASES:-*}"], "exclude-cases": [], "exclude-agent-cases": {}}
JSON
say "running the suite"
(cd "$work/run" && rm -rf reports && ../bin/wstest -m fuzzingclient -s fuzz.json >wstest.log 2>&1) ||
    { tail -20 "$work/run/wstest.log" >&2; fail "the suite did not run to its end"; }

python3 - "$work/run/reports/index.json" "${CASES:-*}" "$(git rev-parse --short HEAD)" "$suite" <<'PY'
import collections, datetime, json, sys

path, cases, commit, suite = sys.argv[1:]
results = json.load(open(path))["coati"]
counts = collections.Counter(it["behavior"] for it in results.values())
bad = {case: it for case, it in results.items()
       if it["behavior"] not in ("OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED")
       or it["behaviorClose"] not in ("OK", "INFORMATIONAL", "UNIMPLEMENTED", "NON-STRICT")}
by_number = lambda case: [int(part) for part in case.split(".")]
rows = [f"| {it} | {counts[it]} |" for it in sorted(counts)]
odd = sorted((case for case in results if results[case]["behavior"] in ("NON-STRICT",) or case in bad), key=by_number)
text = [
    "# Autobahn's WebSocket test suite",
    "",
    f"`make conformance` ran {suite} on {datetime.date.today()} at commit {commit}: {len(results)} cases, {len(bad)} failed.",
    "Cases 12 and 13 are compression (permessage-deflate), which is not negotiated: unimplemented.",
    "",
    "| behaviour | cases |",
    "|---|---|",
    *rows,
    "",
    "Not strict, or failed: " + (", ".join(f"{case} ({results[case]['behavior'].lower()})" for case in odd) or "none") + ".",
]
print("\n".join(text))
if cases == "*":
    open("server/tests/interop/websocket.md", "w").write("\n".join(text) + "\n")
print(f"\n{len(results) - len(bad)} passed, {len(bad)} failed")
sys.exit(1 if bad else 0)
PY
