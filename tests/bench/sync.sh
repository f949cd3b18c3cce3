#!/bin/sh
# Builds the sync's benchmark with the flags of a release and runs it: creel beside a bare libcurl loop that hashes and
# signs the same way, and rclone, to the same servers in the same run. It is no test: nothing passes or fails by a time.
#
#   sh tests/bench/sync.sh [--frames N] [--bytes N] [--rounds N] [--transfers N] [--many N] [--only STAGE,STAGE...]
#                          [--dir DIR] [--json FILE]
#
# --frames     of each contest: 2000 unless said, each of --bytes (60000).
# --rounds     how often each contestant has its turn: 5 unless said. The median is printed.
# --transfers  of those that have a fixed number: 16 unless said.
# --many       rows of the stages backlog and idle: 1000000 unless said; they need some minutes and 2 GB.
# --only       of: null (a sink that throws away), latency (the same, 50 ms away), azurite, rgw, backlog, idle.
# --dir        where stores and files are made, and removed again: TMPDIR or /tmp unless said.
# --json       the file of the results: build/bench/sync.json unless said.
#
# rclone is Debian's package; Azurite and the S3 server are those of the tests (tests/run.sh installs them).
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${CREEL_BENCH_BUILD:-$root/build/bench}

case ${1-} in
-h | --help) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
esac

mkdir -p "$build"
{
    cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCREEL_TESTS=ON \
        ${DARKNET_ROOT:+"-DDARKNET_ROOT=$DARKNET_ROOT"} &&
        cmake --build "$build" --target bench-sync
} >"$build/build.log" 2>&1 || {
    tail -n 30 "$build/build.log" >&2
    printf 'sync.sh: the build failed; all of its output: %s\n' "$build/build.log" >&2
    exit 1
}
CREEL_NODE_DIR=${CREEL_NODE_DIR:-$root/build/node}
export CREEL_NODE_DIR
find "$build" -type f -name bench-sync -perm -u+x >"$build/bench-sync.path"
exec "$(cat "$build/bench-sync.path")" --json "$build/sync.json" "$@"
