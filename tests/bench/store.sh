#!/bin/sh
# Builds the store's benchmark with the flags of a release and runs it. It is no test: nothing passes or fails by a time.
#
#   sh tests/bench/store.sh [--frames N,N...] [--dir DIR] [--rounds N] [--only rates|scale] [--without rebuild] [--json FILE]
#
# --frames   how many frames the stores of the second part hold: 10000,100000 unless said. 1000000 takes some minutes and
#            4 GB of disk, 10000000 some hours and 40 GB.
# --dir      where the stores are made, and removed again: TMPDIR or /tmp unless said. It should lie on the disk in question
#            (not in memory).
# --rounds   how often each rate of the first part is measured: 7 unless said.
# --only     one of the two parts.
# --without  rebuild: leaves that stage out, which takes longer than all others of a large store.
# --json     the file of the results: build/bench/store.json unless said.
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
        cmake --build "$build" --target bench-store
} >"$build/build.log" 2>&1 || {
    tail -n 30 "$build/build.log" >&2
    printf 'store.sh: the build failed; all of its output: %s\n' "$build/build.log" >&2
    exit 1
}
find "$build" -type f -name bench-store -perm -u+x >"$build/bench-store.path"
exec "$(cat "$build/bench-store.path")" --json "$build/store.json" "$@"
