#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 10: 256 weights of 2 bits; each 16 have a 4-bit scale and a 4-bit minimum.
// w[i] = d * scale(i / 16) * code[i] - dmin * min(i / 16), code in 0..3
struct q2_k {
  static constexpr int kBlock = 256;
  static constexpr int kSub = 16;  // weights a scale
  uint8_t scales[kBlock / kSub];   // low nibble: scale, high nibble: minimum
  uint8_t qs[kBlock / 4];          // byte l of half n holds elements 128n + 32j + l, j = 0..3
  f16 d, dmin;
};
static_assert(sizeof(q2_k) == 84, "fixed by the file format");

static inline int scale(const q2_k& block, int sub) { return block.scales[sub] & 15; }
static inline int min(const q2_k& block, int sub) { return block.scales[sub] >> 4; }

static inline void codes(const q2_k& block, int8_t* out) {
  for (int i = 0; i < 8; ++i) {
    take_bits<32>(block.qs + 32 * (i / 4), 2 * (i % 4), 3, out + 32 * i);
  }
}

static inline void decode(const q2_k& block, float* out) {
  int8_t code[q2_k::kBlock];
  codes(block, code);
  const float d = to_float(block.d), dmin = to_float(block.dmin);
  for (int i = 0; i < q2_k::kBlock; ++i) {
    const int sub = i / q2_k::kSub;
    const float s = d * static_cast<float>(scale(block, sub));
    const float m = dmin * static_cast<float>(min(block, sub));
    out[i] = s * static_cast<float>(code[i]) - m;
  }
}

}  // namespace edgelm
