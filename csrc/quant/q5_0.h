#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// GGUF type 6: 32 weights of 5 bits share one f16 scale.  w[i] = d * code[i], code in -16..15
struct q5_0 {
  static constexpr int kBlock = 32;
  f16 d;
  uint8_t qh[4];  // bit 4 of every code, as a little-endian 32-bit word
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(q5_0) == 22, "fixed by the file format");

static inline void codes(const q5_0& block, int8_t* out) {
  split_nibbles(block.qs, out);
  add_fifth_bits(block.qh, out);
  for (int i = 0; i < q5_0::kBlock; ++i) out[i] = static_cast<int8_t>(out[i] - 16);
}

static inline void decode(const q5_0& block, float* out) {
  int8_t code[q5_0::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < q5_0::kBlock; ++i) out[i] = d * static_cast<float>(code[i]);
}

}  // namespace edgelm
