#!/bin/sh
# The matrix of faults at full size: every fault, both clouds, in all three ways, as a table; ctest runs a part of it that
# fits. Then the faults of a disk, and the planted faults, each of which it must catch. Fails when a cell does, or a planted fault is not caught.
#
#   sh tests/fault/sync_matrix.sh BUILD-DIRECTORY [ROUNDS]
#
# BUILD-DIRECTORY  with test_sync_matrix, test_sync_disk and the sync_mutant_* built
# ROUNDS           how many times; where a process is killed differs a little each time     1
#
# CREEL_FAULTS=503, CREEL_FAULT_HOW=kill, CREEL_FAULT_REMOTE=s3: only the faults, the ways or the cloud whose names hold
# that. CREEL_FAULT_PARTS=1: objects that go up in blocks or parts.
set -eu
build=${1:?usage: sh tests/fault/sync_matrix.sh BUILD-DIRECTORY [ROUNDS]}
here=$(cd "$(dirname "$0")" && pwd)
export CREEL_FAULT_FULL=1 CREEL_NODE_DIR="${CREEL_NODE_DIR:-$here/../../build/node}"
status=0

for _ in $(seq "${2:-1}"); do
    "$build/tests/test_sync_matrix" >"$build/matrix.log" 2>&1 || status=1
    sort -k 2 "$build/matrix.log" | grep -E '^(ok|FAILED)' || true
    grep -vE '^(ok|FAILED)' "$build/matrix.log" || status=1
done
"$build/tests/test_sync_disk" || status=1

for mutant in "$build"/tests/sync_mutant_*; do
    CREEL_FAULT_FULL=0 "$mutant" >"$build/mutant.log" 2>&1 || status=1
    tail -n 1 "$build/mutant.log"
done
[ "$status" = 0 ] && echo "sync faults: all as they must be" || echo "sync faults: FAILED"
exit "$status"
