#pragma once

// Lines of arrays in plain C++, which the compiler vectorizes as it can, and the contract of every
// ISA's vocabulary. A "line" spans the kGroupRows rows of w that are packed together:
//   Bytes1, Bytes4           one byte a row, and four: the weights of one K-group
//   Shorts2                  two int16 a row
//   Ints1, Floats1           one value a row
//   Quad                     the same four bytes for every row: s8 x 4 or i16 x 2
//   bits<s>(x, mask)         every byte (x >> s) & mask; a negative s shifts left
//   lookup(table, x)         table[x] of every byte; x in 0..15
//   even_bytes, odd_bytes    of every row's bytes, (0, 2) and (1, 3), sign-extended
//   load_widened             two signed bytes a row, widened
//   load_e8m0                2^(e - 128) of bytes e; the two smallest are subnormal
//   fma, fnma                x * y + z and z - x * y
//   magnitude_bits           as integers NaN ranks above infinity
//   round_i32                nearest integers, ties to even
//   pin(x)                   a value that is computed here, and neither dropped nor moved
//   prefetch, prefetch_later into the first and into the second cache
//
// Running sums of u8 x s8 products, in isa/scalar.h and isa/scalar_wide.h:
//   kWide         sums are int32, so no chain overflows; else int16 lanes, in whose pairs a row's
//                 products lie
//   kByteSums     can weights of 8 bits be summed, kByteOffset added to them? In ByteSums,
//                 which have a zero() where they are not Sums
//   kByteOffset   0 where weights are the signed operand
//   kTile         tokens that are computed together, as registers allow
//   load_acts(q)  16 K of a token
//   dot4<j>(w, x), dot4<j>(sums, w, x)      its K-group j of 4
//   dot2(w, x), dot2(sum, w, x)             int16 pairs
//   total(sums)                             a value a row
//   start<s>(p)   sums that start at -factor * (sum of q), shifted right by s
//   store_start<n>(q, factor, p)            writes what start reads; returns the sum of q
//   scale_line(x)                           an integer scale a row
//   scaled(sums, s), add_scaled(x, sums, s) sums times scales, exact up to 2^24
// Where weights are signed, of bytes, too: subtract(x, y), subtract_from(x, y), and
//   mul(x, y)     the low bytes of products with a Bytes1
//   insert<s>(x, y)              x's highest s bits, y's others below them
//   near_float<o>(x)             x - o as floats, of unsigned bytes
//   near_scale<o>(x)             a scale for scaled() that few tokens use, once it is made
#include <cstddef>
#include <cstdint>

#include "isa/inline.h"
#include "quant/half.h"

// The algorithms inline; the operations, loops over a line, are calls: inlined into unrolled tiles
// they would take minutes to compile.
#define EDGELM_CALL [[maybe_unused]] __attribute__((noinline))

namespace edgelm {
namespace {

inline constexpr int kLineBytes = 4 * kGroupRows;

struct Bytes4 {
  uint8_t v[kLineBytes];
};
struct Shorts2 {
  int16_t v[2 * kGroupRows];
};
struct Ints1 {
  int32_t v[kGroupRows];
};
struct Floats1 {
  float v[kGroupRows];
};
struct Bytes1 {
  uint8_t v[kGroupRows];
};
struct Quad {
  alignas(4) int8_t v[4];
};

// By passing through memory.
EDGELM_INLINE void pin(Bytes4& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(Shorts2& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(Ints1& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(Floats1& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
EDGELM_INLINE void prefetch_later(const void* p) { __builtin_prefetch(p, 0, 2); }

template <class V>
EDGELM_INLINE V load_raw(const void* p) {
  V x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// --- bytes -----------------------------------------------------------------------------------

EDGELM_INLINE Bytes4 load_bytes(const uint8_t* p) { return load_raw<Bytes4>(p); }
EDGELM_INLINE void store(uint8_t* p, Bytes4 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL Bytes4 operator|(Bytes4 x, Bytes4 y) {
  for (int i = 0; i < kLineBytes; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] | y.v[i]);
  return x;
}
template <int kShift>
EDGELM_INLINE uint8_t bits(uint8_t x, int mask) {
  return static_cast<uint8_t>((kShift > 0 ? x >> (kShift & 7) : x << (-kShift & 7)) & mask);
}
template <int kShift>
EDGELM_CALL Bytes4 bits(Bytes4 x, int mask) {
  for (int i = 0; i < kLineBytes; ++i) x.v[i] = bits<kShift>(x.v[i], mask);
  return x;
}
EDGELM_CALL Bytes4 lookup(const uint8_t (&table)[16], Bytes4 x) {
  for (int i = 0; i < kLineBytes; ++i) x.v[i] = table[x.v[i]];
  return x;
}

// --- one byte a row --------------------------------------------------------------------------

EDGELM_INLINE Bytes1 load_bytes1(const uint8_t* p) { return load_raw<Bytes1>(p); }
EDGELM_CALL Bytes1 operator|(Bytes1 x, Bytes1 y) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] | y.v[i]);
  return x;
}
EDGELM_CALL Bytes1 subtract(Bytes1 x, int y) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] - y);
  return x;
}
template <int kShift>
EDGELM_CALL Bytes1 bits(Bytes1 x, int mask) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] = bits<kShift>(x.v[i], mask);
  return x;
}
EDGELM_CALL Ints1 widen(Bytes1 x) {
  Ints1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = static_cast<int8_t>(x.v[i]);
  return out;
}

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) { return load_raw<Quad>(p); }
EDGELM_INLINE Shorts2 load_i16(const int16_t* p) { return load_raw<Shorts2>(p); }
EDGELM_INLINE void store(int16_t* p, Shorts2 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL Shorts2 load_widened(const uint8_t* p) {
  Shorts2 out;
  for (int i = 0; i < 2 * kGroupRows; ++i) out.v[i] = static_cast<int8_t>(p[i]);
  return out;
}
EDGELM_CALL Shorts2 even_bytes(Bytes4 x) {
  Shorts2 out;
  for (int i = 0; i < 2 * kGroupRows; ++i) out.v[i] = static_cast<int8_t>(x.v[2 * i]);
  return out;
}
EDGELM_CALL Shorts2 odd_bytes(Bytes4 x) {
  Shorts2 out;
  for (int i = 0; i < 2 * kGroupRows; ++i) out.v[i] = static_cast<int8_t>(x.v[2 * i + 1]);
  return out;
}
EDGELM_CALL Ints1 add(Ints1 x, Ints1 y) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] += y.v[i];
  return x;
}
EDGELM_INLINE Ints1 zero_i32() { return {}; }
EDGELM_CALL Ints1 dot2(Ints1 sum, Shorts2 w, Quad x) {
  int16_t pair[2];
  __builtin_memcpy(pair, &x, sizeof pair);
  for (int c = 0; c < kGroupRows; ++c) {
    sum.v[c] += w.v[2 * c] * pair[0] + w.v[2 * c + 1] * pair[1];
  }
  return sum;
}
EDGELM_INLINE Ints1 dot2(Shorts2 w, Quad x) { return dot2(zero_i32(), w, x); }
// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE Floats1 zero_f32() { return {}; }
EDGELM_INLINE Floats1 load_f32(const float* p) { return load_raw<Floats1>(p); }
EDGELM_INLINE void store(float* p, Floats1 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL Floats1 broadcast_f32(const float* p) {
  const float value = load_raw<float>(p);
  Floats1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = value;
  return out;
}
EDGELM_CALL Floats1 load_f16(const uint8_t* p) {
  Floats1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = to_float(load_raw<f16>(p + 2 * i));
  return out;
}
EDGELM_CALL Floats1 load_bf16(const uint8_t* p) {
  Floats1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = to_float(load_raw<bf16>(p + 2 * i));
  return out;
}
EDGELM_CALL Floats1 load_e8m0(const uint8_t* p) {
  Floats1 out;
  for (int i = 0; i < kGroupRows; ++i) {
    const uint32_t e = p[i];
    out.v[i] = __builtin_bit_cast(float, e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }
  return out;
}
EDGELM_CALL Floats1 to_float(Ints1 x) {
  Floats1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = static_cast<float>(x.v[i]);
  return out;
}
EDGELM_INLINE Floats1 to_float(Floats1 x) { return x; }
EDGELM_CALL Floats1 mul(Floats1 x, Floats1 y) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] *= y.v[i];
  return x;
}
// Rounded twice: a fused one costs a library call on processors without it.
EDGELM_CALL Floats1 fma(Floats1 x, Floats1 y, Floats1 z) {
  for (int i = 0; i < kGroupRows; ++i) z.v[i] += x.v[i] * y.v[i];
  return z;
}
EDGELM_CALL Floats1 fnma(Floats1 x, Floats1 y, Floats1 z) {
  for (int i = 0; i < kGroupRows; ++i) z.v[i] -= x.v[i] * y.v[i];
  return z;
}

// --- quantizing a line of activations------------------------------------------------------------

EDGELM_CALL Ints1 magnitude_bits(Floats1 x) {
  Ints1 out;
  for (int i = 0; i < kGroupRows; ++i) out.v[i] = __builtin_bit_cast(int32_t, x.v[i]) & 0x7fffffff;
  return out;
}
EDGELM_CALL Ints1 max(Ints1 x, Ints1 y) {
  for (int i = 0; i < kGroupRows; ++i) x.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
  return x;
}
EDGELM_CALL int32_t max_of(Ints1 x) {
  int32_t most = x.v[0];
  for (int i = 1; i < kGroupRows; ++i) most = x.v[i] > most ? x.v[i] : most;
  return most;
}
// Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits; |x| < 2^22.
EDGELM_CALL Ints1 round_i32(Floats1 x) {
  Ints1 out;
  for (int i = 0; i < kGroupRows; ++i) {
    out.v[i] = __builtin_bit_cast(int32_t, x.v[i] + 12582912.0f) - 0x4b400000;
  }
  return out;
}
EDGELM_CALL void store_narrowed(int16_t* p, Ints1 x) {
  for (int i = 0; i < kGroupRows; ++i) p[i] = static_cast<int16_t>(x.v[i]);
}
EDGELM_CALL void store_narrowed(int8_t* p, Ints1 x) {
  for (int i = 0; i < kGroupRows; ++i) p[i] = static_cast<int8_t>(x.v[i]);
}

}  // namespace
}  // namespace edgelm
