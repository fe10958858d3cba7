#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 11: 256 weights of 3 bits; each 16 have a signed 6-bit scale.
// w[i] = d * scale(i / 16) * code[i], code in -4..3, scale in -32..31
struct q3_k {
  static constexpr int kBlock = 256;
  static constexpr int kSub = 16;  // weights a scale
  uint8_t hmask[kBlock / 8];       // bit 4n + j of byte l: bit 2 of element 128n + 32j + l
  uint8_t qs[kBlock / 4];          // bits 0 and 1: byte l of half n, shift 2j
  uint8_t scales[12];              // 16 low nibbles in 8 bytes, then 16 pairs of high bits in 4
  f16 d;
};
static_assert(sizeof(q3_k) == 110, "fixed by the file format");

static inline int scale(const q3_k& block, int sub) {
  const int low = (block.scales[sub % 8] >> (4 * (sub / 8))) & 15;
  const int high = (block.scales[8 + sub % 4] >> (2 * (sub / 4))) & 3;
  return (low | high << 4) - 32;
}

static inline void codes(const q3_k& block, int8_t* out) {
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < 4; ++j) {
      int8_t* to = out + 128 * half + 32 * j;
      take_bits<32>(block.qs + 32 * half, 2 * j, 3, to);
      or_bits<32>(block.hmask, 4 * half + j, 1, 2, to);
    }
  }
  for (int i = 0; i < q3_k::kBlock; ++i) out[i] = static_cast<int8_t>(out[i] - 4);
}

static inline void decode(const q3_k& block, float* out) {
  int8_t code[q3_k::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < q3_k::kBlock; ++i) {
    out[i] = d * static_cast<float>(scale(block, i / q3_k::kSub)) * static_cast<float>(code[i]);
  }
}

}  // namespace edgelm
