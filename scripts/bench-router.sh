#!/usr/bin/env bash
# Our router, the same sockets without WAMP (`bare`), and Crossbar where scripts/interop.sh has installed it, in one run.
#   scripts/bench-router.sh                 the table
#   SECONDS_EACH=2 ROUNDS=1 scripts/bench-router.sh
#   STEPS="stalled idle" scripts/bench-router.sh    only these; all of them: speed, stalled, idle
. "$(dirname "$0")/lib.sh"
work=$target/interop
programs=$target/release/examples
each=${SECONDS_EACH:-4}
rounds=${ROUNDS:-3}
many=${CONNECTIONS:-10000}
steps=" ${STEPS:-speed stalled idle} "
results=$work/bench
rm -rf "$results"
mkdir -p "$results"
ulimit -n "$(ulimit -Hn)"

# Optimised, and without the database that a router alone does not need.
# Symbols stay, so that perf can name what it finds.
export CARGO_PROFILE_RELEASE_STRIP=none
cargo build -q --release "${locked[@]}" -p coati-server --no-default-features --example router --example bare --example load

children=()
trap 'for child in "${children[@]}"; do kill -- "-$child" 2>/dev/null || true; done' EXIT

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# start NAME: sets `url`, `dialect` and `pids` (arguments for the load tool).
start() {
    local port name=$1
    port=$(free_port)
    case $name in
        ours) RUST_LOG=warn,coati_server::server=info setsid "$programs/router" --addr "127.0.0.1:$port" --realm realm1 & url=ws://127.0.0.1:$port/ws dialect=wamp ;;
        bare) setsid "$programs/bare" --addr "127.0.0.1:$port" & url=ws://127.0.0.1:$port dialect=bare ;;
        crossbar)
            mkdir -p "$work/bench-crossbar"
            sed "s/\"port\": 18080/\"port\": $port/" server/tests/interop/crossbar/config.json >"$work/bench-crossbar/config.json"
            setsid "$work/venv/bin/crossbar" start --cbdir "$work/bench-crossbar" --loglevel warn & url=ws://127.0.0.1:$port/ dialect=wamp ;;
    esac >"$results/$name.server.log" 2>&1
    children+=($!)
    for _ in $(seq 200); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.1; done
    # Everything in the session of the server: Crossbar is a controller and a worker.
    pids=$(ps -o pid= -s "${children[-1]}" | awk '{ print "--pid " $1 }')
    sleep 1
}

stop() { kill -- "-${children[-1]}" 2>/dev/null || true; unset 'children[-1]'; sleep 1; }

load() {
    # So that rounds are compared with themselves, also where one ended early.
    printf 'round\t%s\n' "${round:-1}" >>"$results/$1.tsv"
    "$programs/load" --url "$url" --dialect "$dialect" $pids --seconds "$each" "${@:2}" >>"$results/$1.tsv" 2>>"$results/errors.log"
}
early() { echo "$1 ended early: $(tail -1 "$results/errors.log")" >&2; }

peers=(bare ours)
[ -x "$work/venv/bin/crossbar" ] && peers+=(crossbar)
say "limits: $(ulimit -n) open files, $(nproc) processors, load $(cut -d' ' -f1-3 /proc/loadavg), ${each} s per measure, median of $rounds"
wanted() { [[ $steps == *" $1 "* ]]; }
if wanted speed; then
    for round in $(seq "$rounds"); do
        for name in "${peers[@]}"; do
            start "$name"
            load "$name" all --connections 1000 || early "round $round of $name"
            stop
        done
    done
fi
# One that never reads beside 500 that do: five pairs of runs with and without it, in turn.
if wanted stalled; then
    start ours
    load ours stalled || early stalled
    stop
    grep "^# ends" "$results/ours.tsv" || true
fi
# Memory and many connections need a server that has done nothing else.
if wanted idle; then
    for name in "${peers[@]}"; do
        start "$name"
        count=$many
        [ "$name" = crossbar ] && count=1000
        load "$name.idle" idle --connections "$count" || early "idle of $name"
        stop
    done
fi
# What our router allows, as it says itself.
grep -hm1 "limits in force" "$results/ours.server.log" || true

# Medians, and what ours are to the others: medians of the ratios within each round, because machines drift.
python3 - "$results" <<'PY'
import collections, os, statistics, sys

folder = sys.argv[1]
# By scenario and measure, then by server: the value of each round.
values = collections.defaultdict(lambda: collections.defaultdict(dict))
for name in ("bare", "ours", "crossbar"):
    for suffix in ("", ".idle"):
        path = f"{folder}/{name}{suffix}.tsv"
        if not os.path.exists(path):
            continue
        for line in open(path):
            parts = line.rstrip("\n").split("\t")
            if parts[0] == "round":
                number = parts[1]
            elif len(parts) == 3 and (parts[0] != "idle") == (suffix == ""):
                values[parts[0], parts[1]][name][number] = float(parts[2])
median = lambda list: statistics.median(list) if list else None
ratio = lambda ours, to: median([ours[one] / to[one] for one in ours if to.get(one)])
show = lambda value: "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
print("| measure | bare | ours | Crossbar | ours : bare | ours : Crossbar |")
print("|---|---|---|---|---|---|")
for (scenario, measure), by in values.items():
    bare, ours, other = (by[name] for name in ("bare", "ours", "crossbar"))
    cells = [*(median(by.values()) for by in (bare, ours, other)), ratio(ours, bare), ratio(ours, other)]
    print(f"| {scenario} {measure} | " + " | ".join(map(show, cells)) + " |")
to_echo = ratio(values["call1", "p50_us"]["ours"], values["echo", "p50_us"]["bare"])
if to_echo:
    print(f"\nSequential call p50 to two echoes: {to_echo / 2:.2f}")
PY
