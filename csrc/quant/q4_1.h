#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 3: 32 weights of 4 bits, a scale and a minimum.  w[i] = d * code[i] + m, code in 0..15
struct q4_1 {
  static constexpr int kBlock = 32;
  f16 d;
  f16 m;
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(q4_1) == 20, "fixed by the file format");

static inline void codes(const q4_1& block, int8_t* out) { split_nibbles(block.qs, out); }

static inline void decode(const q4_1& block, float* out) {
  int8_t code[q4_1::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  const float m = to_float(block.m);
  for (int i = 0; i < q4_1::kBlock; ++i) out[i] = d * static_cast<float>(code[i]) + m;
}

}  // namespace edgelm
