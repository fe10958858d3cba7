#include EDGELM_ISA_HEADER

#include "kernels/activation.h"
#include "kernels/table.h"
#include "kernels/unroll.inl"

namespace edgelm {
namespace {

constexpr float kNaN = __builtin_nanf("");
constexpr uint32_t kInfinityBits = 0x7f800000;

// What a block of greatest magnitude `bits` is divided and multiplied by to reach +-limit.
struct Scale {
  float inverse, scale;
};
EDGELM_INLINE Scale scale_of(uint32_t bits, float limit) {
  const float amax = __builtin_bit_cast(float, bits);
  if (bits >= kInfinityBits) return {0, kNaN};
  if (amax < kTinyActivation) return {0, 0};
  return {limit / amax, amax / limit};
}

template <int kCount, class Int>
EDGELM_INLINE Scale quantize_block(const float* x, float limit, Int* q) {
  uint32_t bits = 0;
  for (int i = 0; i < kCount; i += 16) bits = max_magnitude_bits(load_f32(x + i), bits);
  const Scale s = scale_of(bits, limit);
  if (s.inverse == 0) {
    __builtin_memset(q, 0, kCount * sizeof(Int));  // 0 * infinity has no integer
    return s;
  }
  const F32x16 inverse = broadcast_f32(&s.inverse);
  for (int i = 0; i < kCount; i += 16) {
    store_narrowed(q + i, round_i32(mul(load_f32(x + i), inverse)));
  }
  return s;
}

// Sums of the values at i % 4 in {0, 1} and in {2, 3}.
struct LaneSums {
  int low, high;
};
EDGELM_INLINE LaneSums lane_sums(const int8_t* q, int n) {
  LaneSums s = {0, 0};
  for (int i = 0; i < n; i += 4) {
    s.low += q[i] + q[i + 1];
    s.high += q[i + 2] + q[i + 3];
  }
  return s;
}

void quantize_i8x32(const float* x, int32_t k, ActI8x32* out) {
  for (int i = 0; i < k / 32; ++i) {
    ActI8x32& block = out[i];
    block.scale = quantize_block<32>(x + 32 * i, 127, block.q).scale;
    const LaneSums s = lane_sums(block.q, 32);
    block.sum = block.scale * static_cast<float>(s.low + s.high);
    block.lane[0] = static_cast<int16_t>(-16 * s.low);
    block.lane[1] = static_cast<int16_t>(-16 * s.high);
  }
}

void quantize_i8x256(const float* x, int32_t k, ActI8x256* out) {
  for (int i = 0; i < k / 256; ++i) {
    ActI8x256& block = out[i];
    block.scale = quantize_block<256>(x + 256 * i, 127, block.q).scale;
    for (int j = 0; j < 16; ++j) {
      const LaneSums s = lane_sums(block.q + 16 * j, 16);
      block.sum16[j] = static_cast<int16_t>(s.low + s.high);
      block.lane[j][0] = static_cast<int16_t>(-32 * s.low);
      block.lane[j][1] = static_cast<int16_t>(-32 * s.high);
    }
    for (int j = 0; j < 8; ++j) {
      block.sum32[j] = static_cast<int16_t>(block.sum16[2 * j] + block.sum16[2 * j + 1]);
    }
  }
}

void quantize_i16x32(const float* x, int32_t k, ActI16x32* out) {
  for (int i = 0; i < k / 32; ++i) {
    out[i].scale = quantize_block<32>(x + 32 * i, 32767, out[i].q).scale;
  }
}

size_t act_bytes(ActFormat format, int32_t k) {
  const size_t n = static_cast<size_t>(k);
  size_t bytes = 0;
  switch (format) {
    case ActFormat::kF32:
      bytes = n * sizeof(ActF32);
      break;
    case ActFormat::kI8x32:
      bytes = n / 32 * sizeof(ActI8x32);
      break;
    case ActFormat::kI8x256:
      bytes = n / 256 * sizeof(ActI8x256);
      break;
    case ActFormat::kI16x32:
      bytes = n / 32 * sizeof(ActI16x32);
      break;
  }
  return (bytes + 63) / 64 * 64;
}

void quantize(ActFormat format, const float* x, int32_t k, uint8_t* out) {
  switch (format) {
    case ActFormat::kF32:
      __builtin_memcpy(out, x, static_cast<size_t>(k) * sizeof(float));
      break;
    case ActFormat::kI8x32:
      quantize_i8x32(x, k, reinterpret_cast<ActI8x32*>(out));
      break;
    case ActFormat::kI8x256:
      quantize_i8x256(x, k, reinterpret_cast<ActI8x256*>(out));
      break;
    case ActFormat::kI16x32:
      quantize_i16x32(x, k, reinterpret_cast<ActI16x32*>(out));
      break;
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(activations) {
  table.act_bytes = edgelm::act_bytes;
  table.quantize = edgelm::quantize;
}
