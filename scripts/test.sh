#!/usr/bin/env bash
# Everything: set-up, check, all Rust tests, browser tests, end to end. Ends with minutes per step and one summary line.
. "$(dirname "$0")/lib.sh"
rm -rf "$logs"
# From nothing about 8 GB; a tree that is built needs little more.
if [ -d "$target/debug/deps" ]; then room 2; else room 10; fi

step setup scripts/setup.sh target bindgen chromium postgres sqlite autobahn npm
step check scripts/check.sh
step tests cargo test "${locked[@]}" "${everything[@]}" --no-fail-fast
step browser-tests scripts/test-wasm.sh
step client-build scripts/build-client.sh
step end-to-end scripts/e2e.sh
step interop scripts/interop.sh
report

# The last line counts tests, in a form that continuous integration understands.
count() {
    cat "$logs"/{tests,browser-tests,end-to-end,interop}.log 2>/dev/null |
        awk -v word="$1" '
            /^test result: / { for (i = 2; i <= NF; i++) if ($i ~ "^" word ";?$") total += $(i - 1) }
            /^ +[0-9]+ (passed|failed|skipped)/ { if ($2 == word) total += $1 }
            END { print total + 0 }'
}
bad=$(count failed)
[ "$bad" -ge "$failed" ] || bad=$failed
printf '\n%d passed, %d failed\n' "$(count passed)" "$bad"
[ "$failed" = 0 ]
