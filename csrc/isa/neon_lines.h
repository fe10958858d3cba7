#pragma once

// Lines of 8 rows in pairs of 128-bit registers, for any ARMv8-A. How running sums of products are
// held is in isa/neon.h and isa/dotprod.h; the contract is in isa/scalar_lines.h. Eight rows by
// four tokens, their sums and what they are scaled by fit 32 registers; sixteen rows would leave
// two tokens to a load of weights.
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "isa/inline.h"

namespace edgelm {
namespace {

struct Bytes4 {
  uint8x16_t a, b;
};
struct Shorts2 {
  int16x8_t a, b;
};
struct Ints1 {
  int32x4_t a, b;
};
struct Floats1 {
  float32x4_t a, b;
};
struct Bytes1 {
  uint8x8_t v;
};
struct Quad {
  int16x4_t v;  // its first two lanes
};

// Weights are the signed operand of products of bytes.
inline constexpr int kGroupRows = 8, kLineBytes = 32, kTile = 4, kByteOffset = 0;

EDGELM_INLINE void pin(Bytes4& x) { __asm__ volatile("" : "+w"(x.a), "+w"(x.b)); }
EDGELM_INLINE void pin(Shorts2& x) { __asm__ volatile("" : "+w"(x.a), "+w"(x.b)); }
EDGELM_INLINE void pin(Ints1& x) { __asm__ volatile("" : "+w"(x.a), "+w"(x.b)); }
EDGELM_INLINE void pin(Floats1& x) { __asm__ volatile("" : "+w"(x.a), "+w"(x.b)); }

EDGELM_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
EDGELM_INLINE void prefetch_later(const void* p) { __builtin_prefetch(p, 0, 2); }

// --- bytes -----------------------------------------------------------------------------------

EDGELM_INLINE Bytes4 load_bytes(const uint8_t* p) { return {vld1q_u8(p), vld1q_u8(p + 16)}; }
EDGELM_INLINE void store(uint8_t* p, Bytes4 x) { vst1q_u8(p, x.a), vst1q_u8(p + 16, x.b); }
EDGELM_INLINE Bytes4 operator|(Bytes4 x, Bytes4 y) {
  return {vorrq_u8(x.a, y.a), vorrq_u8(x.b, y.b)};
}

// Does a shift alone leave no other bits than those of the mask?
template <int kShift>
EDGELM_INLINE bool masks(int mask) {
  return mask == ((kShift > 0 ? 0xff >> (kShift & 7) : 0xff << (-kShift & 7)) & 0xff);
}
template <int kShift>
EDGELM_INLINE Bytes4 bits(Bytes4 x, int mask) {
  if constexpr (kShift > 0) x = {vshrq_n_u8(x.a, kShift), vshrq_n_u8(x.b, kShift)};
  if constexpr (kShift < 0) x = {vshlq_n_u8(x.a, -kShift), vshlq_n_u8(x.b, -kShift)};
  if (masks<kShift>(mask)) return x;
  const uint8x16_t m = vdupq_n_u8(static_cast<uint8_t>(mask));
  return {vandq_u8(x.a, m), vandq_u8(x.b, m)};
}
template <int kShift>
EDGELM_INLINE Bytes4 insert(Bytes4 x, Bytes4 y) {
  return {vsriq_n_u8(x.a, y.a, kShift), vsriq_n_u8(x.b, y.b, kShift)};
}
EDGELM_INLINE Bytes4 subtract(Bytes4 x, int y) {
  const uint8x16_t v = vdupq_n_u8(static_cast<uint8_t>(y));
  return {vsubq_u8(x.a, v), vsubq_u8(x.b, v)};
}
EDGELM_INLINE Bytes4 subtract_from(int x, Bytes4 y) {
  const uint8x16_t v = vdupq_n_u8(static_cast<uint8_t>(x));
  return {vsubq_u8(v, y.a), vsubq_u8(v, y.b)};
}
EDGELM_INLINE Bytes4 lookup(const uint8_t (&table)[16], Bytes4 x) {
  const uint8x16_t t = vld1q_u8(table);
  return {vqtbl1q_u8(t, x.a), vqtbl1q_u8(t, x.b)};
}

// --- one byte a row --------------------------------------------------------------------------

EDGELM_INLINE Bytes1 load_bytes1(const uint8_t* p) { return {vld1_u8(p)}; }
EDGELM_INLINE void store(uint8_t* p, Bytes1 x) { vst1_u8(p, x.v); }
EDGELM_INLINE Bytes1 operator|(Bytes1 x, Bytes1 y) { return {vorr_u8(x.v, y.v)}; }
EDGELM_INLINE Bytes1 subtract(Bytes1 x, int y) {
  return {vsub_u8(x.v, vdup_n_u8(static_cast<uint8_t>(y)))};
}
template <int kShift>
EDGELM_INLINE Bytes1 bits(Bytes1 x, int mask) {
  if constexpr (kShift > 0) x = {vshr_n_u8(x.v, kShift)};
  if constexpr (kShift < 0) x = {vshl_n_u8(x.v, -kShift)};
  if (masks<kShift>(mask)) return x;
  return {vand_u8(x.v, vdup_n_u8(static_cast<uint8_t>(mask)))};
}
template <int kShift>
EDGELM_INLINE Bytes1 insert(Bytes1 x, Bytes1 y) {
  return {vsri_n_u8(x.v, y.v, kShift)};
}
// The low bytes of products with each row's y.
EDGELM_INLINE Bytes4 mul(Bytes4 x, Bytes1 y) {
  const uint8x8x2_t twice = vzip_u8(y.v, y.v);
  const uint16x4_t low = vreinterpret_u16_u8(twice.val[0]),
                   high = vreinterpret_u16_u8(twice.val[1]);
  const uint16x4x2_t a = vzip_u16(low, low), b = vzip_u16(high, high);
  return {vmulq_u8(x.a, vreinterpretq_u8_u16(vcombine_u16(a.val[0], a.val[1]))),
          vmulq_u8(x.b, vreinterpretq_u8_u16(vcombine_u16(b.val[0], b.val[1])))};
}
EDGELM_INLINE Ints1 widen(Bytes1 x) {
  const int16x8_t w = vmovl_s8(vreinterpret_s8_u8(x.v));
  return {vmovl_s16(vget_low_s16(w)), vmovl_high_s16(w)};
}

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return {vreinterpret_s16_s32(int32x2_t{v, 0})};
}
EDGELM_INLINE Shorts2 load_i16(const int16_t* p) { return {vld1q_s16(p), vld1q_s16(p + 8)}; }
EDGELM_INLINE void store(int16_t* p, Shorts2 x) { vst1q_s16(p, x.a), vst1q_s16(p + 8, x.b); }
EDGELM_INLINE Shorts2 load_widened(const uint8_t* p) {
  const int8x16_t x = vreinterpretq_s8_u8(vld1q_u8(p));
  return {vmovl_s8(vget_low_s8(x)), vmovl_high_s8(x)};
}
EDGELM_INLINE Shorts2 odd_bytes(Bytes4 x) {
  return {vshrq_n_s16(vreinterpretq_s16_u8(x.a), 8), vshrq_n_s16(vreinterpretq_s16_u8(x.b), 8)};
}
EDGELM_INLINE Shorts2 even_bytes(Bytes4 x) {
  const auto up = [](uint8x16_t v) EDGELM_ALWAYS_INLINE {
    return vreinterpretq_u8_s16(vshlq_n_s16(vreinterpretq_s16_u8(v), 8));
  };
  return odd_bytes({up(x.a), up(x.b)});
}
EDGELM_INLINE Ints1 add(Ints1 x, Ints1 y) { return {vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b)}; }
EDGELM_INLINE Ints1 zero_i32() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }
// The first and second of every pair apart; every token does the same, and the compiler once.
EDGELM_INLINE Ints1 dot2(Ints1 sum, Shorts2 w, Quad x) {
  const int16x8_t first = vuzp1q_s16(w.a, w.b), second = vuzp2q_s16(w.a, w.b);
  sum = {vmlal_lane_s16(sum.a, vget_low_s16(first), x.v, 0),
         vmlal_high_lane_s16(sum.b, first, x.v, 0)};
  return {vmlal_lane_s16(sum.a, vget_low_s16(second), x.v, 1),
          vmlal_high_lane_s16(sum.b, second, x.v, 1)};
}
EDGELM_INLINE Ints1 dot2(Shorts2 w, Quad x) { return dot2(zero_i32(), w, x); }

// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE Floats1 zero_f32() { return {vdupq_n_f32(0), vdupq_n_f32(0)}; }
EDGELM_INLINE Floats1 load_f32(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
EDGELM_INLINE void store(float* p, Floats1 x) { vst1q_f32(p, x.a), vst1q_f32(p + 4, x.b); }
EDGELM_INLINE Floats1 broadcast_f32(const float* p) {
  const float32x4_t v = vdupq_n_f32(*p);
  return {v, v};
}
EDGELM_INLINE Floats1 load_f16(const uint8_t* p) {
  const float16x8_t x = vreinterpretq_f16_u8(vld1q_u8(p));
  return {vcvt_f32_f16(vget_low_f16(x)), vcvt_high_f32_f16(x)};
}
EDGELM_INLINE Floats1 load_bf16(const uint8_t* p) {
  const uint16x8_t x = vreinterpretq_u16_u8(vld1q_u8(p));
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(x), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(x, 16))};
}
EDGELM_INLINE Floats1 load_e8m0(const uint8_t* p) {
  const uint16x8_t e = vmovl_u8(vld1_u8(p));
  const auto power = [](uint32x4_t x) EDGELM_ALWAYS_INLINE {
    const uint32x4_t normal = vshlq_n_u32(vsubq_u32(x, vdupq_n_u32(1)), 23);
    const uint32x4_t small = vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(x));
    return vreinterpretq_f32_u32(vbslq_u32(vcltq_u32(x, vdupq_n_u32(2)), small, normal));
  };
  return {power(vmovl_u16(vget_low_u16(e))), power(vmovl_high_u16(e))};
}
EDGELM_INLINE Floats1 to_float(Ints1 x) { return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b)}; }
EDGELM_INLINE Floats1 to_float(Floats1 x) { return x; }
EDGELM_INLINE Floats1 mul(Floats1 x, Floats1 y) {
  return {vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b)};
}
EDGELM_INLINE Floats1 fma(Floats1 x, Floats1 y, Floats1 z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b)};
}
EDGELM_INLINE Floats1 fnma(Floats1 x, Floats1 y, Floats1 z) {
  return {vfmsq_f32(z.a, x.a, y.a), vfmsq_f32(z.b, x.b, y.b)};
}

// --- integers as floats ----------------------------------------------------------------------

// Sums start at the bits of 1.5 * 2^23, or end there: as a float such a sum is kFloatStart greater,
// while it stays within 2^22. Subtracting is faster than converting, and often no step of its own.
inline constexpr int32_t kFloatStartBits = 0x4b400000;
inline constexpr float kFloatStart = 12582912.0f;

// What an instruction is to overwrite, from memory each time: loads take none of the ports that
// multiply, as copies of a register would. `unlike` makes each time another for the compiler; ld1,
// unlike ldr and ldp, is one operation for some cores.
EDGELM_INLINE Floats1 fresh(const Floats1& x, int32x4_t unlike) {
  Floats1 out;
  __asm__("ld1 {%0.4s}, %2\n\tld1 {%1.4s}, %3"
          : "=&w"(out.a), "=w"(out.b)
          : "Q"(x.a), "Q"(x.b), "w"(unlike));
  return out;
}
alignas(16) constexpr int32_t kFloatStarts[4] = {kFloatStartBits, kFloatStartBits, kFloatStartBits,
                                                 kFloatStartBits};
EDGELM_INLINE Ints1 fresh_start(int8x16_t unlike, uint8x16_t unlike_too) {
  Ints1 out;
  __asm__("ld1 {%0.4s}, %2\n\tld1 {%1.4s}, %2"
          : "=&w"(out.a), "=w"(out.b)
          : "Q"(kFloatStarts), "w"(unlike), "w"(unlike_too));
  return out;
}
EDGELM_INLINE Ints1 float_start() {
  return {vdupq_n_s32(kFloatStartBits), vdupq_n_s32(kFloatStartBits)};
}

EDGELM_INLINE Floats1 started_to_float(Ints1 x) {
  const float32x4_t s = vdupq_n_f32(kFloatStart);
  return {vsubq_f32(vreinterpretq_f32_s32(x.a), s), vsubq_f32(vreinterpretq_f32_s32(x.b), s)};
}

// Integer scales as floats: products with sums are exact. `start` takes from a product what the sum
// is greater by.
struct ScaleLine {
  Floats1 scale, start;
};
EDGELM_INLINE ScaleLine scale_line(Bytes1 x) {
  static constexpr float kBack = -kFloatStart;
  const Floats1 scale = to_float(widen(x));
  return {scale, mul(scale, broadcast_f32(&kBack))};
}
using Scaled = Floats1;
EDGELM_INLINE Scaled scaled_start(Ints1 x, const ScaleLine& s) {
  Scaled out =
      fma({vreinterpretq_f32_s32(x.a), vreinterpretq_f32_s32(x.b)}, s.scale, fresh(s.start, x.a));
  // clang would keep x until much later
  __asm__("" : "+w"(out.a), "+w"(out.b));
  return out;
}

// The same for few tokens, which use a line before it has been in memory.
struct NearScale {
  Floats1 scale, start;
  EDGELM_INLINE operator ScaleLine() const { return {scale, start}; }
};
// x - kOffset, by way of the bits of 2^23 + x.
template <int kOffset>
EDGELM_INLINE Floats1 near_float(Bytes1 x) {
  const uint16x8_t wide = vmovl_u8(x.v), high = vdupq_n_u16(0x4b00);
  const float32x4_t offset = vdupq_n_f32(8388608.0f + kOffset);
  return {vsubq_f32(vreinterpretq_f32_u16(vzip1q_u16(wide, high)), offset),
          vsubq_f32(vreinterpretq_f32_u16(vzip2q_u16(wide, high)), offset)};
}
template <int kOffset>
EDGELM_INLINE NearScale near_scale(Bytes1 x) {
  static constexpr float kBack = -kFloatStart;
  const Floats1 scale = near_float<kOffset>(x);
  return {scale, mul(scale, broadcast_f32(&kBack))};
}
EDGELM_INLINE Scaled scaled_start(Ints1 x, const NearScale& s) {
  return fma({vreinterpretq_f32_s32(x.a), vreinterpretq_f32_s32(x.b)}, s.scale, s.start);
}

// --- quantizing a line of activations --------------------------------------------------------

EDGELM_INLINE Ints1 magnitude_bits(Floats1 x) {
  const int32x4_t mask = vdupq_n_s32(0x7fffffff);
  return {vandq_s32(vreinterpretq_s32_f32(x.a), mask), vandq_s32(vreinterpretq_s32_f32(x.b), mask)};
}
EDGELM_INLINE Ints1 max(Ints1 x, Ints1 y) { return {vmaxq_s32(x.a, y.a), vmaxq_s32(x.b, y.b)}; }
EDGELM_INLINE int32_t max_of(Ints1 x) { return vmaxvq_s32(vmaxq_s32(x.a, x.b)); }
EDGELM_INLINE Ints1 round_i32(Floats1 x) { return {vcvtnq_s32_f32(x.a), vcvtnq_s32_f32(x.b)}; }
EDGELM_INLINE int16x8_t narrowed(Ints1 x) { return vcombine_s16(vmovn_s32(x.a), vmovn_s32(x.b)); }
EDGELM_INLINE void store_narrowed(int16_t* p, Ints1 x) { vst1q_s16(p, narrowed(x)); }
EDGELM_INLINE void store_narrowed(int8_t* p, Ints1 x) { vst1_s8(p, vmovn_s16(narrowed(x))); }

}  // namespace
}  // namespace edgelm
