#!/bin/sh
# Builds creel with the flags of a release and measures its gallery over a store of many frames: how long pages take, how many
# thumbnails and blobs a second it serves beside nginx with the same bytes as files, what a first view weighs, and how
# smoothly a browser scrolls through 5,000 thumbnails beside a plain page of the same that nginx serves. It is no test:
# nothing passes or fails by a time.
#
#   sh tests/bench/webui.sh [--frames N] [--store DIR] [--only pages|rates|browser] [--requests N] [--rounds N] [--json FILE]
#
# --frames    how many frames the store holds: 1000000 unless said, which takes some minutes and 9 GB of disk.
# --store     where the store lies. One that is there is used as it is, and stays; without it, one is made below TMPDIR or
#             /tmp and removed again. nginx's files lie beside it.
# --only      one of the three parts.
# --requests  how many of each page: 300 unless said.
# --rounds    how often wrk asks each server, in turns of 3 s: 5 unless said. The median is printed.
# --json      the file of the results: build/bench/webui.json unless said.
#
# Needs what `sh config/setup.sh tests` installs: wrk, nginx, Chromium, and node with playwright-core below build/node.
set -eu

. "$(dirname "$0")/build.sh"
node_dir=${CREEL_NODE_DIR:-$root/build/node}
node=$node_dir/node_modules/.bin/node

[ -x "$node" ] || { echo "webui.sh: no $node: sh config/setup.sh tests" >&2; exit 1; }

build_bench creel creel-worker-cpu bench-webui-store
export CREEL_BUILD_DIR="$build" CREEL_SOURCE_DIR="$root" CREEL_NODE_DIR="$node_dir"
exec "$node" "$root/tests/bench/webui.mjs" --json "$build/webui.json" "$@"
