#pragma once

#include "quant/half.h"
#include "quant/nibbles.h"

namespace edgelm {

// The 16 levels of IQ4_NL and IQ4_XS: finer around zero.
static constexpr int8_t kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

// GGUF type 20: 32 weights of 4 bits on uneven levels.  w[i] = d * level[code[i]]
struct iq4_nl {
  static constexpr int kBlock = 32;
  f16 d;
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(iq4_nl) == 18, "fixed by the file format");

// The levels themselves, not their 4-bit numbers.
static inline void codes(const iq4_nl& block, int8_t* out) {
  split_nibbles(block.qs, out);
  for (int i = 0; i < iq4_nl::kBlock; ++i) out[i] = kIq4Levels[out[i]];
}

static inline void decode(const iq4_nl& block, float* out) {
  int8_t code[iq4_nl::kBlock];
  codes(block, code);
  const float d = to_float(block.d);
  for (int i = 0; i < iq4_nl::kBlock; ++i) out[i] = d * static_cast<float>(code[i]);
}

}  // namespace edgelm
