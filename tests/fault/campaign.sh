#!/bin/sh
# The store's fault campaigns at full size; ctest runs the same programs at a size that fits it. Prints one line a campaign
# and fails when one does. Hours on a small machine: rounds may be given.
#
#   sh tests/fault/campaign.sh BUILD-DIRECTORY [KILL-ROUNDS [POWER-ROUNDS [PROPERTY-ROUNDS [STEP [SEED]]]]]
#
# KILL-ROUNDS      processes killed by SIGKILL at a random moment under load      2000
# POWER-ROUNDS     power cuts: times 15 runs of up to 12 disk images each         100
# PROPERTY-ROUNDS  stores of six lives against the model                          300
# STEP             every how many-th call of SQLite and allocation fails          1
# SEED             where all dice begin                                           1
set -eu
build=${1:?usage: sh tests/fault/campaign.sh BUILD-DIRECTORY [ROUNDS...]}
export CREEL_KILL_ROUNDS="${2:-2000}" CREEL_POWER_ROUNDS="${3:-100}" CREEL_PROPERTY_ROUNDS="${4:-300}"
export CREEL_FAULT_STEP="${5:-1}" CREEL_SEED="${6:-1}"
status=0

for suite in test_store_crash test_store_power test_store_property test_store_memory test_store_faults; do
    "$build/tests/$suite" || status=1
done

# A planted fault ends a campaign as soon as it is found.
export CREEL_POWER_ROUNDS=25
for mutant in "$build"/tests/store_mutant_*; do
    "$mutant" >"$build/mutant.log" || status=1
    tail -n 1 "$build/mutant.log"
done
[ "$status" = 0 ] && echo "store campaigns: all as they must be" || echo "store campaigns: FAILED"
exit "$status"
