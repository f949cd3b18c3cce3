#!/bin/sh
# The systemd unit and each of its drop-ins are understood whole by this machine's systemd.
set -eu
cd "$CREEL_SOURCE_DIR"
command -v systemd-analyze >/dev/null || { echo "skipped: systemd-analyze is not installed"; exit 77; }

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
for dropin in none config/creel.service.d/*.conf.example; do
    rm -rf "${dir:?}"/*
    # The program itself need not be installed for this.
    sed 's|^ExecStart=creel|ExecStart=/bin/true|' config/creel.service >"$dir/creel.service"
    if [ "$dropin" != none ]; then
        mkdir "$dir/creel.service.d"
        cp "$dropin" "$dir/creel.service.d/$(basename "$dropin" .example)"
    fi
    said=$(SYSTEMD_UNIT_PATH="$dir:" systemd-analyze verify --man=no "$dir/creel.service" 2>&1 | grep creel || true)
    [ -z "$said" ] || { printf '%s:\n%s\n' "$dropin" "$said"; exit 1; }
done
exposure=$(systemd-analyze security --offline=true "$dir/creel.service" 2>/dev/null | sed -n 's/.*exposure level[^0-9]*\([0-9]*\)\..*/\1/p')
[ "${exposure:-0}" -le 3 ] || { echo "the unit's exposure is $exposure, at most 3"; exit 1; }
