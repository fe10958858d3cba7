#pragma once

// What the 4- and 5-bit blocks of 32 share. Included by kernel units: no STL here.
#include <cstdint>

namespace edgelm {

// out[i] = in[i] >> shift & mask over n bytes, eight at a time; mask < 2^(8 - shift).
template <int n>
static inline void take_bits(const uint8_t* in, int shift, int mask, int8_t* out) {
  const uint64_t every = 0x0101010101010101u * static_cast<uint64_t>(mask);
  for (int i = 0; i < n; i += 8) {
    uint64_t x;
    __builtin_memcpy(&x, in + i, 8);
    x = x >> shift & every;
    __builtin_memcpy(out + i, &x, 8);
  }
}

// out[i] |= (in[i] >> shift & mask) << left, likewise.
template <int n>
static inline void or_bits(const uint8_t* in, int shift, int mask, int left, int8_t* out) {
  const uint64_t every = 0x0101010101010101u * static_cast<uint64_t>(mask);
  for (int i = 0; i < n; i += 8) {
    uint64_t x, y;
    __builtin_memcpy(&x, in + i, 8);
    __builtin_memcpy(&y, out + i, 8);
    y |= (x >> shift & every) << left;
    __builtin_memcpy(out + i, &y, 8);
  }
}

// 16 bytes to 32 values in 0..15: low nibbles are elements 0 to 15, high nibbles 16 to 31.
static inline void split_nibbles(const uint8_t* qs, int8_t* codes) {
  take_bits<16>(qs, 0, 15, codes);
  take_bits<16>(qs, 4, 15, codes + 16);
}

// Adds 16 to code i, below 16, where bit i of the little-endian 32-bit qh is set.
static inline void add_fifth_bits(const uint8_t* qh, int8_t* codes) {
  for (int i = 0; i < 4; ++i) {
    // Byte j keeps bit j of qh[i], as 1 or 0: adding 127 to any nonzero byte sets its bit 7.
    const uint64_t bit = 0x0101010101010101u * qh[i] & 0x8040201008040201u;
    const uint64_t one = ((bit & 0x7f7f7f7f7f7f7f7fu) + 0x7f7f7f7f7f7f7f7fu) | bit;
    uint8_t byte[8];
    __builtin_memcpy(byte, &one, 8);
    or_bits<8>(byte, 7, 1, 4, codes + 8 * i);
  }
}

}  // namespace edgelm
