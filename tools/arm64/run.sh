#!/usr/bin/env bash
# run.sh [fast]: builds edgelm for arm64 on another machine and tests it under qemu-user.
#
# The C++ tests and the kernels' Python tests of every tier run on a processor that has it, as the
# emulator plays it; then whole models do, beside this machine's build of the same checkout. `fast` is
# what CI has time for (see "selection"). EDGELM_ARM64 names the folder of the arm64 system, which
# root.sh makes once.
set -euo pipefail
cd "$(dirname "$0")/../.."
scope=${1:-whole}
folder=${EDGELM_ARM64:-${XDG_CACHE_HOME:-$HOME/.cache}/edgelm-arm64}
build=build/arm64
bin=.venv/bin
# One for each tier, and a second design that has the same tier. `max` has all that qemu knows.
cpus=(cortex-a53 cortex-a72 cortex-a76 neoverse-n1 max)
page_sizes=(4096 16384 65536)

step() { printf '\n--- arm64: %s (%d s)\n' "$1" "$SECONDS"; }

missing=()
for need in qemu-aarch64-static:qemu-user-static aarch64-linux-gnu-g++:g++-aarch64-linux-gnu \
  clang++:clang dpkg-deb:dpkg; do
  command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "make test-arm64 lacks ${missing[*]}. Debian: sudo apt install ${missing[*]}" >&2
  exit 1
fi

configure() {  # FOLDER, then settings
  local into=$1
  shift
  "$bin/cmake" -S . -B "$into" -G Ninja -DCMAKE_MAKE_PROGRAM="$PWD/$bin/ninja" --no-warn-unused-cli --log-level=WARNING \
    --toolchain cmake/aarch64-linux-gnu.cmake -DEDGELM_TESTS=ON "$@"
}

# Debian's pyconfig.h stands in a folder that it names from /usr/include, after all others here.
build_all() {
  local python
  python=$(readlink "$folder/root/usr/bin/python3")
  configure "$build" -DPython_EXECUTABLE="$folder/venv/bin/python" \
    -DPython_INCLUDE_DIR="$folder/root/usr/include/$python" \
    -DCMAKE_CXX_FLAGS="-idirafter $folder/root/usr/include" \
    -Dpybind11_DIR="$("$bin/python" -m pybind11 --cmakedir)"
  "$bin/cmake" --build "$build"
  rm -rf "$build/package"
  mkdir -p "$build/package/edgelm"
  ln -s "$PWD"/python/edgelm/* "$PWD/$build"/_core.*.so "$build/package/edgelm/"
}

emulated() { qemu-aarch64-static -L "$folder/root" "$@"; }
python() { PYTHONPATH=$PWD/$build/package PYTHONDONTWRITEBYTECODE=1 "$folder/venv/bin/python" "$@"; }

step "an arm64 system in $folder"
tools/arm64/root.sh "$folder"

step "build with g++"
build_all

step "C++ tests, for pages of ${page_sizes[*]} bytes"
for bytes in "${page_sizes[@]}"; do
  emulated -p "$bytes" "$build/edgelm_tests" | grep -v '^ok '
done

if [ "$scope" = whole ]; then
  step "build with clang, C++ tests"
  configure "$build-clang" -DEDGELM_PYTHON=OFF -DCMAKE_CXX_COMPILER=clang++
  "$bin/cmake" --build "$build-clang"
  emulated "$build-clang/edgelm_tests" | grep -v '^ok '
fi

step "passed"
