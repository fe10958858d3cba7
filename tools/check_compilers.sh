#!/usr/bin/env bash
# check_compilers.sh [COMPILER...]: builds the engine and its C++ tests, with a warning as an error, by
# every compiler named, or else by each g++ from 11 and clang++ from 14 on the path, optimized and at
# -O0, and runs the tests. TYPES="Debug" leaves the optimized builds out.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:$PWD/.venv/bin # for cmake and ninja, where the system has none

compilers=("$@")
if [ $# = 0 ]; then
  for name in g++-{11..20} clang++-{14..30}; do
    if command -v "$name" >/dev/null; then compilers+=("$name"); fi
  done
  # Without versions in their names, those that the system calls so.
  for name in g++ clang++; do
    if [[ " ${compilers[*]-} " != *" $name-"* ]] && command -v "$name" >/dev/null; then
      compilers+=("$name")
    fi
  done
fi
[ ${#compilers[@]} -gt 0 ] || {
  echo "check_compilers: neither g++ nor clang++ is on the path; install one, or name one" >&2
  exit 1
}

failed=()
for compiler in "${compilers[@]}"; do
  for type in ${TYPES:-Release Debug}; do
    echo "--- $compiler $type: $("$compiler" --version | head -n 1)"
    folder=build/${compiler##*/}-$type
    if ! (cmake -S . -B "$folder" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" \
      -DCMAKE_BUILD_TYPE="$type" -DCMAKE_CXX_FLAGS=-Werror -DEDGELM_PYTHON=OFF \
      -DEDGELM_TESTS=ON >/dev/null && cmake --build "$folder" -- --quiet -k 0 &&
      "$folder/edgelm_tests"); then
      failed+=("$compiler $type")
    fi
  done
done

[ ${#failed[@]} = 0 ] || {
  printf 'check_compilers: failed: %s\n' "${failed[@]}" >&2
  exit 1
}
