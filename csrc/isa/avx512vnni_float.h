#pragma once

// Vectors of float32 for AVX-512; the contract is in isa/scalar_float.h.
#include <cstdint>

#include "isa/avx512.h"

namespace edgelm {

inline constexpr int kLanes = 16;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

static inline Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }

static inline Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }

static inline Floats load_f16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

static inline Floats splat_f16(const uint16_t* p) { return _mm512_set1_ps(_cvtsh_ss(*p)); }

static inline void store_f16(uint16_t* p, Floats x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline Floats load_i8(const int8_t* p) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

static inline void deinterleave(Floats a, Floats b, Floats& even, Floats& odd) {
  const __m512i lane = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  even = _mm512_permutex2var_ps(a, lane, b);
  odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(lane, _mm512_set1_epi32(1)), b);
}
static inline void interleave(Floats even, Floats odd, Floats& a, Floats& b) {
  const __m512i lane = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const Floats low = _mm512_permutex2var_ps(even, lane, odd);
  b = _mm512_permutex2var_ps(even, _mm512_add_epi32(lane, _mm512_set1_epi32(8)), odd);
  a = low;
}

}  // namespace edgelm
