#pragma once

// What Q4_K and Q5_K share. Included by kernel units: no STL here.
#include <cstdint>

namespace edgelm {

// Eight 6-bit scales and eight 6-bit minimums in 12 bytes: those of sub-blocks 0 to 3 are the low 6
// bits of bytes 0..3 and 4..7; of 4 to 7, a nibble of bytes 8..11 under the top 2 bits of bytes
// 0..3 and 4..7.
static inline int k_scale(const uint8_t* scales, int sub) {
  if (sub < 4) return scales[sub] & 63;
  return (scales[sub + 4] & 15) | (scales[sub - 4] >> 6) << 4;
}

static inline int k_min(const uint8_t* scales, int sub) {
  if (sub < 4) return scales[sub + 4] & 63;
  return scales[sub + 4] >> 4 | (scales[sub] >> 6) << 4;
}

}  // namespace edgelm
