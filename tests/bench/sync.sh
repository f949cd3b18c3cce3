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

. "$(dirname "$0")/build.sh"

build_bench bench-sync
CREEL_NODE_DIR=${CREEL_NODE_DIR:-$root/build/node}
export CREEL_NODE_DIR
exec "$build/bin/bench-sync" --json "$build/sync.json" "$@"
