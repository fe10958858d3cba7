#pragma once

// Plain C++ with int16 sums, as AVX2 has them. The contract is in isa/scalar_lines.h.
namespace edgelm {
namespace {
inline constexpr int kGroupRows = 16, kTile = 4, kByteOffset = 128;
inline constexpr bool kWide = false, kByteSums = false;
}  // namespace
}  // namespace edgelm

#include "isa/scalar_lines.h"

namespace edgelm {
namespace {

using Sums = Shorts2;
using ByteSums = Shorts2;
struct Acts {
  const int8_t* q;
};
EDGELM_INLINE Acts load_acts(const int8_t* q) { return {q}; }

EDGELM_CALL Sums dot4(Bytes4 w, const int8_t* x) {
  Sums out;
  for (int i = 0; i < 2 * kGroupRows; ++i) {
    const int8_t* pair = x + 2 * (i % 2);
    out.v[i] = static_cast<int16_t>(w.v[2 * i] * pair[0] + w.v[2 * i + 1] * pair[1]);
  }
  return out;
}
EDGELM_CALL Sums dot4(Sums sums, Bytes4 w, const int8_t* x) {
  const Sums more = dot4(w, x);
  for (int i = 0; i < 2 * kGroupRows; ++i) {
    sums.v[i] = static_cast<int16_t>(sums.v[i] + more.v[i]);
  }
  return sums;
}
template <int j>
EDGELM_INLINE Sums dot4(Bytes4 w, Acts x) {
  return dot4(w, x.q + 4 * j);
}
template <int j>
EDGELM_INLINE Sums dot4(Sums sums, Bytes4 w, Acts x) {
  return dot4(sums, w, x.q + 4 * j);
}
EDGELM_CALL Ints1 total(Sums x) {
  Ints1 out;
  for (int c = 0; c < kGroupRows; ++c) out.v[c] = x.v[2 * c] + x.v[2 * c + 1];
  return out;
}

template <int kShift>
EDGELM_CALL Sums start(const uint8_t* p) {
  int16_t pair[2];
  __builtin_memcpy(pair, p, sizeof pair);
  Sums out;
  for (int i = 0; i < 2 * kGroupRows; ++i) out.v[i] = static_cast<int16_t>(pair[i % 2] >> kShift);
  return out;
}
template <int kCount>
EDGELM_CALL int32_t store_start(const int8_t* q, int factor, uint8_t* start) {
  int low = 0, high = 0;
  for (int i = 0; i < kCount; i += 4) low += q[i] + q[i + 1], high += q[i + 2] + q[i + 3];
  const int16_t pair[2] = {static_cast<int16_t>(-factor * low),
                           static_cast<int16_t>(-factor * high)};
  __builtin_memcpy(start, pair, sizeof pair);
  return low + high;
}

using ScaleLine = Ints1;
EDGELM_INLINE ScaleLine scale_line(Bytes1 x) { return widen(x); }
using Scaled = Ints1;
EDGELM_CALL Scaled scaled(Sums x, ScaleLine s) {
  for (int c = 0; c < kGroupRows; ++c) s.v[c] *= x.v[2 * c] + x.v[2 * c + 1];
  return s;
}
EDGELM_INLINE Scaled add_scaled(Scaled sum, Sums x, ScaleLine s) { return add(sum, scaled(x, s)); }

}  // namespace
}  // namespace edgelm
