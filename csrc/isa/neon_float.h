#pragma once

// Vectors of float32 for ARMv8-A; the contract is in isa/scalar_float.h.
#include <arm_neon.h>

#include <cstdint>

namespace edgelm {

inline constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

static inline Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }

// As x86's: the second if either is NaN.
static inline Floats max(Floats a, Floats b) { return a > b ? a : b; }

static inline Floats load_f16(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline Floats splat_f16(const uint16_t* p) {
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_dup_u16(p)));
}

static inline void store_f16(uint16_t* p, Floats x) {
  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}

static inline Floats load_i8(const int8_t* p) {
  int32_t four;
  __builtin_memcpy(&four, p, 4);
  const int16x8_t wide = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four)));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide)));
}

static inline void deinterleave(Floats a, Floats b, Floats& even, Floats& odd) {
  even = vuzp1q_f32(a, b);
  odd = vuzp2q_f32(a, b);
}
static inline void interleave(Floats even, Floats odd, Floats& a, Floats& b) {
  a = vzip1q_f32(even, odd);
  b = vzip2q_f32(even, odd);
}

}  // namespace edgelm
