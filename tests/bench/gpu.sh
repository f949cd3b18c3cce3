#!/bin/sh
# Builds the GPU's benchmark with the flags of a release and runs it: frames a second and milliseconds a frame of creel's
# batches beside Darknet's own loop, on the same device, in turns, from the host's memory to detections. Without a Darknet
# built for CUDA, or without a GPU, it says so and measures nothing. It is no test: nothing passes or fails by a time.
#
#   DARKNET_CUDA_ROOT=DIR sh tests/bench/gpu.sh [--device cuda:N] [--model DIR] [--rounds N] [--json FILE]
set -eu

. "$(dirname "$0")/build.sh"

build_bench bench-gpu creel-worker-cpu
loop=$build/bin/bench-gpu-loop
[ -x "$loop" ] || loop=
exec "$build/bin/bench-gpu" --json "$build/gpu.json" ${loop:+--loop "$loop"} "$@"
