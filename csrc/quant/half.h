#pragma once

// 16-bit floats. Included by kernel units: no STL here.
#include <cstdint>

namespace edgelm {

// IEEE 754 binary16; GGUF type 1, and the scale of most blocks.
struct f16 {
  static constexpr int kBlock = 1;
  uint16_t bits;
};
static_assert(sizeof(f16) == 2, "fixed by the file format");

// The upper half of a float32; GGUF type 30.
struct bf16 {
  static constexpr int kBlock = 1;
  uint16_t bits;
};
static_assert(sizeof(bf16) == 2, "fixed by the file format");

// Exact, and free of float32 subnormals: a thread that flushes them gets the same values.
static inline float to_float(f16 h) {
  const uint32_t sign = static_cast<uint32_t>(h.bits & 0x8000u) << 16;
  const uint32_t exponent = (h.bits >> 10) & 0x1fu;
  const uint32_t mantissa = h.bits & 0x3ffu;
  uint32_t magnitude;
  if (exponent == 0) {
    magnitude = __builtin_bit_cast(uint32_t, static_cast<float>(mantissa) * 0x1p-24f);
  } else if (exponent == 31) {
    // As the processor converts it: a NaN keeps its payload and becomes quiet.
    magnitude = 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0u);
  } else {
    magnitude = ((exponent + 112) << 23) | (mantissa << 13);
  }
  return __builtin_bit_cast(float, sign | magnitude);
}

static inline float to_float(bf16 h) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(h.bits) << 16);
}

// Nearest f16, ties to even; 65520 and above become infinity, NaN stays NaN.
static inline f16 to_f16(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const uint16_t sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u | ((magnitude >> 13) & 0x3ffu);
  } else if (magnitude >= 0x477ff000u) {  // 65520: half way from the greatest finite f16 to 2^16
    half = 0x7c00u;
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14, the least normal f16: adding 0.5 rounds to its last bit, 2^-24.
    half = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000u;
  } else {
    half = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return {static_cast<uint16_t>(sign | half)};
}

}  // namespace edgelm
