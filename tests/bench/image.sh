#!/bin/sh
# Builds the benchmark of a frame's way from JPEG bytes to the verdict with the flags of a release, and runs it. It is no
# test: nothing passes or fails by a time.
#
#   sh tests/bench/image.sh [--model DIR] [--size WIDTHxHEIGHT] [--quality N] [--rounds N] [--json FILE]
#
# --model    a model directory: the one that comes with creel unless said.
# --size     of the picture, which is rendered: 1920x1080 unless said.
# --quality  of its JPEG: 75 unless said.
# --rounds   41 unless said; the table has the median and the least time of each step.
# --json     the file of the results: build/bench/image.json unless said.
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
        cmake --build "$build" --target bench-image creel-worker-cpu
} >"$build/build.log" 2>&1 || {
    tail -n 30 "$build/build.log" >&2
    printf 'image.sh: the build failed; all of its output: %s\n' "$build/build.log" >&2
    exit 1
}
exec "$build/bin/bench-image" --json "$build/image.json" "$@"
