#!/bin/sh
# The shell scripts parse in a POSIX shell; quickstart.sh and setup.sh refuse what they do not know, and explain themselves.
set -eu
cd "$CREEL_SOURCE_DIR"
find config tests .ci -name '*.sh' -exec sh -n {} \;
sh -n .ci/run

refuses() { # EXIT-STATUS PART-OF-MESSAGE COMMAND...
    want=$1 part=$2
    shift 2
    got=0
    text=$("$@" 2>&1) || got=$?
    case $got:$text in
    "$want":*"$part"*) ;;
    *) printf '%s: expected exit %s and "%s", got %s:\n%s\n' "$*" "$want" "$part" "$got" "$text"; exit 1 ;;
    esac
}

refuses 0 '--no-install' sh config/quickstart.sh --help
refuses 2 'not an option: --sceonds' sh config/quickstart.sh --sceonds 3
refuses 2 '--seconds lacks its number' sh config/quickstart.sh --seconds
refuses 2 'takes a whole number from 1, not "0"' sh config/quickstart.sh --seconds 0
refuses 2 'takes a whole number from 1, not "1m"' sh config/quickstart.sh --seconds 1m
refuses 2 '--state lacks its directory' sh config/quickstart.sh --state
refuses 1 'name another with --state' sh config/quickstart.sh --state /proc/creel
refuses 2 'sh config/setup.sh build' sh config/setup.sh
refuses 2 'sh config/setup.sh build' sh config/setup.sh nothing
refuses 0 'DARKNET_ROOT' sh config/setup.sh --help
refuses 2 'not an option: -R' sh tests/run.sh -R x
