#pragma once

// What isa/avx512vnni.h needs of AVX-512, as calls that run on AVX2: by SIMDe, and by hand what
// SIMDe 0.7.4 lacks. EDGELM_SIMDE includes this in place of the compiler's own; see tools/simde.sh.
#include <immintrin.h>

// SIMDe's macros then stand for AVX-512's intrinsics. Its types would clash with the compiler's.
#define SIMDE_NO_INLINE  // inlined, a unit would take minutes to compile
#define SIMDE_X86_AVX512F_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512BW_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512VL_ENABLE_NATIVE_ALIASES
#define SIMDE_X86_AVX512VNNI_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512/add.h>
#include <simde/x86/avx512/and.h>
#include <simde/x86/avx512/blend.h>
#include <simde/x86/avx512/broadcast.h>
#include <simde/x86/avx512/cast.h>
#include <simde/x86/avx512/cmpgt.h>
#include <simde/x86/avx512/cvt.h>
#include <simde/x86/avx512/cvts.h>
#include <simde/x86/avx512/dpbusd.h>
#include <simde/x86/avx512/dpwssd.h>
#include <simde/x86/avx512/fmadd.h>
#include <simde/x86/avx512/fnmadd.h>
#include <simde/x86/avx512/loadu.h>
#include <simde/x86/avx512/max.h>
#include <simde/x86/avx512/mul.h>
#include <simde/x86/avx512/or.h>
#include <simde/x86/avx512/permutex2var.h>
#include <simde/x86/avx512/set.h>
#include <simde/x86/avx512/set1.h>
#include <simde/x86/avx512/setr.h>
#include <simde/x86/avx512/setzero.h>
#include <simde/x86/avx512/shuffle.h>
#include <simde/x86/avx512/slli.h>
#include <simde/x86/avx512/sllv.h>
#include <simde/x86/avx512/srai.h>
#include <simde/x86/avx512/srli.h>
#include <simde/x86/avx512/storeu.h>
#include <simde/x86/avx512/sub.h>
#define __m512 simde__m512
#define __m512i simde__m512i

namespace edgelm::by_simde {

#define EDGELM_CALL [[maybe_unused]] static __attribute__((noinline))
typedef int32_t Ints16 __attribute__((vector_size(64)));
typedef float Floats16 __attribute__((vector_size(64)));

// All 16 lanes of one type as those of another.
template <class To, class From, class Vector>
static Ints16 widened(Vector v) {
  typedef From Lanes __attribute__((vector_size(16 * sizeof(From))));
  static_assert(sizeof(Vector) == sizeof(Lanes));
  Lanes lanes;
  __builtin_memcpy(&lanes, &v, sizeof v);
  return (Ints16) __builtin_convertvector(lanes, To);
}
EDGELM_CALL __m512i cvtepi8_epi32(__m128i x) { return (__m512i)widened<Ints16, int8_t>(x); }
EDGELM_CALL __m512i cvtepu8_epi32(__m128i x) { return (__m512i)widened<Ints16, uint8_t>(x); }
EDGELM_CALL __m512i cvtepu16_epi32(__m256i x) { return (__m512i)widened<Ints16, uint16_t>(x); }
EDGELM_CALL __m512 cvtepi32_ps(__m512i x) { return (__m512)widened<Floats16, int32_t>(x); }
EDGELM_CALL __m512i srai_epi32(__m512i x, int count) { return (__m512i)((Ints16)x >> count); }

EDGELM_CALL __m512i cvtps_epi32(__m512 x) {
  const simde__m512_private in = simde__m512_to_private(x);
  simde__m512i_private out;
  for (int i = 0; i < 2; ++i) out.m256i[i] = _mm256_cvtps_epi32(in.m256[i]);
  return simde__m512i_from_private(out);
}
EDGELM_CALL __m512 cvtph_ps(__m256i x) {
  simde__m512_private out;
  out.m256[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
  out.m256[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
  return simde__m512_from_private(out);
}
EDGELM_CALL __m256i cvtps_ph(__m512 x) {
  const simde__m512_private in = simde__m512_to_private(x);
  return _mm256_set_m128i(_mm256_cvtps_ph(in.m256[1], _MM_FROUND_TO_NEAREST_INT),
                          _mm256_cvtps_ph(in.m256[0], _MM_FROUND_TO_NEAREST_INT));
}
EDGELM_CALL int32_t reduce_max_epi32(__m512i x) {
  const Ints16 lanes = (Ints16)x;
  int32_t greatest = lanes[0];
  for (int i = 1; i < 16; ++i) greatest = lanes[i] > greatest ? lanes[i] : greatest;
  return greatest;
}

}  // namespace edgelm::by_simde

#undef _mm512_cmplt_epi32_mask
#undef _mm512_cvtps_ph
#undef _mm512_srai_epi32
#define _mm512_cmplt_epi32_mask(a, b) _mm512_cmpgt_epi32_mask(b, a)
#define _mm512_cvtepi8_epi32 by_simde::cvtepi8_epi32
#define _mm512_cvtepu8_epi32 by_simde::cvtepu8_epi32
#define _mm512_cvtepu16_epi32 by_simde::cvtepu16_epi32
#define _mm512_cvtepi32_ps by_simde::cvtepi32_ps
#define _mm512_srai_epi32 by_simde::srai_epi32
#define _mm512_cvtps_epi32 by_simde::cvtps_epi32
#define _mm512_cvtph_ps by_simde::cvtph_ps
#define _mm512_cvtps_ph(x, rounding) by_simde::cvtps_ph(x)
#define _mm512_reduce_max_epi32 by_simde::reduce_max_epi32
