#pragma once

// The quantized rows that matmuls read, one struct a block. Kernel units include this: no STL here.
#include <cstddef>
#include <cstdint>

namespace edgelm {

// The magnitude below which a block counts as zero: the inverse of its scale would overflow.
inline constexpr float kTinyActivation = 0x1p-110f;

// x[i] = scale * q[i], |q| <= 127. A NaN or infinity makes scale NaN, and so every output.
struct ActI8x32 {
  int8_t q[32];
  float scale;
  float sum;        // scale * sum of q
  int16_t lane[2];  // -16 * the sums of q[i] with i % 4 in {0, 1} and in {2, 3}
};
static_assert(sizeof(ActI8x32) == 44);

struct ActI8x256 {
  int8_t q[256];
  float scale;
  int16_t sum32[8];     // sums of 32
  int16_t sum16[16];    // sums of 16
  int16_t lane[16][2];  // as above a block of 16, times -32
};
static_assert(sizeof(ActI8x256) == 372);

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
