#pragma once

// Plain C++: the same vocabulary as isa/avx2.h on arrays, which the compiler vectorizes as it can.
#include <cstddef>
#include <cstdint>

#include "isa/inline.h"
#include "quant/half.h"

// The algorithms inline; the operations, loops over 16 to 64 elements each, are calls: inlined into
// unrolled tiles they would take minutes to compile.
#define EDGELM_CALL [[maybe_unused]] __attribute__((noinline))

namespace edgelm {
namespace {

struct Bytes64 {
  uint8_t v[64];
};
struct I16x32 {
  int16_t v[32];
};
struct I32x16 {
  int32_t v[16];
};
struct F32x16 {
  float v[16];
};
struct Bytes16 {
  uint8_t v[16];
};
struct Quad {
  alignas(4) int8_t v[4];
};

// The value passes through memory here, so that no pinned work is dropped or moved out of a loop.
EDGELM_INLINE void pin(Bytes64& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(I16x32& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(I32x16& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void pin(F32x16& x) { __asm__ volatile("" : "+m"(x)); }
EDGELM_INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
EDGELM_INLINE void prefetch_later(const void* p) { __builtin_prefetch(p, 0, 2); }

template <class V>
EDGELM_INLINE V load_raw(const void* p) {
  V x;
  __builtin_memcpy(&x, p, sizeof x);
  return x;
}

// --- bytes -----------------------------------------------------------------------------------

EDGELM_INLINE Bytes64 load_bytes(const uint8_t* p) { return load_raw<Bytes64>(p); }
EDGELM_INLINE void store(uint8_t* p, Bytes64 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL Bytes64 operator|(Bytes64 x, Bytes64 y) {
  for (int i = 0; i < 64; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] | y.v[i]);
  return x;
}
template <int kShift>
EDGELM_INLINE uint8_t bits(uint8_t x, int mask) {
  return static_cast<uint8_t>((kShift > 0 ? x >> (kShift & 7) : x << (-kShift & 7)) & mask);
}
template <int kShift>
EDGELM_CALL Bytes64 bits(Bytes64 x, int mask) {
  for (int i = 0; i < 64; ++i) x.v[i] = bits<kShift>(x.v[i], mask);
  return x;
}
EDGELM_CALL Bytes64 lookup(const uint8_t (&table)[16], Bytes64 x) {
  for (int i = 0; i < 64; ++i) x.v[i] = table[x.v[i]];
  return x;
}

// --- one byte a column -----------------------------------------------------------------------

EDGELM_INLINE Bytes16 load_columns(const uint8_t* p) { return load_raw<Bytes16>(p); }
EDGELM_CALL Bytes16 operator|(Bytes16 x, Bytes16 y) {
  for (int i = 0; i < 16; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] | y.v[i]);
  return x;
}
EDGELM_CALL Bytes16 subtract(Bytes16 x, int y) {
  for (int i = 0; i < 16; ++i) x.v[i] = static_cast<uint8_t>(x.v[i] - y);
  return x;
}
template <int kShift>
EDGELM_CALL Bytes16 bits(Bytes16 x, int mask) {
  for (int i = 0; i < 16; ++i) x.v[i] = bits<kShift>(x.v[i], mask);
  return x;
}
EDGELM_CALL I16x32 interleave(Bytes16 x, Bytes16 y) {
  I16x32 out;
  for (int i = 0; i < 16; ++i) {
    out.v[2 * i] = static_cast<int8_t>(x.v[i]);
    out.v[2 * i + 1] = static_cast<int8_t>(y.v[i]);
  }
  return out;
}

EDGELM_CALL I32x16 widen(Bytes16 x) {
  I32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = static_cast<int8_t>(x.v[i]);
  return out;
}

// --- int16 and int32 -------------------------------------------------------------------------

EDGELM_INLINE Quad broadcast4(const void* p) { return load_raw<Quad>(p); }
EDGELM_INLINE I16x32 load_i16(const int16_t* p) { return load_raw<I16x32>(p); }
EDGELM_INLINE void store(int16_t* p, I16x32 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL I16x32 load_widened(const uint8_t* p) {
  I16x32 out;
  for (int i = 0; i < 32; ++i) out.v[i] = static_cast<int8_t>(p[i]);
  return out;
}
EDGELM_CALL I16x32 even_bytes(Bytes64 x) {
  I16x32 out;
  for (int i = 0; i < 32; ++i) out.v[i] = static_cast<int8_t>(x.v[2 * i]);
  return out;
}
EDGELM_CALL I16x32 odd_bytes(Bytes64 x) {
  I16x32 out;
  for (int i = 0; i < 32; ++i) out.v[i] = static_cast<int8_t>(x.v[2 * i + 1]);
  return out;
}
template <int kShift>
EDGELM_CALL I16x32 lanes(Quad x) {
  int16_t pair[2];
  __builtin_memcpy(pair, &x, sizeof pair);
  I16x32 out;
  for (int i = 0; i < 32; ++i) out.v[i] = static_cast<int16_t>(pair[i % 2] >> kShift);
  return out;
}
EDGELM_CALL I16x32 add(I16x32 x, I16x32 y) {
  for (int i = 0; i < 32; ++i) x.v[i] = static_cast<int16_t>(x.v[i] + y.v[i]);
  return x;
}
EDGELM_CALL I32x16 add(I32x16 x, I32x16 y) {
  for (int i = 0; i < 16; ++i) x.v[i] += y.v[i];
  return x;
}
EDGELM_INLINE I32x16 zero_i32() { return {}; }
EDGELM_CALL I16x32 mul_pairs(Bytes64 u, Quad s) {
  I16x32 out;
  for (int c = 0; c < 16; ++c) {
    const uint8_t* w = u.v + 4 * c;
    out.v[2 * c] = static_cast<int16_t>(w[0] * s.v[0] + w[1] * s.v[1]);
    out.v[2 * c + 1] = static_cast<int16_t>(w[2] * s.v[2] + w[3] * s.v[3]);
  }
  return out;
}
EDGELM_CALL I32x16 dot(I16x32 x, I16x32 y) {
  I32x16 out;
  for (int c = 0; c < 16; ++c) {
    out.v[c] = x.v[2 * c] * y.v[2 * c] + x.v[2 * c + 1] * y.v[2 * c + 1];
  }
  return out;
}
EDGELM_CALL I32x16 dot(I16x32 x, Quad y) { return dot(x, lanes<0>(y)); }
EDGELM_CALL I32x16 sum_lanes(I16x32 x) {
  I32x16 out;
  for (int c = 0; c < 16; ++c) out.v[c] = x.v[2 * c] + x.v[2 * c + 1];
  return out;
}

// --- float -----------------------------------------------------------------------------------

EDGELM_INLINE F32x16 zero_f32() { return {}; }
EDGELM_INLINE F32x16 load_f32(const float* p) { return load_raw<F32x16>(p); }
EDGELM_INLINE void store(float* p, F32x16 x) { __builtin_memcpy(p, &x, sizeof x); }
EDGELM_CALL F32x16 broadcast_f32(const float* p) {
  const float value = load_raw<float>(p);
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = value;
  return out;
}
EDGELM_CALL F32x16 load_f16(const uint8_t* p) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = to_float(load_raw<f16>(p + 2 * i));
  return out;
}
EDGELM_CALL F32x16 load_bf16(const uint8_t* p) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = to_float(load_raw<bf16>(p + 2 * i));
  return out;
}
EDGELM_CALL F32x16 load_e8m0(const uint8_t* p) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) {
    const uint32_t e = p[i];
    out.v[i] = __builtin_bit_cast(float, e < 2 ? 0x00200000u << e : (e - 1) << 23);
  }
  return out;
}
EDGELM_CALL F32x16 to_float(I32x16 x) {
  F32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = static_cast<float>(x.v[i]);
  return out;
}
EDGELM_CALL F32x16 mul(F32x16 x, F32x16 y) {
  for (int i = 0; i < 16; ++i) x.v[i] *= y.v[i];
  return x;
}
// Rounded twice: a fused one costs a library call on processors without it.
EDGELM_CALL F32x16 fma(F32x16 x, F32x16 y, F32x16 z) {
  for (int i = 0; i < 16; ++i) z.v[i] += x.v[i] * y.v[i];
  return z;
}
EDGELM_CALL F32x16 fnma(F32x16 x, F32x16 y, F32x16 z) {
  for (int i = 0; i < 16; ++i) z.v[i] -= x.v[i] * y.v[i];
  return z;
}

// --- quantizing 16 activations ---------------------------------------------------------------

EDGELM_CALL I32x16 magnitude_bits(F32x16 x) {
  I32x16 out;
  for (int i = 0; i < 16; ++i) out.v[i] = __builtin_bit_cast(int32_t, x.v[i]) & 0x7fffffff;
  return out;
}
EDGELM_CALL I32x16 max(I32x16 x, I32x16 y) {
  for (int i = 0; i < 16; ++i) x.v[i] = x.v[i] > y.v[i] ? x.v[i] : y.v[i];
  return x;
}
EDGELM_CALL int32_t max_of(I32x16 x) {
  int32_t most = x.v[0];
  for (int i = 1; i < 16; ++i) most = x.v[i] > most ? x.v[i] : most;
  return most;
}
// Adding 1.5 * 2^23 leaves the nearest integer, ties to even, in the low bits; |x| < 2^22.
EDGELM_CALL I32x16 round_i32(F32x16 x) {
  I32x16 out;
  for (int i = 0; i < 16; ++i) {
    out.v[i] = __builtin_bit_cast(int32_t, x.v[i] + 12582912.0f) - 0x4b400000;
  }
  return out;
}
EDGELM_CALL void store_narrowed(int16_t* p, I32x16 x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int16_t>(x.v[i]);
}
EDGELM_CALL void store_narrowed(int8_t* p, I32x16 x) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(x.v[i]);
}

template <int kCount>
EDGELM_CALL void store_lane_sums(const int8_t* q, int factor, int16_t* lane) {
  int low = 0, high = 0;
  for (int i = 0; i < kCount; i += 4) low += q[i] + q[i + 1], high += q[i + 2] + q[i + 3];
  lane[0] = static_cast<int16_t>(factor * low);
  lane[1] = static_cast<int16_t>(factor * high);
}

}  // namespace
}  // namespace edgelm
