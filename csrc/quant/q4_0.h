#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 2: 32 weights of 4 bits share one f16 scale.  w[i] = d * code[i], code in -8..7
struct q4_0 {
  static constexpr int kBlock = 32;
  f16 d;
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(q4_0) == 18, "fixed by the file format");

static inline void codes(const q4_0& block, int8_t* out) {
  split_nibbles(block.qs, out);
  for (int i = 0; i < q4_0::kBlock; ++i) out[i] = static_cast<int8_t>(out[i] - 8);
}

static inline void decode(const q4_0& block, float* out) {
  int8_t code[q4_0::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < q4_0::kBlock; ++i) out[i] = d * static_cast<float>(code[i]);
}

}  // namespace edgelm
