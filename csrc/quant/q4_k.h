#pragma once

#include "quant/half.h"
#include "quant/k_scales.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 12: 256 weights of 4 bits; each 32 have a 6-bit scale and a 6-bit minimum.
// w[i] = d * scale(i / 32) * code[i] - dmin * min(i / 32), code in 0..15
struct q4_k {
  static constexpr int kBlock = 256;
  static constexpr int kSub = 32;  // weights a scale
  f16 d, dmin;
  uint8_t scales[12];
  uint8_t qs[kBlock / 2];  // byte 32g + l: elements 64g + l (low nibble) and 64g + 32 + l (high)
};
static_assert(sizeof(q4_k) == 144, "fixed by the file format");

static inline int scale(const q4_k& block, int sub) { return k_scale(block.scales, sub); }
static inline int min(const q4_k& block, int sub) { return k_min(block.scales, sub); }

static inline void codes(const q4_k& block, int8_t* out) {
  for (int sub = 0; sub < 8; ++sub) {
    take_bits<32>(block.qs + 32 * (sub / 2), 4 * (sub % 2), 15, out + 32 * sub);
  }
}

static inline void decode(const q4_k& block, float* out) {
  int8_t code[q4_k::kBlock];
  codes(block, code);
  const float d = to_float(block.d), dmin = to_float(block.dmin);
  for (int i = 0; i < q4_k::kBlock; ++i) {
    const int sub = i / q4_k::kSub;
    const float s = d * static_cast<float>(scale(block, sub));
    const float m = dmin * static_cast<float>(min(block, sub));
    out[i] = s * static_cast<float>(code[i]) - m;
  }
}

}  // namespace edgelm
