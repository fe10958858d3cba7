#pragma once

// The intrinsics, without g++ 12's complaint of what its own header leaves undefined; or, where
// SIMDe stands in for them, their names.
#ifdef EDGELM_SIMDE
#include EDGELM_SIMDE
#define EDGELM_ZMM "+m"
#else
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#define EDGELM_ZMM "+v"
#endif
