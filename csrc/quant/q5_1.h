#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 7: 32 weights of 5 bits, a scale and a minimum.  w[i] = d * code[i] + m, code in 0..31
struct q5_1 {
  static constexpr int kBlock = 32;
  f16 d;
  f16 m;
  uint8_t qh[4];  // bit 4 of every code, as a little-endian 32-bit word
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(q5_1) == 24, "fixed by the file format");

static inline void codes(const q5_1& block, int8_t* out) {
  split_nibbles(block.qs, out);
  add_fifth_bits(block.qh, out);
}

static inline void decode(const q5_1& block, float* out) {
  int8_t code[q5_1::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  const float m = to_float(block.m);
  for (int i = 0; i < q5_1::kBlock; ++i) out[i] = d * static_cast<float>(code[i]) + m;
}

}  // namespace edgelm
