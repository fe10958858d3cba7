#pragma once

// AVX-512 F, BW, VL and VNNI: a line is one register, and there are 32 of them. The contract is in
// isa/scalar_lines.h.
#include <cstddef>
#include <cstdint>

#include "isa/avx512.h"
#include "isa/inline.h"

namespace edgelm {
namespace {

struct Bytes4 {
  __m512i v;
};
struct Shorts2 {
  __m512i v;
};
struct Ints1 {
  __m512i v;
};
struct Floats1 {
  __m512 v;
};
struct Bytes1 {
  __m128i v;
};
struct Quad {
  __m512i v;
};

inline constexpr int kGroupRows = 16, kLineBytes = 64, kTile = 8, kByteOffset = 128;
inline constexpr bool kWide = true, kByteSums = true;

EDGELM_INLINE void pin(Bytes4& x) { __asm__ volatile("" : EDGELM_ZMM(x.v)); }
EDGELM_INLINE void pin(Shorts2& x) { __asm__ volatile("" : EDGELM_ZMM(x.v)); }
EDGELM_INLINE void pin(Ints1& x) { __asm__ volatile("" : EDGELM_ZMM(x.v)); }
EDGELM_INLINE void pin(Floats1& x) { __asm__ volatile("" : EDGELM_ZMM(x.v)); }

EDGELM_INLINE void prefetch(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}
EDGELM_INLINE void prefetch_later(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
}

EDGELM_INLINE __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
EDGELM_INLINE __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}

// --- bytes -----------------------------------------------------------------------------------

EDGELM_INLINE Bytes4 load_bytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
EDGELM_INLINE void store(uint8_t* p, Bytes4 x) { _mm512_storeu_si512(p, x.v); }
EDGELM_INLINE Bytes4 operator|(Bytes4 x, Bytes4 y) { return {_mm512_or_si512(x.v, y.v)}; }

// Shifts words of two bytes: the mask drops what comes in from the neighbour.
template <int kShift>
EDGELM_INLINE Bytes4 bits(Bytes4 x, int mask) {
  if constexpr (kShift > 0) x = {_mm512_srli_epi16(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm512_slli_epi16(x.v, -kShift)};
  return {_mm512_and_si512(x.v, _mm512_set1_epi8(static_cast<char>(mask)))};
}
EDGELM_INLINE Bytes4 lookup(const uint8_t (&table)[16], Bytes4 x) {
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(load128(table)), x.v)};
}

// --- one byte a row --------------------------------------------------------------------------

EDGELM_INLINE Bytes1 load_bytes1(const uint8_t* p) { return {load128(p)}; }
EDGELM_INLINE Bytes1 operator|(Bytes1 x, Bytes1 y) { return {_mm_or_si128(x.v, y.v)}; }
EDGELM_INLINE Bytes1 subtract(Bytes1 x, int y) {
  return {_mm_sub_epi8(x.v, _mm_set1_epi8(static_cast<char>(y)))};
}
template <int kShift>
EDGELM_INLINE Bytes1 bits(Bytes1 x, int mask) {
  if constexpr (kShift > 0) x = {_mm_srli_epi16(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm_slli_epi16(x.v, -kShift)};
  return {_mm_and_si128(x.v, _mm_set1_epi8(static_cast<char>(mask)))};
}
EDGELM_INLINE Ints1 widen(Bytes1 x) { return {_mm512_cvtepi8_epi32(x.v)}; }

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) {
  int32_t v;
  __builtin_memcpy(&v, p, 4);
  return {_mm512_set1_epi32(v)};
}
EDGELM_INLINE Shorts2 load_i16(const int16_t* p) { return {_mm512_loadu_si512(p)}; }
EDGELM_INLINE void store(int16_t* p, Shorts2 x) { _mm512_storeu_si512(p, x.v); }
EDGELM_INLINE Shorts2 load_widened(const uint8_t* p) { return {_mm512_cvtepi8_epi16(load256(p))}; }
EDGELM_INLINE Shorts2 even_bytes(Bytes4 x) {
  return {_mm512_srai_epi16(_mm512_slli_epi16(x.v, 8), 8)};
}
EDGELM_INLINE Shorts2 odd_bytes(Bytes4 x) { return {_mm512_srai_epi16(x.v, 8)}; }
EDGELM_INLINE Ints1 add(Ints1 x, Ints1 y) { return {_mm512_add_epi32(x.v, y.v)}; }
EDGELM_INLINE Ints1 zero_i32() { return {_mm512_setzero_si512()}; }
EDGELM_INLINE Ints1 dot2(Ints1 sum, Shorts2 w, Quad x) {
  return {_mm512_dpwssd_epi32(sum.v, w.v, x.v)};
}
EDGELM_INLINE Ints1 dot2(Shorts2 w, Quad x) { return dot2(zero_i32(), w, x); }

// --- running sums ----------------------------------------------------------------------------

using Sums = Ints1;
using ByteSums = Ints1;
struct Acts {
  const int8_t* q;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {q}; }

template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  return {_mm512_dpbusd_epi32(sums.v, w.v, broadcast4(x.q + 4 * j).v)};
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  return dot4<j>(zero_i32(), w, x);
}
EDGELM_INLINE Ints1 total(Sums x) { return x; }

template <int kShift>
EDGELM_INLINE Sums start(const uint8_t* p) {
  Quad x = broadcast4(p);
  if constexpr (kShift > 0) x = {_mm512_srai_epi32(x.v, kShift)};
  if constexpr (kShift < 0) x = {_mm512_slli_epi32(x.v, -kShift)};
  return {x.v};
}
template <int kCount>
EDGELM_INLINE int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  const __m128i one = _mm_set1_epi8(1);
  __m128i sum = _mm_dpbusd_epi32(_mm_setzero_si128(), one, load128(q));
  if (kCount == 32) sum = _mm_dpbusd_epi32(sum, one, load128(q + 16));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
  const int32_t all = _mm_cvtsi128_si32(sum), scaled = -factor * all;
  __builtin_memcpy(start, &scaled, 4);
  return all;
}

// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE Floats1 zero_f32() { return {_mm512_setzero_ps()}; }
EDGELM_INLINE Floats1 load_f32(const float* p) { return {_mm512_loadu_ps(p)}; }
EDGELM_INLINE void store(float* p, Floats1 x) { _mm512_storeu_ps(p, x.v); }
EDGELM_INLINE Floats1 broadcast_f32(const float* p) { return {_mm512_set1_ps(*p)}; }
EDGELM_INLINE Floats1 load_f16(const uint8_t* p) { return {_mm512_cvtph_ps(load256(p))}; }
EDGELM_INLINE Floats1 load_bf16(const uint8_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load256(p)), 16))};
}
EDGELM_INLINE Floats1 load_e8m0(const uint8_t* p) {
  const __m512i e = _mm512_cvtepu8_epi32(load128(p));
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __m512i small = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  const __mmask16 is_small = _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2));
  return {_mm512_castsi512_ps(_mm512_mask_blend_epi32(is_small, normal, small))};
}
EDGELM_INLINE Floats1 to_float(Ints1 x) { return {_mm512_cvtepi32_ps(x.v)}; }
EDGELM_INLINE Floats1 to_float(Floats1 x) { return x; }
EDGELM_INLINE Floats1 mul(Floats1 x, Floats1 y) { return {_mm512_mul_ps(x.v, y.v)}; }
EDGELM_INLINE Floats1 fma(Floats1 x, Floats1 y, Floats1 z) {
  return {_mm512_fmadd_ps(x.v, y.v, z.v)};
}
EDGELM_INLINE Floats1 fnma(Floats1 x, Floats1 y, Floats1 z) {
  return {_mm512_fnmadd_ps(x.v, y.v, z.v)};
}

// The integers of a super-block's scales as floats: products with sums stay exact.
using ScaleLine = Floats1;
EDGELM_INLINE ScaleLine scale_line(Bytes1 x) { return to_float(widen(x)); }
using Scaled = Floats1;
EDGELM_INLINE Scaled scaled(Sums x, ScaleLine s) { return mul(to_float(x), s); }
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, ScaleLine s) {
  return fma(to_float(x), s, sum);
}

// --- quantizing a line of activations --------------------------------------------------------

EDGELM_INLINE Ints1 magnitude_bits(Floats1 x) {
  return {_mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(0x7fffffff))};
}
EDGELM_INLINE Ints1 max(Ints1 x, Ints1 y) { return {_mm512_max_epi32(x.v, y.v)}; }
EDGELM_INLINE int32_t max_of(Ints1 x) { return _mm512_reduce_max_epi32(x.v); }
EDGELM_INLINE Ints1 round_i32(Floats1 x) { return {_mm512_cvtps_epi32(x.v)}; }
EDGELM_INLINE void store_narrowed(int16_t* p, Ints1 x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtsepi32_epi16(x.v));
}
EDGELM_INLINE void store_narrowed(int8_t* p, Ints1 x) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(x.v));
}

}  // namespace
}  // namespace edgelm
