#!/bin/sh
# Tests of RunnerCore on Linux: with the Swift of this machine, else with that of Debian trixie in a root file system of its
# own (2.6 GB, kept in the cache folder; made by root, needs unshare). Exit code 77: there is no way to run them here, and why.
#
#   linux-test.sh [WORDS FOR swift test]      e.g. --filter RequestTests
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cache=${FARM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/farm}
root=$cache/swift-root
# Swift's package only recommends the headers that it compiles with.
packages=swiftlang,libc6-dev,libstdc++-14-dev

skip() {
    echo "skipped: $*"
    exit 77
}

have() { command -v "$1" > /dev/null 2>&1; }

make_root() {
    [ "$(uname -m)" = x86_64 ] || [ "$(uname -m)" = aarch64 ] || skip "Debian has no Swift for $(uname -m)"
    have apt-get || skip "no Swift on this machine, and no apt to make a root file system with it"
    if ! have mmdebstrap && ! have debootstrap; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends mmdebstrap > /dev/null ||
            skip "no Swift on this machine, and mmdebstrap cannot be installed"
    fi
    echo "making $root: Debian trixie with swiftlang"
    rm -rf "$root.part"
    if have mmdebstrap; then
        mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" trixie "$root.part"
    else
        debootstrap --variant=minbase trixie "$root.part" > "$cache/swift-root.log" &&
            chroot "$root.part" apt-get update -qq &&
            chroot "$root.part" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
                $(echo "$packages" | tr , " ") >> "$cache/swift-root.log" 2>&1 &&
            chroot "$root.part" apt-get clean
    fi || {
        rm -rf "$root.part"
        skip "no Swift on this machine, and Debian's packages cannot be fetched"
    }
    echo "$packages" > "$root.part/packages"
    rm -rf "$root"
    mv "$root.part" "$root"
}

if [ "${1:-}" = inside ]; then
    # In mount and process name spaces of our own: what is mounted here goes with them.
    repository=$2 root=$3
    shift 3
    mkdir -p "$root/farm" "$root/farm-build"
    mount --bind "$repository" "$root/farm"
    mount -o remount,bind,ro "$root/farm"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" env HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 FARM_IN_ROOT=1 \
        /bin/sh /farm/ios_runner/linux-test.sh "$@"
fi

if have swift; then
    if [ "${FARM_IN_ROOT:-}" = 1 ]; then
        build=/farm-build
    else
        build=$cache/swift-build
    fi
    swift --version 2>&1
    exec swift test --package-path "$here" --scratch-path "$build" "$@"
fi

[ "$(id -u)" = 0 ] || skip "no Swift on this machine; root could make a root file system with it"
have unshare || skip "no Swift on this machine, and no unshare to enter a root file system with it"
mkdir -p "$cache"
exec 9> "$cache/swift-root.lock"
if have flock; then flock 9; fi
[ "$(cat "$root/packages" 2> /dev/null)" = "$packages" ] || make_root
unshare --mount --pid --fork --kill-child true 2> /dev/null || skip "no Swift on this machine, and no name spaces may be made here"
exec unshare --mount --pid --fork --kill-child "$here/linux-test.sh" inside "$(dirname "$here")" "$root" "$@"
