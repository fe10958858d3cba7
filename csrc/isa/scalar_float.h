#pragma once

// Vectors of float32 for any processor: four lanes, and what the compiler makes of them. A vector's
// arithmetic, comparisons and `mask ? a : b` are the compiler's own; only what differs between
// processors is written here. Included by kernel units: no STL.
#include <cstdint>

#include "quant/half.h"

namespace edgelm {

inline constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

// a * b + c, rounded twice here.
static inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }

static inline Floats max(Floats a, Floats b) { return a > b ? a : b; }

static inline Floats load_f16(const uint16_t* p) {
  return Floats{to_float(f16{p[0]}), to_float(f16{p[1]}), to_float(f16{p[2]}), to_float(f16{p[3]})};
}

static inline Floats splat_f16(const uint16_t* p) { return to_float(f16{*p}) - Floats{}; }

static inline void store_f16(uint16_t* p, Floats x) {
  for (int i = 0; i < kLanes; ++i) p[i] = to_f16(x[i]).bits;
}

static inline Floats load_i8(const int8_t* p) {
  return Floats{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                static_cast<float>(p[3])};
}

// Splits 2 * kLanes floats into those of even and of odd index, and joins them again.
static inline void deinterleave(Floats a, Floats b, Floats& even, Floats& odd) {
  even = Floats{a[0], a[2], b[0], b[2]};
  odd = Floats{a[1], a[3], b[1], b[3]};
}
static inline void interleave(Floats even, Floats odd, Floats& a, Floats& b) {
  a = Floats{even[0], odd[0], even[1], odd[1]};
  b = Floats{even[2], odd[2], even[3], odd[3]};
}

}  // namespace edgelm
