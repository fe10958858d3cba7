#pragma once

#include "quant/half.h"

namespace edgelm {

// GGUF type 8: 32 weights share one f16 scale.  w[i] = d * qs[i]
struct q8_0 {
  static constexpr int kBlock = 32;
  f16 d;
  int8_t qs[kBlock];
};
static_assert(sizeof(q8_0) == 34, "fixed by the file format");

static inline void codes(const q8_0& block, int8_t* out) {
  __builtin_memcpy(out, block.qs, q8_0::kBlock);
}

static inline void decode(const q8_0& block, float* out) {
  const float d = to_float(block.d);
  for (int i = 0; i < q8_0::kBlock; ++i) out[i] = d * static_cast<float>(block.qs[i]);
}

}  // namespace edgelm
