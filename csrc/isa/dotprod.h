#pragma once

// ARMv8.2 with dot products: four products of bytes are added to an int32 at once.
#include "isa/neon_lines.h"

namespace edgelm {
namespace {

inline constexpr bool kWide = true, kByteSums = true;

using Sums = Ints1;
using ByteSums = Ints1;
struct Acts {
  int8x16_t v;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {vld1q_s8(q)}; }

template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  return {vdotq_laneq_s32(sums.a, vreinterpretq_s8_u8(w.a), x.v, j),
          vdotq_laneq_s32(sums.b, vreinterpretq_s8_u8(w.b), x.v, j)};
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  return dot4<j>(fresh_start(x.v, w.a), w, x);
}
EDGELM_INLINE Floats1 total(Sums x) { return started_to_float(x); }

template <int kShift>
EDGELM_INLINE Sums start(const uint8_t* p) {
  static_assert(kShift >= 0);
  int32_t value;
  __builtin_memcpy(&value, p, 4);
  const int32x4_t x = vdupq_n_s32(value);
  const Ints1 first = float_start();
  if constexpr (kShift > 0) {
    return {vsraq_n_s32(first.a, x, kShift), vsraq_n_s32(first.b, x, kShift)};
  } else {
    return {vaddq_s32(first.a, x), vaddq_s32(first.b, x)};
  }
}
template <int kCount>
EDGELM_INLINE int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  int16x8_t sums = vpaddlq_s8(vld1q_s8(q));
  if (kCount == 32) sums = vpadalq_s8(sums, vld1q_s8(q + 16));
  const int32_t sum = vaddvq_s16(sums), scaled = -factor * sum;
  __builtin_memcpy(start, &scaled, 4);
  return sum;
}

EDGELM_INLINE Scaled scaled(Sums x, const ScaleLine& s) { return scaled_start(x, s); }
EDGELM_INLINE Scaled scaled(Sums x, const NearScale& s) { return scaled_start(x, s); }
template <class Scale>
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, const Scale& s) {
  return fma(total(x), s.scale, sum);
}

}  // namespace
}  // namespace edgelm
