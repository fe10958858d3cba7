#pragma once

// ARMv8.0: products of bytes are summed in int16 lanes, four a row.
#include "isa/neon_lines.h"

namespace edgelm {
namespace {

inline constexpr bool kWide = false, kByteSums = true;

struct Sums {
  int16x8_t v[4];  // two rows each
};
struct Acts {
  int8x16_t v;
};
EDGELM_INLINE void pin(Sums& x) {
  __asm__ volatile("" : "+w"(x.v[0]), "+w"(x.v[1]), "+w"(x.v[2]), "+w"(x.v[3]));
}
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {vld1q_s8(q)}; }

// K-group j for every row.
template <int j>
EDGELM_INLINE int8x16_t four(Acts x) {
  int8x16_t v = vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(x.v), j));
  __asm__("" : "+w"(v));  // clang would widen with an ext for each product of an upper half
  return v;
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  const int8x16_t q = four<j>(x), a = vreinterpretq_s8_u8(w.a), b = vreinterpretq_s8_u8(w.b);
  return {{vmull_s8(vget_low_s8(a), vget_low_s8(q)), vmull_high_s8(a, q),
           vmull_s8(vget_low_s8(b), vget_low_s8(q)), vmull_high_s8(b, q)}};
}
template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  const int8x16_t q = four<j>(x), a = vreinterpretq_s8_u8(w.a), b = vreinterpretq_s8_u8(w.b);
  return {{vmlal_s8(sums.v[0], vget_low_s8(a), vget_low_s8(q)), vmlal_high_s8(sums.v[1], a, q),
           vmlal_s8(sums.v[2], vget_low_s8(b), vget_low_s8(q)), vmlal_high_s8(sums.v[3], b, q)}};
}
// Lanes may have wrapped, their pairs have not.
EDGELM_INLINE Ints1 started(Sums x) {
  const Ints1 start = float_start();
  return {vpadalq_s16(start.a, vpaddq_s16(x.v[0], x.v[1])),
          vpadalq_s16(start.b, vpaddq_s16(x.v[2], x.v[3]))};
}
EDGELM_INLINE Floats1 total(Sums x) { return started_to_float(started(x)); }

// Two int16, for the first and the third lane of a row.
template <int kShift>
EDGELM_INLINE Sums start(const uint8_t* p) {
  static_assert(kShift >= 0);
  int32_t pair;
  __builtin_memcpy(&pair, p, 4);
  int16x4_t x = vreinterpret_s16_s32(vdup_n_s32(pair));
  if constexpr (kShift > 0) x = vshr_n_s16(x, kShift);
  const int16x8_t v = vreinterpretq_s16_u32(vmovl_u16(vreinterpret_u16_s16(x)));
  return {{v, v, v, v}};
}
template <int kCount>
EDGELM_INLINE int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  int16x8_t sums = vpaddlq_s8(vld1q_s8(q));
  if (kCount == 32) sums = vpadalq_s8(sums, vld1q_s8(q + 16));
  // Even lanes hold first halves of K-groups, odd ones second halves.
  int16x4_t pair = vadd_s16(vget_low_s16(sums), vget_high_s16(sums));
  pair = vadd_s16(pair, vext_s16(pair, pair, 2));
  const int16x4_t scaled = vmul_n_s16(pair, static_cast<int16_t>(-factor));
  const int32_t both = vget_lane_s32(vreinterpret_s32_s16(scaled), 0);
  __builtin_memcpy(start, &both, 4);
  return vget_lane_s16(pair, 0) + vget_lane_s16(pair, 1);
}

EDGELM_INLINE Scaled scaled(Sums x, const ScaleLine& s) { return scaled_start(started(x), s); }
EDGELM_INLINE Scaled scaled(Sums x, const NearScale& s) { return scaled_start(started(x), s); }
template <class Scale>
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, const Scale& s) {
  return fma(total(x), s.scale, sum);
}

// Products of weights of 8 bits, two int32 a row.
struct ByteSums {
  int32x4_t v[4];
  static EDGELM_INLINE ByteSums zero() {
    const int32x4_t zero = vdupq_n_s32(0);
    return {{zero, zero, zero, zero}};
  }
};
EDGELM_INLINE void pin(ByteSums& x) {
  __asm__ volatile("" : "+w"(x.v[0]), "+w"(x.v[1]), "+w"(x.v[2]), "+w"(x.v[3]));
}
template <int j>
EDGELM_INLINE ByteSums dot4(ByteSums sums, Bytes4 w, Acts x) {
  const Sums p = dot4<j>(w, x);
  return {{vpadalq_s16(sums.v[0], p.v[0]), vpadalq_s16(sums.v[1], p.v[1]),
           vpadalq_s16(sums.v[2], p.v[2]), vpadalq_s16(sums.v[3], p.v[3])}};
}
EDGELM_INLINE Floats1 total(ByteSums x) {
  return to_float(Ints1{vpaddq_s32(x.v[0], x.v[1]), vpaddq_s32(x.v[2], x.v[3])});
}
template <class Scale>
EDGELM_INLINE Scaled scaled(ByteSums x, const Scale& s) {
  return mul(total(x), s.scale);
}

}  // namespace
}  // namespace edgelm
