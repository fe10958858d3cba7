#pragma once

// What the 4- and 5-bit blocks of 32 share. Included by kernel units: no STL here.
#include <cstdint>

namespace edgelm {

// 16 bytes to 32 values in 0..15: low nibbles are elements 0 to 15, high nibbles 16 to 31.
static inline void split_nibbles(const uint8_t* qs, int8_t* codes) {
  for (int j = 0; j < 16; ++j) {
    codes[j] = static_cast<int8_t>(qs[j] & 15);
    codes[j + 16] = static_cast<int8_t>(qs[j] >> 4);
  }
}

// Adds 16 to code i where bit i of the little-endian 32-bit qh is set.
static inline void add_fifth_bits(const uint8_t* qh, int8_t* codes) {
  for (int i = 0; i < 32; ++i) {
    codes[i] = static_cast<int8_t>(codes[i] + (((qh[i / 8] >> (i % 8)) & 1) << 4));
  }
}

}  // namespace edgelm
