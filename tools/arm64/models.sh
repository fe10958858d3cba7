#!/usr/bin/env bash
# models.sh: SmolLM2 in Q4_1 and Q8_0 on every tier generates, and its logits along one text are this
# machine's up to rounding; those of scalar code are its bits.
set -euo pipefail
cd "$(dirname "$0")/../.."
source tools/arm64/environment.sh

small=$("$bin/python" -c 'from edgelm import hub; print(hub.resolve("smollm2-135m-instruct"))')
large=$folder/SmolLM2-135M-Instruct.Q8_0.gguf
[ -f "$large" ] || "$bin/python" tools/requantize.py "$small" "$large" q8_0
read -ra usable <<<"$(tiers max)"

mkdir -p "$logs"
rm -rf "$logs/failed" "$logs"/*.npz
for model in "$small" "$large"; do
  type=${model%.gguf} type=${type##*.}
  for isa in $("$bin/python" -c 'from edgelm import _core; print(*_core.usable_isas())'); do
    EDGELM_ISA=$isa "$bin/python" tools/compare_logits.py run "$model" "$logs/$type-here-$isa.npz"
  done
  for isa in "${usable[@]}"; do
    EDGELM_ISA=$isa QEMU_CPU=max job "$type-$isa" \
      python tools/compare_logits.py run "$model" "$logs/$type-arm64-$isa.npz"
  done
done
jobs_passed
for model in "$small" "$large"; do
  type=${model%.gguf} type=${type##*.}
  "$bin/python" tools/compare_logits.py check "$model" "$logs/$type"-{here,arm64}-*.npz
done
