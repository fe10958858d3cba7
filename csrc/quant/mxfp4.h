#pragma once

#include "quant/nibbles.h"

namespace edgelm {

// Twice the values of a 4-bit float E2M1; negative zero is zero.
static constexpr int8_t kMxfp4Levels[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                            0, -1, -2, -3, -4, -6, -8, -12};

// GGUF type 39: 32 weights of 4 bits share a power of two.  w[i] = 2^(e - 128) * level[code[i]]
struct mxfp4 {
  static constexpr int kBlock = 32;
  uint8_t e;
  uint8_t qs[kBlock / 2];
};
static_assert(sizeof(mxfp4) == 17, "fixed by the file format");

// 2^(e - 128). 2^-128 and 2^-127 are subnormal, and e = 255 is 2^127 (not NaN, as the MX standard
// says).
static inline float scale(const mxfp4& block) {
  const uint32_t e = block.e;
  return __builtin_bit_cast(float, e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

// The levels themselves, not their 4-bit numbers.
static inline void codes(const mxfp4& block, int8_t* out) {
  split_nibbles(block.qs, out);
  for (int i = 0; i < mxfp4::kBlock; ++i) out[i] = kMxfp4Levels[out[i]];
}

static inline void decode(const mxfp4& block, float* out) {
  int8_t code[mxfp4::kBlock];
  codes(block, code);
  const float d = scale(block);
  for (int i = 0; i < mxfp4::kBlock; ++i) out[i] = d * static_cast<float>(code[i]);
}

}  // namespace edgelm
