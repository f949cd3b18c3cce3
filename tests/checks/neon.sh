#!/bin/sh
# The kernels for 64-bit Arm, compiled by a cross compiler and run on qemu's processor.
set -eu
cd "$CREEL_SOURCE_DIR"
for tool in aarch64-linux-gnu-gcc qemu-aarch64; do
    command -v $tool >/dev/null || { echo "skipped: aarch64-linux-gnu-gcc or qemu-aarch64 is not installed"; exit 77; }
done
program=$(mktemp)
trap 'rm -f "$program"' EXIT
aarch64-linux-gnu-gcc -O2 -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wconversion -Wshadow -Werror -static -I. -o "$program" \
    tests/checks/neon.c inference/worker/kernels*.c inference/worker/layers*.c daemon/base/mem.c -lm
qemu-aarch64 "$program"
