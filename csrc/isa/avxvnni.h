#pragma once

// AVX2 with AVX-VNNI: products of bytes are summed in int32.
#include "isa/avx2_lines.h"

namespace edgelm {
namespace {

inline constexpr bool kWide = true, kByteSums = true;
inline constexpr int kByteOffset = 128;

using Sums = Ints1;
using ByteSums = Ints1;
struct Acts {
  const int8_t* q;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {q}; }

template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  const Quad s = broadcast4(x.q + 4 * j);
  return {_mm256_dpbusd_avx_epi32(sums.a, w.a, s.v), _mm256_dpbusd_avx_epi32(sums.b, w.b, s.v)};
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  return dot4<j>(zero_i32(), w, x);
}
EDGELM_INLINE Ints1 dot2(Ints1 sum, Shorts2 w, Quad x) {
  return {_mm256_dpwssd_avx_epi32(sum.a, w.a, x.v), _mm256_dpwssd_avx_epi32(sum.b, w.b, x.v)};
}
EDGELM_INLINE Ints1 dot2(Shorts2 w, Quad x) { return dot2(zero_i32(), w, x); }
EDGELM_INLINE Ints1 total(Sums x) { return x; }

template <int kShift>
EDGELM_INLINE Sums start(const uint8_t* p) {
  Quad x = broadcast4(p);
  if constexpr (kShift > 0) x = {_mm256_srai_epi32(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm256_slli_epi32(x.v, -kShift)};
  return {x.v, x.v};
}
template <int kCount>
EDGELM_INLINE int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  const __m128i one = _mm_set1_epi8(1);
  const __m128i* x = reinterpret_cast<const __m128i*>(q);
  __m128i sum = _mm_dpbusd_avx_epi32(_mm_setzero_si128(), one, _mm_loadu_si128(x));
  if (kCount == 32) sum = _mm_dpbusd_avx_epi32(sum, one, _mm_loadu_si128(x + 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  const int32_t all = _mm_cvtsi128_si32(sum), scaled = -factor * all;
  __builtin_memcpy(start, &scaled, 4);
  return all;
}

using ScaleLine = Floats1;
EDGELM_INLINE ScaleLine scale_line(Bytes1 x) { return to_float(widen(x)); }
using Scaled = Floats1;
EDGELM_INLINE Scaled scaled(Sums x, ScaleLine s) { return mul(to_float(x), s); }
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, ScaleLine s) {
  return fma(to_float(x), s, sum);
}

}  // namespace
}  // namespace edgelm
