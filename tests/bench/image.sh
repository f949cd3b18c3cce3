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

. "$(dirname "$0")/build.sh"

build_bench bench-image creel-worker-cpu
exec "$build/bin/bench-image" --json "$build/image.json" "$@"
