#!/bin/sh
# Trains the embedded model again, from nothing but its cfg and a seed, and compares its score with
# the committed one.
#
#   sh inference/demo/train.sh [--build DIR] [--out DIR] [--iterations N] [--seed N] [--install]
#
# --build    a configured build tree (build/release)
# --out      where the new model goes (a temporary folder, kept)
# --install  put the new model in the place of the committed one
# Exits 1 when the mAP on clean or hard scenes is more than 0.02 below the committed one's.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
model=$root/inference/models/demo
build=$root/build/release
out=
install=no
iterations=
seed=

usage() {
    sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in
    --install) install=yes; shift; continue ;;
    --build | --out | --iterations | --seed) [ $# -ge 2 ] || usage ;;
    *) usage ;;
    esac
    case $1 in
    --build) build=$2 ;;
    --out) out=$2 ;;
    --iterations) iterations=$2 ;;
    --seed) seed=$2 ;;
    esac
    shift 2
done

if [ ! -f "$build/CMakeCache.txt" ]; then
    echo "train.sh: $build is not a configured build tree:" >&2
    echo "    run cmake --preset release first, or name one with --build DIR" >&2
    exit 2
fi

# map50 MODE FILE: the mAP in a score file; one mode is one line.
map50() {
    sed -n "s/.*\"$1\": {\"map50\": \([0-9.]*\).*/\1/p" "$2"
}

# setting NAME DEFAULT: a number of the committed training.
setting() {
    value=
    if [ -f "$model/score.json" ]; then
        value=$(sed -n "s/.*\"training\":.*\"$1\": \([0-9]*\).*/\1/p" "$model/score.json")
    fi
    echo "${value:-$2}"
}

hash_of() {
    sha256sum "$1" | cut -d ' ' -f 1
}

write_yaml() {
    cat >"$1/model.yaml" <<YAML
# Trained by inference/demo/train.sh; score.json says how well it does.
name: demo
version: "1"
cfg: demo.cfg
weights: demo.weights
names: demo.names
sha256:
  cfg: $(hash_of "$1/demo.cfg")
  weights: $(hash_of "$1/demo.weights")
  names: $(hash_of "$1/demo.names")
resize: letterbox
threshold: 0.5
nms: 0.45
YAML
}

[ -n "$out" ] || out=$(mktemp -d "${TMPDIR:-/tmp}/creel-train.XXXXXX")
mkdir -p "$out"
[ -n "$iterations" ] || iterations=$(setting iterations 5500)
[ -n "$seed" ] || seed=$(setting seed 7)

cmake --build "$build" --target creel-train-demo
trainer=$build/bin/creel-train-demo
export OPENBLAS_NUM_THREADS=1

# step COMMAND MODEL: Darknet's chatter goes to a log, whose end is shown when it was the last word.
step() {
    "$trainer" "$1" --model "$2" --out "$out" --seed "$seed" --iterations "$iterations" \
        2>"$out/$1.log" || {
        tail -n 5 "$out/$1.log" >&2
        exit 1
    }
}
step train "$model"
step score "$out"
write_yaml "$out"

within=yes
for mode in clean hard; do
    was=$(map50 $mode "$model/score.json" 2>/dev/null || true)
    is=$(map50 $mode "$out/score.json")
    verdict=$(awk -v a="${was:-0}" -v b="$is" \
        'BEGIN { print (b < a - 0.02 ? "WORSE" : (b > a + 0.02 ? "better" : "within 0.02")) }')
    [ "$verdict" != WORSE ] || within=no
    printf '%-5s mAP@0.5: committed %s, now %s: %s\n' "$mode" "${was:-none}" "$is" "$verdict"
done
echo "the new model is in $out"

if [ "$install" = yes ]; then
    for file in demo.weights demo.names model.yaml score.json; do
        cp "$out/$file" "$model/$file"
    done
    cp "$out/demo.cfg" "$model/demo.cfg"
    echo "installed in $model"
elif [ $within = no ]; then
    exit 1
fi
