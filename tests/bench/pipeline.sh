#!/bin/sh
# Builds the benchmark of the whole pipeline, a directory of 1080p JPEGs to durable frames, with the flags of a release,
# and runs it. It is no test: nothing passes or fails by a time.
#
#   sh tests/bench/pipeline.sh [--model DIR] [--frames N] [--workers N] [--rounds N] [--dir DIR] [--json FILE]
#
# --model    a model directory: the one that comes with creel unless said.
# --frames   of each round: 600 unless said.
# --workers  2 unless said.
# --rounds   5 unless said; the table has medians.
# --dir      where inbox and store are made, and removed again: TMPDIR or /tmp unless said.
# --json     the file of the results: build/bench/pipeline.json unless said.
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
        cmake --build "$build" --target bench-pipeline creel creel-worker-cpu
} >"$build/build.log" 2>&1 || {
    tail -n 30 "$build/build.log" >&2
    printf 'pipeline.sh: the build failed; all of its output: %s\n' "$build/build.log" >&2
    exit 1
}
exec "$build/bin/bench-pipeline" --json "$build/pipeline.json" "$@"
