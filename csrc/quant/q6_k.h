#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 14: 256 weights of 6 bits; each 16 have a signed 8-bit scale.
// w[i] = d * scales[i / 16] * code[i], code in -32..31
struct q6_k {
  static constexpr int kBlock = 256;
  static constexpr int kSub = 16;  // weights a scale
  uint8_t ql[kBlock / 2];  // bits 0 to 3 of element 128n + 32j + l: byte 64n + 32 (j % 2) + l
  uint8_t qh[kBlock / 4];  // bits 4 and 5: byte 32n + l, shift 2j
  int8_t scales[kBlock / kSub];
  f16 d;
};
static_assert(sizeof(q6_k) == 210, "fixed by the file format");

static inline int scale(const q6_k& block, int sub) { return block.scales[sub]; }

static inline void codes(const q6_k& block, int8_t* out) {
  for (int half = 0; half < 2; ++half) {
    for (int j = 0; j < 4; ++j) {
      int8_t* to = out + 128 * half + 32 * j;
      take_bits<32>(block.ql + 64 * half + 32 * (j % 2), 4 * (j / 2), 15, to);
      or_bits<32>(block.qh + 32 * half, 2 * j, 3, 4, to);
    }
  }
  for (int i = 0; i < q6_k::kBlock; ++i) out[i] = static_cast<int8_t>(out[i] - 32);
}

static inline void decode(const q6_k& block, float* out) {
  int8_t code[q6_k::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < q6_k::kBlock; ++i) {
    out[i] = d * static_cast<float>(scale(block, i / q6_k::kSub)) * static_cast<float>(code[i]);
  }
}

}  // namespace edgelm
