#!/bin/sh
# creel detect gives the numbers that Darknet's own library gives: on Darknet's photos, with creel's own model and,
# where it is at hand, with a COCO model. See reference.c.
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
photos=$(dirname "$(dirname "$folder")")/share/darknet/data
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

# compare DIR THRESHOLD
compare() {
    value() { sed -n "s/^ *$1: *\"\{0,1\}\([^\"]*\)\"\{0,1\} *\$/\1/p" "$2" | head -n 1; }
    resize=$(value resize "$1/model.yaml")
    lower=$(awk "BEGIN {print $2 - 0.01}")
    "$creel" detect --json --model "$1" --threshold "$lower" "$photos"/*.jpg >"$work/ours.json"
    "$work/reference" detect "$1/$(value cfg "$1/model.yaml")" "$1/$(value weights "$1/model.yaml")" \
        "$1/$(value names "$1/model.yaml")" "${resize:-letterbox}" "$2" "$work/ours.json" "$photos"/*.jpg 2>"$work/noise" ||
        { tail -n 3 "$work/noise"; return 1; }
}

echo "== creel's own model"
compare "$source/inference/models/demo" 0.25

coco=${CREEL_SHARED_MODELS:-$source/../shared/models}/yolo-fastest-1.1
if [ ! -f "$coco/yolo-fastest-1.1.weights" ]; then
    echo "the COCO model is not at hand (CREEL_SHARED_MODELS): compared with creel's own model only"
    exit 0
fi
for resize in letterbox stretch; do
    echo "== yolo-fastest-1.1, $resize"
    model=$work/$resize
    mkdir "$model"
    cp "$coco/coco.names" "$coco"/yolo-fastest-1.1.* "$model"
    hash() { sha256sum "$model/$1" | cut -d' ' -f1; }
    cat >"$model/model.yaml" <<YAML
name: yolo-fastest
version: "1.1"
cfg: yolo-fastest-1.1.cfg
weights: yolo-fastest-1.1.weights
names: coco.names
sha256:
  cfg: $(hash yolo-fastest-1.1.cfg)
  weights: $(hash yolo-fastest-1.1.weights)
  names: $(hash coco.names)
resize: $resize
YAML
    # the file's first cfg, weights and names are the names, those under sha256 come later
    compare "$model" 0.25
done
