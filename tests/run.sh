#!/bin/sh
# Installs what the tests need, builds creel and runs all its tests: first unit and fault tests under the address and
# undefined-behaviour sanitizers, then everything on the optimised build. ctest's closing line comes last.
#
#   sh tests/run.sh [--no-install | --fast] [-- CTEST-ARGUMENT...]      such as  -- -R webui
#
# --no-install and --fast are those of config/setup.sh.
#
# A skipped test is printed with its reason and must be in tests/allowed-skips.txt with it; storage, model and
# browser tests are never in there. Logs: build/*.log.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
jobs=$(nproc)
allowed=$root/tests/allowed-skips.txt
setup_option=

say() { printf '%s\n' "$*"; }
fail() { printf 'run.sh: %s\n' "$*" >&2; exit 1; }

while [ $# -gt 0 ]; do
    case $1 in
    --no-install | --fast) setup_option=$1 ;;
    -h | --help) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
    --) shift; break ;;
    *) printf 'run.sh: not an option: %s\n' "$1" >&2; exit 2 ;;
    esac
    shift
done

cd "$root"
! grep -nE '^(contract|fault|integration|browser)/' "$allowed" || fail "tests/allowed-skips.txt allows what may not skip"

# shellcheck disable=SC2086 # none, or one word
sh config/setup.sh tests $setup_option

build() { # PRESET
    say "building $1"
    (cmake --preset "$1" ${DARKNET_ROOT:+"-DDARKNET_ROOT=$DARKNET_ROOT"} &&
        cmake --build --preset "$1" -j "$jobs") >"build/$1.log" 2>&1 || {
        grep -E -A 8 'error|Error|FAILED' "build/$1.log" | head -n 60 >&2 || true
        fail "the build failed; all of its output: build/$1.log"
    }
}

# "name<TAB>reason" of each skipped test, from what ctest noted; the reason is the line that the test printed.
skips_of() { # JUNIT-FILE
    awk '
        /<testcase / { name = $0; sub(/.*name="/, "", name); sub(/".*/, "", name); skipped = 0; reason = "" }
        /<skipped/ { skipped = 1 }
        skipped && reason == "" && /skipped: / { reason = $0; sub(/.*skipped: /, "", reason); sub(/<.*/, "", reason) }
        /<\/testcase>/ { if (skipped) printf "%s\t%s\n", name, reason == "" ? "no reason given" : reason }
    ' "$1" | sed 's/&lt;/</g; s/&gt;/>/g; s/&quot;/"/g; s/&apos;/'"'"'/g; s/&amp;/\&/g'
}

# Prints the skips; false when one is not allowed.
skips_allowed() { # JUNIT-FILE
    skips_of "$1" >build/skips.txt
    verdict=0
    while IFS='	' read -r name reason; do
        if grep -qxF "$name: $reason" "$allowed"; then
            say "skipped, as allowed: $name: $reason"
        else
            say "skipped, and must not be: $name: $reason"
            verdict=1
        fi
    done <build/skips.txt
    return $verdict
}

sanitized=fine
if [ $# -eq 0 ]; then
    build asan
    say "unit and fault tests under the sanitizers"
    ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
        ctest --test-dir build/asan -L '^(unit|fault)$' -j "$jobs" --output-on-failure --no-tests=error \
        --output-junit "$root/build/asan.xml" || sanitized=failed
    skips_allowed build/asan.xml || sanitized=failed
fi

build dev
say "all tests"
# What ctest says from its closing summary on is held back until the skips have been looked at.
rm -f build/closing.txt build/ctest.status
{
    status=0
    ctest --test-dir build/dev -j "$jobs" --output-on-failure --no-tests=error --output-junit "$root/build/dev.xml" "$@" 2>&1 ||
        status=$?
    echo $status >build/ctest.status
} | awk -v closing=build/closing.txt '
    /% tests passed,/ { held = 1 }
    held { print > closing; next }
    { print; fflush() }'
status=$(cat build/ctest.status)
skips_allowed build/dev.xml || status=1
[ "$sanitized" = fine ] || { say "tests failed under the sanitizers, see above"; status=1; }
[ ! -f build/closing.txt ] || cat build/closing.txt
exit "$status"
