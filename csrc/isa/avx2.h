#pragma once

// AVX2 + FMA + F16C. A "line" spans the 16 columns of a packed group: Bytes64 holds four bytes a
// column, I16x32 two int16 lanes a column, I32x16 and F32x16 one value a column.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "isa/inline.h"

namespace edgelm {
namespace {

struct Bytes64 {
  __m256i a, b;
};
struct I16x32 {
  __m256i a, b;
};
struct I32x16 {
  __m256i a, b;
};
struct F32x16 {
  __m256 a, b;
};
struct Bytes16 {
  __m128i v;
};  // one byte a column
struct Quad {
  __m256i v;
};  // the same four bytes for every column: s8 x 4 or i16 x 2

// Keeps a value in registers and in program order: g++ would otherwise hoist loads until it spills.
EDGELM_INLINE void pin(Bytes64& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(I16x32& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(I32x16& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(F32x16& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }

EDGELM_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
// Into the second-level cache.
EDGELM_INLINE void prefetch_later(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

EDGELM_INLINE __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
EDGELM_INLINE void store256(void* p, __m256i v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}

// --- bytes -----------------------------------------------------------------------------------

EDGELM_INLINE Bytes64 load_bytes(const uint8_t* p) { return {load256(p), load256(p + 32)}; }
EDGELM_INLINE void store(uint8_t* p, Bytes64 x) { store256(p, x.a), store256(p + 32, x.b); }
EDGELM_INLINE Bytes64 operator|(Bytes64 x, Bytes64 y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}

// Every byte (x >> kShift) & mask; a negative kShift shifts left. The mask must drop the bits that
// the shift brings in from a neighbour.
template <int kShift>
EDGELM_INLINE Bytes64 bits(Bytes64 x, int mask) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
  if constexpr (kShift > 0) x = {_mm256_srli_epi16(x.a, kShift), _mm256_srli_epi16(x.b, kShift)};
  if constexpr (kShift < 0) x = {_mm256_slli_epi16(x.a, -kShift), _mm256_slli_epi16(x.b, -kShift)};
  return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}

// table[x] of every byte; x in 0..15.
EDGELM_INLINE Bytes64 lookup(const uint8_t (&table)[16], Bytes64 x) {
  const __m256i t =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(t, x.a), _mm256_shuffle_epi8(t, x.b)};
}

// --- one byte a column -----------------------------------------------------------------------

EDGELM_INLINE Bytes16 load_columns(const uint8_t* p) {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
}
EDGELM_INLINE Bytes16 operator|(Bytes16 x, Bytes16 y) { return {_mm_or_si128(x.v, y.v)}; }
EDGELM_INLINE Bytes16 subtract(Bytes16 x, int y) {
  return {_mm_sub_epi8(x.v, _mm_set1_epi8(static_cast<char>(y)))};
}
template <int kShift>
EDGELM_INLINE Bytes16 bits(Bytes16 x, int mask) {
  const __m128i m = _mm_set1_epi8(static_cast<char>(mask));
  if constexpr (kShift > 0) x = {_mm_srli_epi16(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm_slli_epi16(x.v, -kShift)};
  return {_mm_and_si128(x.v, m)};
}

// The two lanes of column c: (x[c], y[c]), sign-extended.
EDGELM_INLINE I16x32 interleave(Bytes16 x, Bytes16 y) {
  return {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(x.v, y.v)),
          _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(x.v, y.v))};
}

// Sign-extended.
EDGELM_INLINE I32x16 widen(Bytes16 x) {
  return {_mm256_cvtepi8_epi32(x.v), _mm256_cvtepi8_epi32(_mm_srli_si128(x.v, 8))};
}

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return {_mm256_set1_epi32(v)};
}
EDGELM_INLINE I16x32 load_i16(const int16_t* p) { return {load256(p), load256(p + 16)}; }
EDGELM_INLINE void store(int16_t* p, I16x32 x) { store256(p, x.a), store256(p + 16, x.b); }
// 32 signed bytes, two a column, widened.
EDGELM_INLINE I16x32 load_widened(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(q)), _mm256_cvtepi8_epi16(_mm_loadu_si128(q + 1))};
}
// Of every column's bytes, lanes (0, 2) and lanes (1, 3), sign-extended.
EDGELM_INLINE I16x32 even_bytes(Bytes64 x) {
  return {_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8),
          _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
}
EDGELM_INLINE I16x32 odd_bytes(Bytes64 x) {
  return {_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)};
}

template <int kShift>
EDGELM_INLINE I16x32 lanes(Quad x) {  // every column's two int16 lanes, shifted right
  if constexpr (kShift > 0) x = {_mm256_srai_epi16(x.v, kShift)};
  return {x.v, x.v};
}
EDGELM_INLINE I16x32 add(I16x32 x, I16x32 y) {
  return {_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
EDGELM_INLINE I32x16 add(I32x16 x, I32x16 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
EDGELM_INLINE I32x16 zero_i32() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

// Unsigned times signed bytes, neighbours summed; saturates, so callers keep u * 2 * 127 < 2^15.
EDGELM_INLINE I16x32 mul_pairs(Bytes64 u, Quad s) {
  return {_mm256_maddubs_epi16(u.a, s.v), _mm256_maddubs_epi16(u.b, s.v)};
}
// The dot product of every column's two lanes.
EDGELM_INLINE I32x16 dot(I16x32 x, I16x32 y) {
  return {_mm256_madd_epi16(x.a, y.a), _mm256_madd_epi16(x.b, y.b)};
}
EDGELM_INLINE I32x16 dot(I16x32 x, Quad y) {
  return {_mm256_madd_epi16(x.a, y.v), _mm256_madd_epi16(x.b, y.v)};
}
EDGELM_INLINE I32x16 sum_lanes(I16x32 x) {
  const __m256i one = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(x.a, one), _mm256_madd_epi16(x.b, one)};
}

// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE F32x16 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
EDGELM_INLINE F32x16 load_f32(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
EDGELM_INLINE void store(float* p, F32x16 x) {
  _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b);
}
EDGELM_INLINE F32x16 broadcast_f32(const float* p) {
  const __m256 v = _mm256_broadcast_ss(p);
  return {v, v};
}
EDGELM_INLINE F32x16 load_f16(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
EDGELM_INLINE F32x16 load_bf16(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  const auto widen = [](__m128i h) EDGELM_ALWAYS_INLINE {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  };
  return {widen(_mm_loadu_si128(q)), widen(_mm_loadu_si128(q + 1))};
}
// 2^(e - 128) of 16 bytes e; the two smallest are subnormal.
EDGELM_INLINE F32x16 load_e8m0(const uint8_t* p) {
  const __m128i e = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const auto power = [](__m256i x) EDGELM_ALWAYS_INLINE {
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(x, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), x);
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), x);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
  };
  return {power(_mm256_cvtepu8_epi32(e)), power(_mm256_cvtepu8_epi32(_mm_srli_si128(e, 8)))};
}
EDGELM_INLINE F32x16 to_float(I32x16 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
EDGELM_INLINE F32x16 mul(F32x16 x, F32x16 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
// x * y + z and z - x * y.
EDGELM_INLINE F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
EDGELM_INLINE F32x16 fnma(F32x16 x, F32x16 y, F32x16 z) {
  return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}

// --- quantizing 16 activations ---------------------------------------------------------------

// Bits of the magnitudes; as integers NaN ranks above infinity.
EDGELM_INLINE I32x16 magnitude_bits(F32x16 x) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(x.a), mask),
          _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
EDGELM_INLINE I32x16 max(I32x16 x, I32x16 y) {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
EDGELM_INLINE int32_t max_of(I32x16 x) {
  const __m256i m = _mm256_max_epi32(x.a, x.b);
  __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}
// Nearest integers, ties to even.
EDGELM_INLINE I32x16 round_i32(F32x16 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
EDGELM_INLINE void store_narrowed(int16_t* p, I32x16 x) {
  store256(p, _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8));
}
EDGELM_INLINE void store_narrowed(int8_t* p, I32x16 x) {
  const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}

// lane[0] and lane[1]: factor times the sums of 16 or 32 bytes q[i] with i % 4 in {0, 1} and in
// {2, 3}.
template <int kCount>
EDGELM_INLINE void store_lane_sums(const int8_t* q, int factor, int16_t* lane) {
  const __m128i one = _mm_set1_epi8(1);
  const __m128i* x = reinterpret_cast<const __m128i*>(q);
  __m128i sum = _mm_maddubs_epi16(one, _mm_loadu_si128(x));
  if (kCount == 32) sum = _mm_add_epi16(sum, _mm_maddubs_epi16(one, _mm_loadu_si128(x + 1)));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
  sum = _mm_mullo_epi16(sum, _mm_set1_epi16(static_cast<int16_t>(factor)));
  const int32_t both = _mm_cvtsi128_si32(sum);
  __builtin_memcpy(lane, &both, 4);
}

}  // namespace
}  // namespace edgelm
