#!/bin/sh
# Azurite, Microsoft's blob server for tests, for one suite: in a folder and on a port of the
# caller's choice, loopback only, stopped by its own pid file.
#
#   azurite.sh start DIR PORT [https]  returns when it answers; DIR keeps what is stored
#   azurite.sh stop DIR                softly: it writes its tables out; killed hard it forgets
#
# https makes a certificate for 127.0.0.1 and localhost once: a client has to trust DIR/cert.pem. It
# also lets tokens in (Bearer) whose times, issuer and audience are right; nobody checks who signed.
# With AZURITE_LOG set, DIR/log has a line for each request.
# CREEL_NODE_DIR is the folder whose node_modules holds azurite and node. With OWNER_PID set, the
# server ends soon after that process, however that one ends.
set -eu

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

running() { # the pid in the file is alive and not a zombie
    [ -f "$1" ] || return 1
    status=/proc/$(cat "$1")/status
    state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "$status" 2>/dev/null) || true
    [ -n "$state" ] && [ "$state" != Z ]
}

# A request that comes in while Azurite closes is never answered and keeps the process alive; once
# it says that its tables are closed, nothing is lost by ending it hard.
stop() {
    if running "$dir/pid"; then
        kill -TERM "$(cat "$dir/pid")" 2>/dev/null || true
        for _ in $(seq 400); do
            running "$dir/pid" || break
            grep -q 'successfully closed' "$dir/log" && break
            sleep 0.05
        done
        kill -KILL "$(cat "$dir/pid")" 2>/dev/null || true
        while running "$dir/pid"; do
            sleep 0.05
        done
    fi
    rm -f "$dir/pid"
}

guard() { # by its pid: the owner may have removed the folder by then
    tail --pid="$OWNER_PID" -f /dev/null
    ! tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$dir" || kill -KILL "$1"
}

certificate() {
    [ -f "$dir/cert.pem" ] || openssl req -x509 -newkey ec -nodes -days 30 \
        -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=localhost \
        -addext "subjectAltName=IP:127.0.0.1,DNS:localhost" \
        -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/openssl.log"
}

start() {
    modules=${CREEL_NODE_DIR:-$(dirname "$0")/../../build/node}/node_modules
    main=$modules/azurite/dist/src/blob/main.js
    node=$modules/.bin/node
    [ -x "$node" ] || node=$(command -v node || true)
    if [ ! -f "$main" ] || [ -z "$node" ]; then
        echo "azurite is not in $modules: run 'npm install azurite node@22' in a folder and set" \
            "CREEL_NODE_DIR to it" >&2
        exit 3
    fi
    if running "$dir/pid"; then
        echo "azurite already runs in $dir" >&2
        exit 1
    fi
    mkdir -p "$dir/data"
    scheme=http
    silent=--silent
    [ -z "${AZURITE_LOG:-}" ] || silent=
    # shellcheck disable=SC2086 # nothing, or one word
    set -- "$main" $silent --disableTelemetry --blobHost 127.0.0.1 --blobPort "$port" \
        --location "$dir/data"
    if [ "$tls" = https ]; then
        certificate
        scheme=https
        set -- "$@" --cert "$dir/cert.pem" --key "$dir/key.pem" --oauth basic
    fi
    setsid "$node" "$@" >"$dir/log" 2>&1 </dev/null &
    echo $! >"$dir/pid"
    [ -z "${OWNER_PID:-}" ] || guard "$(cat "$dir/pid")" >/dev/null 2>&1 </dev/null &
    for _ in $(seq 400); do
        curl -s -k --noproxy '*' -o /dev/null "$scheme://127.0.0.1:$port/" && exit 0
        running "$dir/pid" || break
        sleep 0.05
    done
    echo "azurite did not start on port $port: $(tail -n 3 "$dir/log")" >&2
    exit 1
}

[ $# -ge 2 ] || usage
dir=$2
port=${3:-}
tls=${4:-}
case $1 in
start) [ -n "$port" ] || usage; start ;;
stop) stop ;;
*) usage ;;
esac
