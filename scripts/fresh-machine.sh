#!/usr/bin/env bash
# Shows what a newcomer gets: a minimal Debian in FOLDER with only rustup, git, make, a C compiler and apt, a clone of this
# repository's HEAD in it, then `make run` and `make test` with their minutes. As root: scripts/fresh-machine.sh FOLDER [run] [test]
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || fail "this needs root: it makes and enters another Debian"
[ $# -ge 1 ] || fail "usage: scripts/fresh-machine.sh FOLDER [run] [test]"
folder=$(realpath -m "$1")
shift
[ $# -gt 0 ] || set -- run test
home=home/newcomer
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
cargo_home=${CARGO_HOME:-$HOME/.cargo}

if [ ! -f "$folder/.made" ]; then
    rm -rf "$folder"
    has debootstrap || { apt-get update -qq && apt-get install -y -qq debootstrap >/dev/null; }
    . /etc/os-release
    say "Debian $VERSION_CODENAME into $folder"
    debootstrap --variant=minbase --include=ca-certificates,git,make,gcc,libc6-dev "$VERSION_CODENAME" "$folder" >/dev/null
    # The way to the outside is this machine's: names, package sources, certificates, registries.
    cp -L /etc/resolv.conf /etc/hosts "$folder/etc/"
    rm -f "$folder/etc/apt/sources.list"
    cp -r /etc/apt/sources.list* /etc/apt/apt.conf.d "$folder/etc/apt/"
    cp -r /usr/local/share/ca-certificates "$folder/usr/local/share/"
    chroot "$folder" update-ca-certificates >/dev/null
    [ ! -f /etc/npmrc ] || cp /etc/npmrc "$folder/etc/"
    mkdir -p "$folder/$home"
    [ ! -f "$HOME/.npmrc" ] || cp "$HOME/.npmrc" "$folder/$home/"
    # rustup as it leaves a machine: the tool chain without the WASM target, no crates, no other programs.
    mkdir -p "$folder/$home/.rustup/toolchains" "$folder/$home/.cargo/bin"
    cp "$rustup_home/settings.toml" "$folder/$home/.rustup/"
    cp -r "$rustup_home/update-hashes" "$folder/$home/.rustup/" 2>/dev/null || true
    for name in cargo cargo-clippy cargo-fmt clippy-driver rustc rustdoc rustfmt rustup; do
        cp -L "$cargo_home/bin/$name" "$folder/$home/.cargo/bin/"
    done
    for name in config config.toml; do [ ! -f "$cargo_home/$name" ] || cp "$cargo_home/$name" "$folder/$home/.cargo/"; done
    version=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    chain=$(basename "$(ls -d "$rustup_home/toolchains/$version"*)")
    rm -rf "$folder/$home/.rustup/toolchains/$chain"
    tar -C "$(realpath "$rustup_home/toolchains/$chain")" --exclude=share/doc -cf - . |
        { mkdir "$folder/$home/.rustup/toolchains/$chain" && tar -C "$folder/$home/.rustup/toolchains/$chain" -xf -; }
    sed -i "s/^default_toolchain.*/default_toolchain = \"$chain\"/" "$folder/$home/.rustup/settings.toml"
    first=true
    touch "$folder/.made"
fi
rm -rf "$folder/$home/coati"
git clone --quiet --no-hardlinks "$root" "$folder/$home/coati"

# inside COMMAND: runs it in the new Debian, with nothing of this one's environment but the way to the outside.
inside() {
    local kept=()
    while IFS= read -r line; do kept+=("$line"); done < <(env | grep -iE '^(https?_proxy|no_proxy|[A-Z_]*(SSL|CA|CERT)[A-Z_]*|RUSTUP_[A-Z_]*|CARGO_REG[A-Z_]*|CARGO_HTTP[A-Z_]*)=' | grep -v '^RUSTUP_HOME')
    unshare --mount --pid --fork --kill-child bash -c '
        set -e
        mount --rbind /dev "$0/dev"
        mount -t sysfs sysfs "$0/sys"
        mount -t proc proc "$0/proc"
        exec chroot "$0" env -i "${@:3}" HOME="/$2" LANG=C.UTF-8 TERM=dumb PATH="/$2/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" bash -c "cd /$2/coati && $1"
    ' "$folder" "$1" "$home" "${kept[@]}"
}

[ -z "${first:-}" ] || inside "rustup target remove $wasm"
for what in "$@"; do
    # Beside the folder: `make test` empties the place of its own logs.
    log=$folder.$what.log
    start=$SECONDS
    result=ok
    case $what in
        run)
            port=${PORT:-38474}
            inside "SAFETY_ADDR=127.0.0.1:$port make run" > "$log" 2>&1 &
            job=$!
            while kill -0 "$job" 2>/dev/null && ! grep -q listening "$log"; do sleep 0.5; done
            grep -q listening "$log" && curl -fsS "http://127.0.0.1:$port/login" | grep -q password || result=FAILED
            # The server is a grandchild in a process space of its own, which ends with its first process.
            pkill -KILL -P "$job" 2>/dev/null || true
            wait "$job" 2>/dev/null || true
            ;;
        *) inside "CI=true make $what" > "$log" 2>&1 || result=FAILED ;;
    esac
    took=$((SECONDS - start))
    table+=("$(printf '%-22s %3d min %02d s   %s   %s' "make $what" $((took / 60)) $((took % 60)) "$result" "$log")")
    [ "$result" = ok ] || failed=1
done
report
[ "$failed" = 0 ]
