#!/usr/bin/env bash
# kernels.sh whole|fast: the kernels' Python tests of every tier, each where it is the best one, and of
# those that never are (scalar code) on `max`.
#
# `fast` leaves out the latter, whose bits models.sh compares; runs a tier on one processor only; and
# leaves out the largest matrices and the tests that load models. pytest counts them as deselected.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/arm64/environment.sh
scope=$1
tests=(tests/kernels/test_kernels.py tests/kernels/test_attention.py tests/kernels/test_vector.py)
if [ "$scope" = whole ]; then
  tests+=(tests/kernels/test_dispatch.py tests/plan/test_bitwise.py)
  selection=()
else
  selection=(-k "not 40x4352 and not large_matrix and not 16-128")
fi

test_tier() {  # CPU TIER
  QEMU_CPU=$1 python -m pytest -q --isa "$2" --tiny -p no:cacheprovider --durations=10 \
    "${tests[@]}" "${selection[@]}"
}

declare -A tested=()
mkdir -p "$logs"
rm -f "$logs/failed"
for cpu in "${cpus[@]}"; do
  read -ra usable <<<"$(tiers "$cpu")"
  wanted=("${usable[0]}")
  if [ "$scope" = whole ] && [ "$cpu" = "${cpus[-1]}" ]; then wanted=("${usable[@]}"); fi
  for tier in "${wanted[@]}"; do
    if [ -n "${tested[$tier]:-}" ] && [ "$scope$tier" != "whole${usable[0]}" ]; then continue; fi
    tested[$tier]=$cpu
    job "kernels-$tier-$cpu" test_tier "$cpu" "$tier"
  done
done
jobs_passed
