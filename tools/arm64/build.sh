#!/usr/bin/env bash
# build.sh g++|clang++: the engine and its C++ tests for arm64; with g++ the extension, too, and a
# package folder of this checkout around it.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/arm64/environment.sh
compiler=$1
settings=(-DEDGELM_TESTS=ON)

if [ "$compiler" = g++ ]; then
  python_name=$(readlink "$folder/root/usr/bin/python3")
  # Debian's pyconfig.h is in a folder that it names from /usr/include, here behind all others.
  settings+=(-DCMAKE_CXX_FLAGS="-idirafter $folder/root/usr/include"
    -DPython_EXECUTABLE="$folder/venv/bin/python"
    -DPython_INCLUDE_DIR="$folder/root/usr/include/$python_name"
    -Dpybind11_DIR="$("$bin/python" -m pybind11 --cmakedir)")
else
  build=$build-$compiler
  settings+=(-DEDGELM_PYTHON=OFF -DCMAKE_CXX_COMPILER="$compiler")
fi

"$bin/cmake" -S . -B "$build" -G Ninja -DCMAKE_MAKE_PROGRAM="$PWD/$bin/ninja" \
  --toolchain cmake/aarch64-linux-gnu.cmake --no-warn-unused-cli --log-level=WARNING "${settings[@]}"
"$bin/cmake" --build "$build"

if [ "$compiler" = g++ ]; then
  rm -rf "$build/package"
  mkdir -p "$build/package/edgelm"
  ln -s "$PWD"/python/edgelm/* "$PWD/$build"/_core.*.so "$build/package/edgelm/"
fi
