#pragma once

// Plain C++ with int32 sums and groups of 8 rows: what wide ISAs run, on any machine. The contract
// is in isa/scalar_lines.h.
namespace edgelm {
namespace {
inline constexpr int kGroupRows = 8, kTile = 8, kByteOffset = 128;
inline constexpr bool kWide = true, kByteSums = true;
}  // namespace
}  // namespace edgelm

#include "isa/scalar_lines.h"

namespace edgelm {
namespace {

using Sums = Ints1;
using ByteSums = Ints1;
struct Acts {
  const int8_t* q;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {q}; }

EDGELM_CALL Sums dot4(Sums sums, Bytes4 w, const int8_t* x) {
  for (int c = 0; c < kGroupRows; ++c) {
    for (int i = 0; i < 4; ++i) sums.v[c] += w.v[4 * c + i] * x[i];
  }
  return sums;
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  return dot4(zero_i32(), w, x.q + 4 * j);
}
template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  return dot4(sums, w, x.q + 4 * j);
}
EDGELM_INLINE Ints1 total(Sums x) { return x; }

template <int kShift>
EDGELM_CALL Sums start(const uint8_t* p) {
  const int32_t value = load_raw<int32_t>(p);
  Sums out;
  for (int32_t& x : out.v) x = kShift > 0 ? value >> (kShift & 31) : value * (1 << (-kShift & 31));
  return out;
}
template <int kCount>
EDGELM_CALL int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  int32_t sum = 0;
  for (int i = 0; i < kCount; ++i) sum += q[i];
  const int32_t scaled = -factor * sum;
  __builtin_memcpy(start, &scaled, sizeof scaled);
  return sum;
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
