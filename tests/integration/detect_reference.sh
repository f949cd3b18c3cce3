#!/bin/sh
# creel detect gives the numbers that Darknet's own library gives: on Darknet's photos, with creel's own model, where it
# is at hand with a COCO model, and with random weights for the cfgs that come with Darknet (CREEL_REFERENCE_CFGS: which;
# CREEL_REFERENCE_SIZE: input of those that find boxes). See reference.c and random_weights.c.
set -eu
build=${CREEL_BUILD_DIR:?the build folder}
source=${CREEL_SOURCE_DIR:?the source folder}
creel=$build/bin/creel
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cached() { sed -n "s/^$1:[A-Z]*=//p" "$build/CMakeCache.txt"; }
include=$(cached Darknet_INCLUDE_DIR)
library=$(cached Darknet_LIBRARY)
folder=$(dirname "$library")
share=$(dirname "$(dirname "$folder")")/share/darknet
[ -d "$share" ] || share=$folder # a Darknet built in its source folder
photos=$share/data
if [ ! -f "$photos/dog.jpg" ]; then
    echo "skipped: Darknet's photos (data/*.jpg) are not beside its library $library"
    exit 77
fi

# With OpenCV at hand the pictures are decoded by Darknet's own load_image_color.
opencv=-UHAVE_OPENCV
rpath=$build/darknet-stand-ins:$folder
if ldd "$library" | grep -q 'libopencv_imgcodecs.*=> /'; then
    opencv=-DHAVE_OPENCV=1
    rpath=$folder
fi
# shellcheck disable=SC2046 # the flags of pkg-config are words
gcc -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wno-format-truncation "$opencv" -I"$source" -I"$include" \
    $(sed -n 's/^SANITIZE:[A-Z]*=\(..*\)/-fsanitize=\1/p' "$build/CMakeCache.txt") \
    "$source/tests/integration/reference.c" -o "$work/reference" \
    "$build/inference/libcreel_inference.a" "$build/daemon/base/libcreel_base.a" \
    "$library" -Wl,--disable-new-dtags,-rpath,"$rpath" -Wl,--allow-shlib-undefined -Wl,-z,lazy \
    $(pkg-config --libs jansson libturbojpeg libpng yaml-0.1 libcrypto zlib) -lm -lpthread

for size in "320 320" "224 128" "416 416"; do
    for photo in "$photos"/*.jpg; do
        # shellcheck disable=SC2086 # two words
        "$work/reference" resize "$photo" $size
    done
done

# compare DIR THRESHOLD: on $pictures
pictures=$(echo "$photos"/*.jpg)
# shellcheck disable=SC2086 # $pictures are words
compare() {
    value() { sed -n "s/^ *$1: *\"\{0,1\}\([^\"]*\)\"\{0,1\} *\$/\1/p" "$2" | head -n 1; }
    resize=$(value resize "$1/model.yaml")
    lower=$(awk "BEGIN {print $2 - 0.01}")
    "$creel" detect --json --model "$1" --threshold "$lower" $pictures >"$work/ours.json"
    "$work/reference" detect "$1/$(value cfg "$1/model.yaml")" "$1/$(value weights "$1/model.yaml")" \
        "$1/$(value names "$1/model.yaml")" "${resize:-letterbox}" "$2" "$work/ours.json" $pictures 2>"$work/noise" ||
        { tail -n 3 "$work/noise"; return 1; }
}

echo "== creel's own model"
compare "$source/inference/models/demo" 0.25

hash() { sha256sum "$1" | cut -d' ' -f1; }

# describe DIR CFG WEIGHTS NAMES RESIZE: model.yaml. The first cfg, weights and names are the files, those under sha256
# come later.
describe() {
    cat >"$1/model.yaml" <<YAML
name: compared
version: "1"
cfg: $2
weights: $3
names: $4
sha256:
  cfg: $(hash "$1/$2")
  weights: $(hash "$1/$3")
  names: $(hash "$1/$4")
resize: $5
YAML
}

coco=${CREEL_SHARED_MODELS:-$source/../shared/models}/yolo-fastest-1.1
if [ -f "$coco/yolo-fastest-1.1.weights" ]; then
    for resize in letterbox stretch; do
        echo "== yolo-fastest-1.1, $resize"
        mkdir "$work/$resize"
        cp "$coco/coco.names" "$coco"/yolo-fastest-1.1.* "$work/$resize"
        describe "$work/$resize" yolo-fastest-1.1.cfg yolo-fastest-1.1.weights coco.names $resize
        compare "$work/$resize" 0.25
    done
else
    echo "the COCO model is not at hand (CREEL_SHARED_MODELS)"
fi

# The same of networks that nobody trained here. Those for AlexeyAB's Darknet come with it only.
size=${CREEL_REFERENCE_SIZE:-160}
pictures="$photos/dog.jpg $photos/eagle.jpg $photos/person.jpg"
for name in ${CREEL_REFERENCE_CFGS:-yolov2-tiny yolov3-tiny tiny yolov4-tiny yolov7-tiny}; do
    [ -f "$share/cfg/$name.cfg" ] || continue
    model=$work/$name
    mkdir "$model"
    sed 's/^ *\(batch\|subdivisions\) *=.*/\1=1/' "$share/cfg/$name.cfg" >"$model/a.cfg"
    threshold=0.05 resize=letterbox # of a classifier
    if grep -q '^\[\(yolo\|region\)\]' "$model/a.cfg"; then
        sed -i "s/^ *\(width\|height\) *=.*/\1=$size/" "$model/a.cfg"
        threshold=0.25 resize=stretch
    fi
    echo "== $name, random weights, $resize"
    "$build/tests/random_weights" "$model/a.cfg" "$model/a.weights" "$photos/dog.jpg" >"$work/noise" 2>&1
    classes=$(sed -n 's/^classes *= *//p' "$model/a.cfg" | tail -n 1)
    seq 1 "${classes:-$(sed -n 's/^filters *= *//p' "$model/a.cfg" | tail -n 1)}" | sed 's/^/class-/' >"$model/a.names"
    describe "$model" a.cfg a.weights a.names $resize
    compare "$model" $threshold >"$work/said" || { cat "$work/said"; exit 1; }
    tail -n 1 "$work/said"
    rm "$model/a.weights"
done

# What this build's Darknet would compute wrongly is refused with the line that asks for it.
if ! "$creel" version | grep -q alexeyab; then
    model=$work/refused
    mkdir "$model"
    cat >"$model/a.cfg" <<CFG
[net]
width=32
height=32
channels=3
[convolutional]
filters=12
activation=linear
[route]
layers=-1
groups=2
group_id=1
[yolo]
anchors=8,8
classes=1
num=1
CFG
    echo thing >"$model/a.names"
    head -c $((16 + 4 * (12 * 3 + 12))) /dev/zero >"$model/a.weights"
    describe "$model" a.cfg a.weights a.names letterbox
    if "$creel" detect --model "$model" "$photos/dog.jpg" >"$work/said" 2>&1; then
        echo "route groups were accepted"
        exit 1
    fi
    grep "a.cfg:10: \[route\] groups=2: pjreddie's Darknet ignores it" "$work/said" || { cat "$work/said"; exit 1; }
fi
