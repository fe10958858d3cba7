#pragma once

#include "quant/iq4_nl.h"

namespace edgelm {

// GGUF type 23: 256 weights of 4 bits on IQ4_NL's levels; each 32 have a signed 6-bit scale.
// w[i] = d * scale(i / 32) * level[code[i]], scale in -32..31
struct iq4_xs {
  static constexpr int kBlock = 256;
  static constexpr int kSub = 32;  // weights a scale
  f16 d;
  uint8_t scales_high[2];  // two bits a sub-block, little-endian
  uint8_t scales_low[kBlock / 64];
  uint8_t qs[kBlock / 2];  // 16 bytes a sub-block, nibbles as in iq4_nl
};
static_assert(sizeof(iq4_xs) == 136, "fixed by the file format");

static inline int scale(const iq4_xs& block, int sub) {
  const int low = (block.scales_low[sub / 2] >> (4 * (sub % 2))) & 15;
  const int high = (block.scales_high[sub / 4] >> (2 * (sub % 4))) & 3;
  return (low | high << 4) - 32;
}

// The levels themselves, not their 4-bit numbers.
static inline void codes(const iq4_xs& block, int8_t* out) {
  for (int sub = 0; sub < iq4_xs::kBlock / iq4_xs::kSub; ++sub) {
    split_nibbles(block.qs + 16 * sub, out + 32 * sub);
  }
  for (int i = 0; i < iq4_xs::kBlock; ++i) out[i] = kIq4Levels[out[i]];
}

static inline void decode(const iq4_xs& block, float* out) {
  int8_t code[iq4_xs::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < iq4_xs::kBlock; ++i) {
    out[i] = d * static_cast<float>(scale(block, i / iq4_xs::kSub)) * static_cast<float>(code[i]);
  }
}

}  // namespace edgelm
