#!/bin/sh
# The rules of the house that the compiler does not know: which room may include which, where a library's header may be,
# and what may stand at the top. Prints each breach as file: what is wrong.
set -eu
cd "$CREEL_SOURCE_DIR"
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

breach() { printf '%s: %s\n' "$1" "$2" >>"$breaches"; }

sources() { find "$@" -name '*.[ch]' 2>/dev/null | sort; }

includes_of() { sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$1"; }

# ---- ours: the folder may include headers that match ----

rooms='
daemon/base:daemon/base/*.h schemas/*.h
store:store/*.h daemon/base/*.h schemas/*.h
inference:inference/*.h daemon/base/*.h schemas/*.h
sync:sync/*.h daemon/base/*.h schemas/*.h store/store.h
webui:webui/*.h daemon/base/*.h schemas/*.h store/store.h
config:config/*.h daemon/base/*.h schemas/*.h store/store.h inference/frame.h inference/inference.h inference/source.h inference/triage.h sync/sync.h webui/webui.h
daemon:daemon/*.h schemas/*.h config/config.h store/store.h inference/draw.h inference/frame.h inference/inference.h inference/simulate.h inference/source.h inference/triage.h sync/sync.h webui/webui.h
'

room_of() { # the longest folder of the table that holds the file
    case $1 in
    daemon/base/*) echo daemon/base ;;
    *) echo "${1%%/*}" ;;
    esac
}

for file in $(sources daemon store sync inference webui config schemas); do
    room=$(room_of "$file")
    allowed=$(printf '%s\n' "$rooms" | sed -n "s|^$room:||p")
    for header in $(includes_of "$file"); do
        fine=no
        set -f
        for pattern in $allowed; do
            # shellcheck disable=SC2254 # a pattern on purpose
            case $header in $pattern) fine=yes ;; esac
        done
        set +f
        [ "$fine" = yes ] || breach "$file" "may not include \"$header\""
        [ -f "$header" ] || breach "$file" "\"$header\" is not written from the top of the tree"
    done
done

# ---- libraries: header, where, in how many files at most ----

confined() { # HEADER MOST FOLDER... (MOST of .c and .h files outside tests in each folder; 0: any number)
    header=$1 most=$2
    shift 2
    pattern="^[[:space:]]*#[[:space:]]*include[[:space:]]*<$header>"
    for file in $(sources daemon store sync inference webui config schemas | xargs grep -lE "$pattern"); do
        case " $* " in *" ${file%%/*} "*) ;; *) breach "$file" "<$header> belongs in $*" ;; esac
    done
    for folder in "$@"; do
        count=$(sources "$folder" | xargs grep -lE "$pattern" | wc -l)
        [ "$most" -eq 0 ] || [ "$count" -le "$most" ] || breach "$folder" "<$header> is in $count files, at most $most"
    done
}

confined sqlite3.h 0 store
confined curl/curl.h 1 sync inference
confined microhttpd.h 0 webui
confined darknet.h 0 inference
confined turbojpeg.h 0 inference
confined jpeglib.h 1 inference
confined png.h 0 inference
confined archive.h 1 webui

# FFmpeg's libraries: the capture program alone.
for file in $(sources daemon store sync inference webui config schemas | xargs grep -lE '<lib(av|sw)[a-z]+/'); do
    case $file in inference/capture/*) ;; *) breach "$file" "FFmpeg belongs in inference/capture/" ;; esac
done

# The worker's own; the trainer of the demo model is a program apart.
for file in $(sources inference | xargs grep -lE '#[[:space:]]*include[[:space:]]*<darknet.h>'); do
    case $file in
    inference/demo/* | inference/worker/darknet.c | inference/worker/darknet_layers.c) ;;
    *) breach "$file" "<darknet.h> belongs in inference/worker/darknet.c and darknet_layers.c" ;;
    esac
done

# ---- the top of the tree, as the owner fixed it ----

for entry in $(git ls-files 2>/dev/null | sed 's|/.*||' | sort -u); do
    case $entry in
    CMakeLists.txt | daemon | store | sync | inference | webui | schemas | config | tests | README.md) ;;
    CMakePresets.json | LICENSE | .clang-format | .gitignore | .gitattributes | .ci) ;;
    *) breach "$entry" "not one of the names at the top of the tree" ;;
    esac
done

# ---- npm's lock file has versions and hashes, and no host ----

lock=tests/package-lock.json
if grep -q '"resolved"' $lock; then
    breach $lock "names hosts; make it with npm install --package-lock-only --omit-lockfile-registry-resolved"
fi

cat "$breaches"
[ ! -s "$breaches" ]
