#!/usr/bin/env bash
# Installs the named parts where they are missing: target bindgen leptos node npm chromium postgres python autobahn sqlite.
. "$(dirname "$0")/lib.sh"

# Debian packages, as root or by password-less sudo; else one line that says what to type.
packages() {
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        if ! { has sudo && sudo -n true 2>/dev/null; } || ! has apt-get; then
            fail "missing packages; please type: sudo apt-get install --no-install-recommends $*"
        fi
        sudo=(sudo)
    fi
    has apt-get || fail "please install these with your system's package manager: $*"
    say "installing Debian packages: $*"
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# The version of a crate in Cargo.lock.
locked_version() {
    awk -v name="name = \"$1\"" '$0 == name { getline; gsub(/version = |"/, ""); print; exit }' Cargo.lock
}

setup_target() {
    has cargo || fail "cargo is missing; please install Rust with rustup: https://rustup.rs"
    [ -d "$(rustc --print sysroot)/lib/rustlib/$wasm" ] && return
    has rustup || fail "the Rust target $wasm is missing; please add it to your Rust installation"
    say "adding the Rust target $wasm"
    rustup target add "$wasm"
}

# Its version must equal the library's to the last digit. A debug build of the tool compiles much faster.
setup_bindgen() {
    local version
    version=$(locked_version wasm-bindgen)
    [ "$(wasm-bindgen --version 2>/dev/null)" = "wasm-bindgen $version" ] && return
    say "installing wasm-bindgen $version from source (about 2 minutes, once)"
    CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=fallback \
        cargo install wasm-bindgen-cli --version "$version" --no-default-features --debug
}

# `no_downloads`: it takes wasm-bindgen and wasm-opt from PATH instead of fetching binaries.
setup_leptos() {
    local version=0.3.10
    [ "$(cargo leptos --version 2>/dev/null)" = "cargo-leptos $version" ] && return
    say "installing cargo-leptos $version from source (about 6 minutes, once)"
    cargo install cargo-leptos --version "$version" --locked --debug --features no_downloads
}

setup_node() {
    has node && has npm && return
    packages nodejs npm
}

setup_npm() {
    setup_node
    [ end2end/node_modules/.package-lock.json -nt end2end/package-lock.json ] && return
    say "installing the npm packages of end2end"
    (cd end2end && npm ci --no-audit --no-fund && touch node_modules/.package-lock.json)
}

setup_chromium() {
    has chromium && has chromedriver && return
    packages chromium chromium-driver
}

# Only the programs are needed: the tests start private, throw-away clusters of their own.
setup_postgres() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && return
    has initdb && return
    packages postgresql
}

# The end-to-end tests read the database file with a program that is not ours.
setup_sqlite() {
    has sqlite3 || packages sqlite3
}

# Some of the WAMP clients by others are Python programs; each runs in a venv of its own.
setup_python() {
    python3 -c 'import venv, ensurepip' 2>/dev/null || packages python3-venv
}

# Autobahn|Python, a WAMP client by others, in a venv of its own.
setup_autobahn() {
    local wanted=autobahn==26.10.2 venv=$target/interop/venv
    # scram needs argon2 and passlib; cryptosign the others.
    "$venv/bin/python" -c 'import argon2, base58, nacl, passlib' 2>/dev/null &&
        "$venv/bin/pip" freeze 2>/dev/null | grep -ix "$wanted" >/dev/null && return
    setup_python
    say "installing $wanted"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check "${wanted/==/[scram,encryption]==}"
}

for part in "$@"; do
    case $part in
        target | bindgen | leptos | node | npm | chromium | postgres | python | autobahn | sqlite) "setup_$part" ;;
        *) fail "unknown part: $part" ;;
    esac
done
