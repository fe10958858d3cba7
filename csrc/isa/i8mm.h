#pragma once

// ARMv8.6's matrix instruction beside dot products: sums of 2 tokens x 2 rows over 8 K. Few tokens
// run dotprod's code; many that of kernels/matmul_mmla.inl, which reads the same records.
#include "isa/dotprod.h"

#define EDGELM_MMLA  // for kernels/matmul.inl

namespace edgelm {
namespace {

// Sums of two tokens t and eight rows r, two rows a register: t0 r0, t0 r1, t1 r0, t1 r1.
struct IntPairs {
  Ints1 a, b;
};
struct FloatPairs {
  Floats1 a, b;
};
struct ScalePairs {
  ScaleLine a, b;
};
EDGELM_INLINE void pin(IntPairs& x) { pin(x.a), pin(x.b); }
EDGELM_INLINE void pin(FloatPairs& x) { pin(x.a), pin(x.b); }

// 8 K of eight rows, two rows a register.
struct Bytes8 {
  Bytes4 a, b;
};
EDGELM_INLINE Bytes8 load_bytes8(const uint8_t* p) { return {load_bytes(p), load_bytes(p + 32)}; }
// From two K-groups of four.
EDGELM_INLINE Bytes8 zip(Bytes4 low, Bytes4 high) {
  const auto both = [](uint8x16_t x, uint8x16_t y) EDGELM_ALWAYS_INLINE {
    const uint32x4_t u = vreinterpretq_u32_u8(x), v = vreinterpretq_u32_u8(y);
    return Bytes4{vreinterpretq_u8_u32(vzip1q_u32(u, v)), vreinterpretq_u8_u32(vzip2q_u32(u, v))};
  };
  return {both(low.a, high.a), both(low.b, high.b)};
}
EDGELM_INLINE void store(uint8_t* p, Bytes8 x) { store(p, x.a), store(p + 32, x.b); }

// 16 K of two tokens: the first 8 of both, and the others.
EDGELM_INLINE void zip8(const int8_t* x, const int8_t* y, int8_t* first, int8_t* second) {
  const int64x2_t a = vreinterpretq_s64_s8(vld1q_s8(x)), b = vreinterpretq_s64_s8(vld1q_s8(y));
  vst1q_s8(first, vreinterpretq_s8_s64(vzip1q_s64(a, b)));
  vst1q_s8(second, vreinterpretq_s8_s64(vzip2q_s64(a, b)));
}

// Products with 8 K of the first token and 8 of the second.
EDGELM_INLINE Ints1 mmla(Ints1 sums, Bytes4 w, Acts x) {
  return {vmmlaq_s32(sums.a, x.v, vreinterpretq_s8_u8(w.a)),
          vmmlaq_s32(sums.b, x.v, vreinterpretq_s8_u8(w.b))};
}
EDGELM_INLINE IntPairs mmla(IntPairs sums, Bytes8 w, Acts x) {
  return {mmla(sums.a, w.a, x), mmla(sums.b, w.b, x)};
}
EDGELM_INLINE IntPairs mmla(Bytes8 w, Acts x) {
  return {mmla(fresh_start(x.v, w.a.a), w.a, x), mmla(fresh_start(x.v, w.b.a), w.b, x)};
}
EDGELM_INLINE FloatPairs total(IntPairs x) { return {total(x.a), total(x.b)}; }

EDGELM_INLINE FloatPairs zero_pairs() { return {zero_f32(), zero_f32()}; }
EDGELM_INLINE FloatPairs fma(FloatPairs x, FloatPairs y, FloatPairs z) {
  return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)};
}
EDGELM_INLINE FloatPairs fnma(FloatPairs x, FloatPairs y, FloatPairs z) {
  return {fnma(x.a, y.a, z.a), fnma(x.b, y.b, z.b)};
}
EDGELM_INLINE FloatPairs mul(FloatPairs x, FloatPairs y) { return {mul(x.a, y.a), mul(x.b, y.b)}; }
EDGELM_INLINE FloatPairs scaled(IntPairs x, const ScalePairs& s) {
  return {scaled(x.a, s.a), scaled(x.b, s.b)};
}
EDGELM_INLINE FloatPairs add_scaled(FloatPairs sum, IntPairs x, const ScalePairs& s) {
  return {add_scaled(sum.a, x.a, s.a), add_scaled(sum.b, x.b, s.b)};
}
// Two floats a token, of the first and of the second.
EDGELM_INLINE FloatPairs load_pairs(const float* p) {
  const float32x4_t v = vld1q_f32(p);
  return {{v, v}, {v, v}};
}

EDGELM_INLINE Floats1 halves(float32x4_t x, float32x4_t y) {
  const float64x2_t u = vreinterpretq_f64_f32(x), v = vreinterpretq_f64_f32(y);
  return {vreinterpretq_f32_f64(vzip1q_f64(u, v)), vreinterpretq_f32_f64(vzip2q_f64(u, v))};
}
// From lines of the first and of the second token, and back.
EDGELM_INLINE FloatPairs join(Floats1 x, Floats1 y) { return {halves(x.a, y.a), halves(x.b, y.b)}; }
EDGELM_INLINE void split(FloatPairs x, Floats1& first, Floats1& second) {
  const Floats1 a = halves(x.a.a, x.a.b), b = halves(x.b.a, x.b.b);
  first = {a.a, b.a};
  second = {a.b, b.b};
}
EDGELM_INLINE ScalePairs join(const ScaleLine& x) {
  const FloatPairs scale = join(x.scale, x.scale), start = join(x.start, x.start);
  return {{scale.a, start.a}, {scale.b, start.b}};
}

}  // namespace
}  // namespace edgelm
