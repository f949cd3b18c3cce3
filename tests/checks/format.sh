#!/bin/sh
# Every .c and .h of ours is as clang-format (.clang-format) writes it.
set -eu
cd "$CREEL_SOURCE_DIR"
command -v clang-format >/dev/null || { echo "skipped: clang-format is not installed"; exit 77; }
status=0
for file in $(find daemon store sync inference webui schemas config tests -name '*.[ch]' | sort); do
    if ! clang-format "$file" | cmp -s - "$file"; then
        echo "$file: not as clang-format -i writes it"
        status=1
    fi
done
exit $status
