#!/bin/sh
# creel(1) knows every command of the program and no other; the manual pages are free of faults. (That creel.yaml(5) has
# every key is tested with the key table.)
set -eu
cd "$CREEL_SOURCE_DIR"
command -v groff >/dev/null || { echo "skipped: groff is not installed"; exit 77; }

faults=$(groff -mdoc -ww -Tutf8 -z config/man/creel.1 config/man/creel.yaml.5 2>&1)
[ -z "$faults" ] || { echo "$faults"; exit 1; }

"$CREEL_BUILD_DIR/bin/creel" --help | sed -n 's/^  \([a-z]*\)  *.*/\1/p' | sort -u >"${TMPDIR:-/tmp}/creel-program.$$"
sed -n 's/^\.It Ic \([a-z]*\).*/\1/p' config/man/creel.1 | sort -u >"${TMPDIR:-/tmp}/creel-manual.$$"
status=0
[ -s "${TMPDIR:-/tmp}/creel-program.$$" ] || status=1
diff "${TMPDIR:-/tmp}/creel-program.$$" "${TMPDIR:-/tmp}/creel-manual.$$" || status=1
rm -f "${TMPDIR:-/tmp}/creel-program.$$" "${TMPDIR:-/tmp}/creel-manual.$$"
exit $status
