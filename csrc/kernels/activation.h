#pragma once

// The quantized rows that matmuls read, one struct a block. Kernel units include this: no STL here.
#include <cstddef>
#include <cstdint>

namespace edgelm {

// The magnitude below which a block counts as zero: the inverse of its scale would overflow.
inline constexpr float kTinyActivation = 0x1p-110f;

// 32 values, x[i] = scale * q[i], |q| <= 127, in kParts runs of 32 / kParts values. A NaN or
// infinity makes scale NaN, and so every output.
template <int kParts>
struct ActI8 {
  int8_t q[32];
  float scale;
  float sum[kParts];  // of each run: scale * the sum of q
  uint8_t start[kParts]
               [4];  // of each run: -kStartFactor * its sums of q, as the ISA's start() reads
};
using ActI8x32 = ActI8<1>;
using ActI8x16 = ActI8<2>;
static_assert(sizeof(ActI8x32) == 44 && sizeof(ActI8x16) == 52);

// What the starts hold: int16 lanes bear no more, 16 * 127 * 16 and 32 * 127 * 8.
template <int kParts>
inline constexpr int kStartFactor = kParts == 1 ? 16 : 32;

// |q| <= 32767
struct ActI16x32 {
  int16_t q[32];
  float scale;
};
static_assert(sizeof(ActI16x32) == 68);

struct ActF32 {
  float x;
};

}  // namespace edgelm
