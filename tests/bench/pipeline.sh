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

. "$(dirname "$0")/build.sh"

build_bench bench-pipeline creel creel-worker-cpu
exec "$build/bin/bench-pipeline" --json "$build/pipeline.json" "$@"
