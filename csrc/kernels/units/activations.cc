#include EDGELM_ISA_HEADER

#include "kernels/activation.h"
#include "kernels/table.h"
#include "kernels/unroll.inl"

namespace edgelm {
namespace {

constexpr float kNaN = __builtin_nanf("");
constexpr int32_t kInfinityBits = 0x7f800000;

// The factor that takes a block of greatest magnitude `bits` to +-kLimit, and the one back.
struct Scale {
  float inverse, scale;
};
template <int kLimit>
EDGELM_INLINE Scale scale_of(int32_t bits) {
  const float amax = __builtin_bit_cast(float, bits);
  if (bits >= kInfinityBits) return {0, kNaN};
  if (amax < kTinyActivation) return {0, 0};
  return {kLimit / amax, amax * (1.0f / kLimit)};
}

// Quantizes kCount values to +-kLimit; returns their scale.
template <int kCount, int kLimit, class Integer>
EDGELM_INLINE float quantize_block(const float* x, Integer* q) {
  Ints1 most = magnitude_bits(load_f32(x));
  for (int i = kGroupRows; i < kCount; i += kGroupRows)
    most = max(most, magnitude_bits(load_f32(x + i)));
  const Scale s = scale_of<kLimit>(max_of(most));
  if (s.inverse == 0) {
    __builtin_memset(q, 0, kCount * sizeof(Integer));  // 0 * infinity has no integer
    return s.scale;
  }
  const Floats1 inverse = broadcast_f32(&s.inverse);
  for (int i = 0; i < kCount; i += kGroupRows) {
    store_narrowed(q + i, round_i32(mul(load_f32(x + i), inverse)));
  }
  return s.scale;
}

template <int kParts>
void quantize_i8(const float* x, int32_t k, ActI8<kParts>* out) {
  constexpr int kPart = 32 / kParts;
  for (int i = 0; i < k / 32; ++i) {
    ActI8<kParts>& block = out[i];
    block.scale = quantize_block<32, 127>(x + 32 * i, block.q);
    for (int j = 0; j < kParts; ++j) {
      const int32_t sum =
          store_start<kPart>(block.q + kPart * j, kStartFactor<kParts>, block.start[j]);
      block.sum[j] = block.scale * static_cast<float>(sum);
    }
  }
}

void quantize_i16x32(const float* x, int32_t k, ActI16x32* out) {
  for (int i = 0; i < k / 32; ++i) {
    out[i].scale = quantize_block<32, 32767>(x + 32 * i, out[i].q);
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
    case ActFormat::kI8x16:
      bytes = n / 32 * sizeof(ActI8x16);
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
      quantize_i8(x, k, reinterpret_cast<ActI8x32*>(out));
      break;
    case ActFormat::kI8x16:
      quantize_i8(x, k, reinterpret_cast<ActI8x16*>(out));
      break;
    case ActFormat::kI16x32:
      quantize_i16x32(x, k, reinterpret_cast<ActI16x32*>(out));
      break;
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(activations) {
  table.group_rows = edgelm::kGroupRows;
  table.act_bytes = edgelm::act_bytes;
  table.quantize = edgelm::quantize;
}
