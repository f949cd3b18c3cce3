# Sourced by the benches, which are run from anywhere: builds their programs, with the flags of a release, into $build/bin.
# Known here: $root, $build.

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${CREEL_BENCH_BUILD:-$root/build/bench}

case ${1-} in
-h | --help) sed -n '2,/^set -eu/{/^set -eu/d;s/^# \{0,1\}//p;}' "$0"; exit 0 ;;
esac

build_bench() { # TARGET...
    mkdir -p "$build"
    {
        cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCREEL_TESTS=ON \
            ${DARKNET_ROOT:+"-DDARKNET_ROOT=$DARKNET_ROOT"} \
            ${DARKNET_CUDA_ROOT:+"-DDARKNET_CUDA_ROOT=$DARKNET_CUDA_ROOT"} &&
            cmake --build "$build" --target "$@"
    } >"$build/build.log" 2>&1 || {
        tail -n 30 "$build/build.log" >&2
        printf '%s: the build failed; all of its output: %s\n' "$(basename "$0")" "$build/build.log" >&2
        exit 1
    }
}
