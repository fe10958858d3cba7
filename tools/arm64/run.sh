#!/usr/bin/env bash
# run.sh [whole|fast]: builds edgelm for arm64 on another machine and tests it under qemu-user. `fast`
# is what CI has time for: without clang's build, and with the part of the tests that kernels.sh tells.
#
# The arm64 system is made once, in the folder EDGELM_ARM64 or below the cache folder; see root.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/arm64/environment.sh
scope=${1:-whole}

missing=()
for need in qemu-aarch64-static:qemu-user-static aarch64-linux-gnu-g++:g++-aarch64-linux-gnu \
  clang++:clang dpkg-deb:dpkg; do
  command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "make test-arm64 lacks ${missing[*]}. Debian: sudo apt install ${missing[*]}" >&2
  exit 1
fi

step "an arm64 system in $folder"
tools/arm64/root.sh "$folder"

step "build with g++"
tools/arm64/build.sh g++
for cpu in "${cpus[@]}"; do
  usable=$(tiers "$cpu")
  echo "$cpu runs $usable"
done

step "C++ tests on each processor, for pages of 4, 16 and 64 KiB"
for cpu in "${cpus[@]}"; do
  for bytes in 4096 16384 65536; do
    result=$(emulated -cpu "$cpu" -p "$bytes" "$build/edgelm_tests" | tail -1)
    echo "$cpu, pages of $bytes bytes: $result"
    if [ "$scope" = fast ] && [ "$cpu" != cortex-a53 ]; then break; fi
  done
done

if [ "$scope" = whole ]; then
  step "build with clang, C++ tests"
  tools/arm64/build.sh clang++
  emulated "$build-clang++/edgelm_tests" | tail -1
fi

step "kernels' tests, $scope"
tools/arm64/kernels.sh "$scope"

step "models"
tools/arm64/models.sh

step "passed"
