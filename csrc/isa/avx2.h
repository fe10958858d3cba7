#pragma once

// AVX2: products of bytes are summed in int16 lanes, two a row.
#include "isa/avx2_lines.h"

namespace edgelm {
namespace {

inline constexpr bool kWide = false, kByteSums = false;
inline constexpr int kByteOffset = 128;

using Sums = Shorts2;
using ByteSums = Shorts2;
struct Acts {
  const int8_t* q;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {q}; }

EDGELM_INLINE Shorts2 add(Shorts2 x, Shorts2 y) {
  return {_mm256_add_epi16(x.a, y.a), _mm256_add_epi16(x.b, y.b)};
}
// Saturates, so callers keep u * 2 * 127 < 2^15.
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  const Quad s = broadcast4(x.q + 4 * j);
  return {_mm256_maddubs_epi16(w.a, s.v), _mm256_maddubs_epi16(w.b, s.v)};
}
template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  return add(sums, dot4<j>(w, x));
}
EDGELM_INLINE Ints1 dot2(Shorts2 w, Quad x) {
  return {_mm256_madd_epi16(w.a, x.v), _mm256_madd_epi16(w.b, x.v)};
}
EDGELM_INLINE Ints1 dot2(Ints1 sum, Shorts2 w, Quad x) { return add(sum, dot2(w, x)); }
EDGELM_INLINE Ints1 total(Sums x) {
  const __m256i one = _mm256_set1_epi16(1);
  return {_mm256_madd_epi16(x.a, one), _mm256_madd_epi16(x.b, one)};
}

template <int kShift>
EDGELM_INLINE Sums start(const uint8_t* p) {
  static_assert(kShift >= 0);
  Quad x = broadcast4(p);
  if constexpr (kShift > 0) x = {_mm256_srai_epi16(x.v, kShift)};
  return {x.v, x.v};
}
template <int kCount>
EDGELM_INLINE int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  const __m128i one = _mm_set1_epi8(1);
  const __m128i* x = reinterpret_cast<const __m128i*>(q);
  __m128i sum = _mm_maddubs_epi16(one, _mm_loadu_si128(x));
  if (kCount == 32) sum = _mm_add_epi16(sum, _mm_maddubs_epi16(one, _mm_loadu_si128(x + 1)));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi16(sum, _mm_shuffle_epi32(sum, 0xb1));
  const int32_t lanes = _mm_cvtsi128_si32(sum);
  const __m128i scaled = _mm_mullo_epi16(sum, _mm_set1_epi16(static_cast<int16_t>(-factor)));
  const int32_t both = _mm_cvtsi128_si32(scaled);
  __builtin_memcpy(start, &both, 4);
  return static_cast<int16_t>(lanes) + (lanes >> 16);
}

// A scale twice a row.
using ScaleLine = Shorts2;
EDGELM_INLINE ScaleLine scale_line(Bytes1 x) {
  return {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(x.v, x.v)),
          _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(x.v, x.v))};
}
using Scaled = Ints1;
EDGELM_INLINE Scaled scaled(Sums x, ScaleLine s) {
  return {_mm256_madd_epi16(x.a, s.a), _mm256_madd_epi16(x.b, s.b)};
}
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, ScaleLine s) { return add(sum, scaled(x, s)); }

}  // namespace
}  // namespace edgelm
