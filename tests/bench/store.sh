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

. "$(dirname "$0")/build.sh"

build_bench bench-store
exec "$build/bin/bench-store" --json "$build/store.json" "$@"
