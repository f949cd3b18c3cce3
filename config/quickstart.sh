#!/bin/sh
# creel on this machine with one command: installs what is missing, builds, and runs the daemon with a
# rendered camera, a store, a folder that stands for a bucket, and the gallery on http://127.0.0.1:8080.
#
#   sh config/quickstart.sh [--seconds N] [--state DIR] [--no-install]
#
#   --seconds N     ends by itself after N seconds; else with Ctrl-C
#   --state DIR     where everything is kept (default: creel-state in this checkout); a second run continues
#   --no-install    installs nothing; says what is missing and ends with 1
#
# The state stays under 1 GiB: the store has a quota, and the folder loses its oldest objects, as a rule of a
# bucket would do it. Removing the state directory removes all traces but the packages and build/.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
store_quota=512MiB
remote_kib=393216 # 384 MiB

usage() { sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; }
say() { printf '%s\n' "$*"; }
fail() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }
wrong() { printf 'quickstart: %s\n\n' "$*" >&2; usage >&2; exit 2; }

# ---- arguments ----

seconds=
state=$root/creel-state
no_install=
while [ $# -gt 0 ]; do
    case $1 in
    --seconds)
        [ $# -gt 1 ] || wrong "--seconds lacks its number"
        seconds=$2
        shift
        case $seconds in '' | *[!0-9]* | 0*) wrong "--seconds takes a whole number from 1, not \"$seconds\"" ;; esac
        ;;
    --state)
        [ -n "${2:-}" ] || wrong "--state lacks its directory"
        state=$2
        shift
        ;;
    --no-install) no_install=--no-install ;;
    -h | --help) usage; exit 0 ;;
    *) wrong "not an option: $1" ;;
    esac
    shift
done
mkdir -p "$state" || fail "cannot make $state; name another with --state"
state=$(cd "$state" && pwd)
[ -w "$state" ] || fail "cannot write to $state; name another with --state"

# ---- build ----

# shellcheck disable=SC2086 # none, or one word
sh "$root/config/setup.sh" build $no_install

build() {
    say "building creel (release)"
    (cd "$root" && cmake --preset release ${DARKNET_ROOT:+"-DDARKNET_ROOT=$DARKNET_ROOT"} &&
        cmake --build --preset release) >"$root/build/quickstart.log" 2>&1 || {
        tail -n 30 "$root/build/quickstart.log" >&2
        fail "the build failed; all of its output: $root/build/quickstart.log"
    }
}
build

# ---- configuration ----

quoted() { # a YAML string in double quotes
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

# The path of a socket has 107 bytes at most.
socket_line() {
    if [ "${#state}" -gt 80 ]; then
        name=$(printf '%s' "$state" | cksum | cut -d ' ' -f 1)
        say "control: {socket: $(quoted "${XDG_RUNTIME_DIR:-/tmp}/creel-$name.sock")}"
    fi
}

write_config() {
    cat <<EOF
# Made by config/quickstart.sh; change what you like, it is not written again while the paths are right.
# Every key: config/creel.yaml, or creel.yaml(5).
version: 1
device:
  id: quickstart
  clock: trusted            # a container's kernel often cannot tell
cameras:
  demo: {source: "demo:", fps: 4}
model:
  dir: $(quoted "$root/inference/models/demo")
triage:
  budget: {per: 2s, day: 20000}
store:
  dir: $(quoted "$state/store")
  quota: $store_quota
  min_free: 64MiB
  tiers:
    annotated: {keep_after_upload: forever}
    unannotated: {keep_after_upload: forever}
sync:
  remotes:
    local: {type: directory, path: $(quoted "$state/remote")}
web:
  listen: "127.0.0.1:8080"
  next_free_port: true
$(socket_line)
EOF
}

config=$state/creel.yaml
if [ ! -f "$config" ]; then
    write_config >"$config.part"
    mv "$config.part" "$config"
elif ! grep -qF "$(quoted "$state/store")" "$config" || ! grep -qF "$(quoted "$root/inference/models/demo")" "$config"; then
    say "the state or the checkout has moved: writing $config again (the old one: creel.yaml.old)"
    cp "$config" "$config.old"
    write_config >"$config.part"
    mv "$config.part" "$config"
fi
mkdir -p "$state/remote"

# ---- run ----

# Removes the oldest objects of the folder that stands for a bucket, beyond its share of the state's 1 GiB.
trim_remote() {
    find "$state/remote" -type f -path '*/frames/*' -printf '%T@ %k %p\n' 2>/dev/null | sort -rn |
        awk -v most="$remote_kib" '{ sum += $2; if (sum > most) { sub(/^[^ ]+ [^ ]+ /, ""); print } }' |
        while IFS= read -r object; do
            rm -f -- "$object"
        done
}

# Watches the process that this shell becomes. A grandchild without terminal or pipe: creel never sees it.
trim_while_running() {
    daemon=$$
    (
        while kill -0 "$daemon"; do
            trim_remote
            for _ in 1 2 3 4 5 6 7 8 9 10; do
                kill -0 "$daemon" && sleep 2
            done
        done
    ) </dev/null >/dev/null 2>&1 &
}

say "state: $state (at most 1 GiB)"
(trim_while_running)
exec "$root/build/release/bin/creel" run --config "$config" --live ${seconds:+--seconds "$seconds"}
