#!/bin/sh
# Builds the inference's benchmark with the flags of a release and runs it: creel's layers beside Darknet's own library and,
# where it is installed, OpenCV's DNN module, on the same networks, one thread, in the same run; and how long creel's worker
# takes to start. It is no test: nothing passes or fails by a time.
#
#   sh tests/bench/inference.sh [--model CFG,WEIGHTS] [--opencv ROOT] [--rounds N] [--json FILE]
#
# --model    yolo-fastest-1.1's files, or another detector's; may be given more than once. Without it only those that need
#            no download: yolov3-tiny with random weights (its cfg is in Debian's package darknet) and the demo's model.
# --opencv   where OpenCV is, if not in /: a folder into which Debian's packages libopencv-dnn-dev, libopencv-core-dev and
#            what they need were unpacked. Installed: apt-get install --no-install-recommends libopencv-dnn-dev
# --rounds   how often each contestant has its turn: 15 unless said. The median is printed.
# --json     the file of the results: build/bench/inference.json unless said.
set -eu

. "$(dirname "$0")/build.sh"
opencv=
models=
json=$build/inference.json
rounds=15

fail() { printf 'inference.sh: %s\n' "$*" >&2; exit 2; }

while [ $# -gt 0 ]; do
    case $1 in
    --model | --opencv | --rounds | --json) [ $# -ge 2 ] || fail "$1 wants a value" ;;
    *) fail "not an option: $1" ;;
    esac
    case $1 in
    --model)
        cfg=${2%%,*}
        if [ ! -f "$cfg" ] || [ ! -f "${2#*,}" ]; then
            fail "--model wants CFG,WEIGHTS, two files: $2"
        fi
        models="$models $(basename "$cfg" .cfg)=$2"
        ;;
    --opencv) opencv=$2 ;;
    --rounds) rounds=$2 ;;
    --json) json=$2 ;;
    esac
    shift 2
done

build_bench bench-inference

# OpenCV's is a program apart, in its own language.
peer=
if [ ! -f "$opencv/usr/include/opencv4/opencv2/dnn.hpp" ]; then
    echo "OpenCV's DNN module is not installed: left out (libopencv-dnn-dev, see --help)"
elif ! command -v g++ >/dev/null; then
    echo "OpenCV needs g++: left out"
else
    libraries=$opencv/usr/lib/$(gcc -dumpmachine)
    g++ -O2 -I"$opencv/usr/include/opencv4" -o "$build/inference-opencv" "$root/tests/bench/inference_opencv.cpp" \
        -L"$libraries" -Wl,-rpath-link,"$libraries" -lopencv_dnn -lopencv_core
    [ -z "$opencv" ] || export CREEL_OPENCV_LIBRARIES="$libraries"
    peer=$build/inference-opencv
fi

for shared in "$root/build/darknet/usr/share" /usr/share; do
    if [ -f "$shared/darknet/cfg/yolov3-tiny.cfg" ]; then
        models="$models yolov3-tiny=$shared/darknet/cfg/yolov3-tiny.cfg"
        break
    fi
done
case $models in
*yolov3-tiny=*) ;;
*) echo "yolov3-tiny.cfg is not there: left out (sh config/setup.sh darknet)" ;;
esac
models="$models demo=$root/inference/models/demo/demo.cfg,$root/inference/models/demo/demo.weights"

# shellcheck disable=SC2086 # words on purpose: neither names nor paths of models have blanks
exec "$build/bin/bench-inference" --rounds "$rounds" --json "$json" --start "$build/bin/creel-worker-cpu,$root/inference/models/demo" ${peer:+--opencv "$peer"} $models
