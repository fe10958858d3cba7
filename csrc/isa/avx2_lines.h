#pragma once

// Lines of 16 rows in pairs of 256-bit registers, for AVX2 + FMA + F16C. How running sums of
// products are held is in isa/avx2.h and isa/avxvnni.h; the contract is in isa/scalar_lines.h.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "isa/inline.h"

namespace edgelm {
namespace {

struct Bytes4 {
  __m256i a, b;
};
struct Shorts2 {
  __m256i a, b;
};
struct Ints1 {
  __m256i a, b;
};
struct Floats1 {
  __m256 a, b;
};
struct Bytes1 {
  __m128i v;
};
struct Quad {
  __m256i v;
};

inline constexpr int kGroupRows = 16, kLineBytes = 64, kTile = 4;

// In registers and in program order: g++ would otherwise hoist loads until it spills.
EDGELM_INLINE void pin(Bytes4& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(Shorts2& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(Ints1& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }
EDGELM_INLINE void pin(Floats1& x) { __asm__ volatile("" : "+x"(x.a), "+x"(x.b)); }

EDGELM_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
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

EDGELM_INLINE Bytes4 load_bytes(const uint8_t* p) { return {load256(p), load256(p + 32)}; }
EDGELM_INLINE void store(uint8_t* p, Bytes4 x) { store256(p, x.a), store256(p + 32, x.b); }
EDGELM_INLINE Bytes4 operator|(Bytes4 x, Bytes4 y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}

// Shifts words of two bytes: the mask drops what comes in from the neighbour.
template <int kShift>
EDGELM_INLINE Bytes4 bits(Bytes4 x, int mask) {
  const __m256i m = _mm256_set1_epi8(static_cast<char>(mask));
  if constexpr (kShift > 0) x = {_mm256_srli_epi16(x.a, kShift), _mm256_srli_epi16(x.b, kShift)};
  if constexpr (kShift < 0) x = {_mm256_slli_epi16(x.a, -kShift), _mm256_slli_epi16(x.b, -kShift)};
  return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}

EDGELM_INLINE Bytes4 lookup(const uint8_t (&table)[16], Bytes4 x) {
  const __m256i t =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return {_mm256_shuffle_epi8(t, x.a), _mm256_shuffle_epi8(t, x.b)};
}

// --- one byte a row --------------------------------------------------------------------------

EDGELM_INLINE Bytes1 load_bytes1(const uint8_t* p) {
  return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))};
}
EDGELM_INLINE Bytes1 operator|(Bytes1 x, Bytes1 y) { return {_mm_or_si128(x.v, y.v)}; }
EDGELM_INLINE Bytes1 subtract(Bytes1 x, int y) {
  return {_mm_sub_epi8(x.v, _mm_set1_epi8(static_cast<char>(y)))};
}
template <int kShift>
EDGELM_INLINE Bytes1 bits(Bytes1 x, int mask) {
  const __m128i m = _mm_set1_epi8(static_cast<char>(mask));
  if constexpr (kShift > 0) x = {_mm_srli_epi16(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm_slli_epi16(x.v, -kShift)};
  return {_mm_and_si128(x.v, m)};
}

EDGELM_INLINE Ints1 widen(Bytes1 x) {
  return {_mm256_cvtepi8_epi32(x.v), _mm256_cvtepi8_epi32(_mm_srli_si128(x.v, 8))};
}

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return {_mm256_set1_epi32(v)};
}
EDGELM_INLINE Shorts2 load_i16(const int16_t* p) { return {load256(p), load256(p + 16)}; }
EDGELM_INLINE void store(int16_t* p, Shorts2 x) { store256(p, x.a), store256(p + 16, x.b); }
EDGELM_INLINE Shorts2 load_widened(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtepi8_epi16(_mm_loadu_si128(q)), _mm256_cvtepi8_epi16(_mm_loadu_si128(q + 1))};
}
EDGELM_INLINE Shorts2 even_bytes(Bytes4 x) {
  return {_mm256_srai_epi16(_mm256_slli_epi16(x.a, 8), 8),
          _mm256_srai_epi16(_mm256_slli_epi16(x.b, 8), 8)};
}
EDGELM_INLINE Shorts2 odd_bytes(Bytes4 x) {
  return {_mm256_srai_epi16(x.a, 8), _mm256_srai_epi16(x.b, 8)};
}

EDGELM_INLINE Ints1 add(Ints1 x, Ints1 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
EDGELM_INLINE Ints1 zero_i32() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }

// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE Floats1 zero_f32() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
EDGELM_INLINE Floats1 load_f32(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
EDGELM_INLINE void store(float* p, Floats1 x) {
  _mm256_storeu_ps(p, x.a), _mm256_storeu_ps(p + 8, x.b);
}
EDGELM_INLINE Floats1 broadcast_f32(const float* p) {
  const __m256 v = _mm256_broadcast_ss(p);
  return {v, v};
}
EDGELM_INLINE Floats1 load_f16(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
}
EDGELM_INLINE Floats1 load_bf16(const uint8_t* p) {
  const __m128i* q = reinterpret_cast<const __m128i*>(p);
  const auto widen = [](__m128i h) EDGELM_ALWAYS_INLINE {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
  };
  return {widen(_mm_loadu_si128(q)), widen(_mm_loadu_si128(q + 1))};
}
EDGELM_INLINE Floats1 load_e8m0(const uint8_t* p) {
  const __m128i e = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const auto power = [](__m256i x) EDGELM_ALWAYS_INLINE {
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(x, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), x);
    const __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(2), x);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, is_small));
  };
  return {power(_mm256_cvtepu8_epi32(e)), power(_mm256_cvtepu8_epi32(_mm_srli_si128(e, 8)))};
}
EDGELM_INLINE Floats1 to_float(Ints1 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
EDGELM_INLINE Floats1 to_float(Floats1 x) { return x; }
EDGELM_INLINE Floats1 mul(Floats1 x, Floats1 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
EDGELM_INLINE Floats1 fma(Floats1 x, Floats1 y, Floats1 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
EDGELM_INLINE Floats1 fnma(Floats1 x, Floats1 y, Floats1 z) {
  return {_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)};
}

// --- quantizing a line of activations------------------------------------------------------------

EDGELM_INLINE Ints1 magnitude_bits(Floats1 x) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  return {_mm256_and_si256(_mm256_castps_si256(x.a), mask),
          _mm256_and_si256(_mm256_castps_si256(x.b), mask)};
}
EDGELM_INLINE Ints1 max(Ints1 x, Ints1 y) {
  return {_mm256_max_epi32(x.a, y.a), _mm256_max_epi32(x.b, y.b)};
}
EDGELM_INLINE int32_t max_of(Ints1 x) {
  const __m256i m = _mm256_max_epi32(x.a, x.b);
  __m128i h = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
  h = _mm_max_epi32(h, _mm_shuffle_epi32(h, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(h, _mm_shuffle_epi32(h, 0xb1)));
}
EDGELM_INLINE Ints1 round_i32(Floats1 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
EDGELM_INLINE void store_narrowed(int16_t* p, Ints1 x) {
  store256(p, _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8));
}
EDGELM_INLINE void store_narrowed(int8_t* p, Ints1 x) {
  const __m256i w = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.a, x.b), 0xd8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1)));
}

}  // namespace
}  // namespace edgelm
