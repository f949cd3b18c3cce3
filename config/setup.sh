#!/bin/sh
# Installs what creel is built from and tested with, from Debian's packages and npm alone.
#
#   sh config/setup.sh build      compiler, libraries, Darknet
#   sh config/setup.sh tests      those, and test servers, a browser and npm packages (build/node)
#   sh config/setup.sh darknet    Darknet alone
#
# --no-install    installs nothing: says what is missing and how to get it, and ends with 1
#
# --fast          for throw-away machines: dpkg does not wait for the disk
#
# What is there already is left alone, so it may run again at any time. Packages need root, or sudo; everything
# else goes below build/. Debian's package darknet pulls in 870 MB (OpenCV, Qt) for functions that creel never
# calls: where it is not installed, it is only unpacked, into build/darknet. A Darknet of your own: set
# DARKNET_ROOT.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
LC_ALL=C
DEBIAN_FRONTEND=noninteractive
export LC_ALL DEBIAN_FRONTEND

# A package, or command:package where another provider of the command will do as well.
build_packages='
    gcc:gcc libc6-dev cmake:cmake ninja:ninja-build pkg-config:pkg-config readelf:binutils
    libsqlite3-dev libcurl4-openssl-dev libssl-dev libyaml-dev libturbojpeg0-dev libjpeg62-turbo-dev libpng-dev zlib1g-dev
    libmicrohttpd-dev libjansson-dev libexpat1-dev libarchive-dev libseccomp-dev libsystemd-dev ca-certificates
    libavformat-dev libavcodec-dev libavdevice-dev libswscale-dev'
test_packages='
    check clang-format:clang-format curl:curl openssl:openssl
    radosgw ceph-mon ceph-osd nginx:nginx-light chromium:chromium fonts-dejavu-core ffmpeg:ffmpeg npm:npm
    libnginx-mod-rtmp python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good
    groff:groff-base rclone awscli wrk
    aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-aarch64:qemu-user'

say() { printf '%s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

usage() {
    sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"
}

# ---- Debian packages ----

have_package() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

have_command() {
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ]
}

# The names of the packages of "$@" that are missing.
missing_of() {
    for entry in "$@"; do
        case $entry in
        *:*) have_command "${entry%%:*}" || printf '%s ' "${entry#*:}" ;;
        *) have_package "$entry" || printf '%s ' "$entry" ;;
        esac
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# "12.3 MB to download, 45.6 MB on disk" for packages; nothing where apt cannot tell.
size_of() {
    apt-get -o Debug::NoLocking=1 install --no-install-recommends --assume-no "$@" 2>/dev/null | awk '
        /^Need to get/ { got = $4 " " $5; sub(/\/.*/, "", got) }
        /^After this operation/ { for (i = 1; i < NF; i++) if ($i ~ /^[0-9]/) { disk = $i " " $(i + 1); break } }
        END { if (disk != "") printf "%s to download, %s on disk", got == "" ? "nothing" : got, disk }'
}

install_packages() {
    # shellcheck disable=SC2046,SC2086 # words on purpose
    set -- $(missing_of $1)
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "not a Debian system; creel needs these packages or their like: $*"
    if [ "$no_install" = 1 ]; then
        size=$(size_of "$@")
        say "missing: $*${size:+ ($size)}" >&2
        say "install them with: ${sudo_word}apt-get install --no-install-recommends $*" >&2
        exit 1
    fi
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        fail "neither root nor sudo; run as root: apt-get install --no-install-recommends $*"
    say "missing packages: $*"
    as_root apt-get -qq -o Acquire::Retries=3 update || fail "apt-get update failed; is there a network?"
    size=$(size_of "$@")
    say "installing them and what they need${size:+: $size}"
    # shellcheck disable=SC2086 # none, or one word
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 $fast \
        install --no-install-recommends "$@" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "apt-get install failed (all of its output: $log)"; }
}

# ---- Darknet ----

darknet_complete() {
    [ -f "$1/usr/lib/darknet/libdarknet.so" ] && [ -f "$1/usr/lib/darknet/include/darknet.h" ]
}

# With the photos in its data folder, which some tests push through; CMake looks for library and header here.
unpack_darknet() {
    [ -z "${DARKNET_ROOT:-}" ] || return 0
    if darknet_complete "" || darknet_complete "$root/build/darknet"; then
        return 0
    fi
    if [ "$no_install" = 1 ]; then
        say "missing: Darknet (3 MB, unpacked into build/darknet)" >&2
        say "get it with: sh config/setup.sh darknet" >&2
        exit 1
    fi
    say "unpacking Debian's darknet into build/darknet (3 MB)"
    part=$root/build/darknet.part
    rm -rf "$part"
    mkdir -p "$part"
    # apt's own user may not be allowed to write here; the file's hash is checked all the same.
    (cd "$part" && apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User="$(id -un)" download darknet >"$log" 2>&1) ||
        { tail -n 5 "$log" >&2
          fail "cannot download Debian's package darknet; \`${sudo_word}apt-get update\` first, or set DARKNET_ROOT"; }
    dpkg-deb -x "$part"/darknet_*.deb "$part" || fail "dpkg-deb cannot unpack darknet"
    darknet_complete "$part" || fail "Debian's package darknet has no library or header; set DARKNET_ROOT"
    rm -rf "$part"/darknet_*.deb "$root/build/darknet"
    mv "$part" "$root/build/darknet"
}

# ---- npm packages of the tests ----

# The lock file has every version and hash, and no host: packages come from the registry that npm is set to.
install_npm() {
    node_dir=$root/build/node
    stamp=$node_dir/installed
    if cat "$root/tests/package.json" "$root/tests/package-lock.json" | cmp -s - "$stamp" &&
        "$node_dir/node_modules/.bin/node" --version >/dev/null 2>&1; then
        return 0
    fi
    if [ "$no_install" = 1 ]; then
        say "missing: the tests' npm packages (in build/node)" >&2
        say "get them with: sh config/setup.sh tests" >&2
        exit 1
    fi
    say "installing the tests' npm packages into build/node"
    mkdir -p "$node_dir"
    rm -f "$stamp"
    cp "$root/tests/package.json" "$root/tests/package-lock.json" "$node_dir/"
    # Not `npm ci`: its version 11 refuses the lock file where the registry lacks a package of another platform.
    rm -rf "$node_dir/node_modules"
    (cd "$node_dir" &&
        PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 npm install --no-save --no-audit --no-fund --loglevel=error) >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "npm install failed"; }
    "$node_dir/node_modules/.bin/node" --version >/dev/null || fail "the node of npm's package does not run"
    cat "$root/tests/package.json" "$root/tests/package-lock.json" >"$stamp"
}

# ---- main ----

no_install=0
fast=
what=
for word in "$@"; do
    case $word in
    --no-install) no_install=1 ;;
    --fast) fast='-oDpkg::Options::=--force-unsafe-io' ;;
    -h | --help) usage; exit 0 ;;
    build | tests | darknet) what=$word ;;
    *) usage >&2; exit 2 ;;
    esac
done
[ -n "$what" ] || { usage >&2; exit 2; }
sudo_word='sudo '
[ "$(id -u)" != 0 ] || sudo_word=
log=$root/build/setup.log
mkdir -p "$root/build"

case $what in
build)
    install_packages "$build_packages"
    unpack_darknet
    ;;
tests)
    install_packages "$build_packages $test_packages"
    unpack_darknet
    install_npm
    ;;
darknet)
    unpack_darknet
    ;;
esac
