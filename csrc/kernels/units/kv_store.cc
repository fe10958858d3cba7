// One token's keys and values on their way into the KV cache's tiles. The layout is in
// kernels/attention.h.
#include "kernels/attention.h"
#include "kernels/float_math.inl"
#include "kernels/table.h"
#include "quant/half.h"

namespace edgelm {
namespace {

// One scale for each 32 values of x: x = d * q, q in [-127, 127].
void quantize_q8(const float* x, int32_t n, uint16_t* scale, int8_t* q) {
  float greatest = 0;
  for (int32_t i = 0; i < n; ++i)
    greatest = __builtin_fabsf(x[i]) > greatest ? __builtin_fabsf(x[i]) : greatest;
  const f16 d = to_f16(greatest / 127.0f);
  const float inverse = d.bits == 0 ? 0.0f : 1.0f / to_float(d);
  for (int32_t i = 0; i < n; ++i) {
    const float scaled = x[i] * inverse;  // beyond 127 only if d is subnormal
    const float clamped = scaled > 127 ? 127 : scaled < -127 ? -127 : scaled;
    q[i] = static_cast<int8_t>(__builtin_bit_cast(int32_t, clamped + 0x1.8p23f) - 0x4b400000);
  }
  *scale = d.bits;
}

void store_kv(const KvStore& s) {
  const int32_t c = s.head_width;
  if (s.type == KvType::kF16) {
    auto* keys = reinterpret_cast<uint16_t*>(s.k_tile) + s.slot;
    auto* values = reinterpret_cast<uint16_t*>(s.v_tile) + s.slot * c;
    int32_t i = 0;
    const auto part = [&](int32_t n, Floats k, Floats v) {
      uint16_t half[kLanes];
      store_f16(half, k);
      for (int32_t j = 0; j < n; ++j) keys[(i + j) * kPageTokens] = half[j];
      store_f16(half, v);
      __builtin_memcpy(values + i, half, static_cast<size_t>(n) * sizeof(uint16_t));
    };
    for (; i + kLanes <= c; i += kLanes) part(kLanes, load(s.k + i), load(s.v + i));
    if (i < c) part(c - i, load_first(s.k + i, c - i), load_first(s.v + i, c - i));
    return;
  }
  const int32_t n_scales = kv_scales(c);
  auto* keys = reinterpret_cast<int8_t*>(s.k_tile) + s.slot;
  auto* key_scales = reinterpret_cast<uint16_t*>(s.k_tile + kPageTokens * c) + s.slot;
  auto* values = reinterpret_cast<int8_t*>(s.v_tile) + s.slot * c;
  auto* value_scales = reinterpret_cast<uint16_t*>(s.v_tile + kPageTokens * c) + s.slot * n_scales;
  for (int32_t b = 0; b < n_scales; ++b) {
    const int32_t first = b * kKvScaleWidth;
    const int32_t n = c - first < kKvScaleWidth ? c - first : kKvScaleWidth;
    int8_t q[kKvScaleWidth];
    quantize_q8(s.k + first, n, key_scales + b * kPageTokens, q);
    for (int32_t i = 0; i < n; ++i) keys[(first + i) * kPageTokens] = q[i];
    quantize_q8(s.v + first, n, value_scales + b, values + first);
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(kv_store) { table.store_kv = edgelm::store_kv; }
