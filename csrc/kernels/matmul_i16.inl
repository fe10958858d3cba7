#pragma once

// Weights of 8 signed bits against 16-bit activations, both as int16 pairs: the 32 products of a
// block stay below 2^27 in int32, then c[t] = fma(sum, d_w * d_x, c[t]).
#include "kernels/activation.h"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// 32 weights; S gives pairs<j>(record), the weights 2j and 2j + 1, and scale(record).
template <class S>
struct PackedI16 {
  static constexpr size_t kBytes = S::kBytes;
  const uint8_t* p;
  Later later;
  EDGELM_INLINE PackedI16(const uint8_t* record, Later next) : p(record), later(next) {}
  EDGELM_INLINE void fetch() const { later.fetch(0, kBytes); }
  template <int j>
  EDGELM_INLINE Shorts2 pairs() const {
    return S::template pairs<j>(p);
  }
  EDGELM_INLINE Floats1 scale() const { return S::scale(p); }
};

// 16 lines of pairs, then one of float scales.
struct ExpandedI16 {
  static constexpr size_t kBytes = 17 * kLineBytes;
  const uint8_t* p;
  Ahead& ahead;
  explicit EDGELM_INLINE ExpandedI16(const uint8_t* panel, Ahead& next) : p(panel), ahead(next) {}
  EDGELM_INLINE void fetch() const { ahead.fetch(); }
  template <int j>
  EDGELM_INLINE Shorts2 pairs() const {
    return load_i16(reinterpret_cast<const int16_t*>(p + kLineBytes * j));
  }
  EDGELM_INLINE Floats1 scale() const {
    return load_f32(reinterpret_cast<const float*>(p + 16 * kLineBytes));
  }
};

template <class Source>
EDGELM_INLINE void expand_i16(const Source& source, uint8_t* panel) {
  unroll<16>([&](auto j) EDGELM_ALWAYS_INLINE {
    store(reinterpret_cast<int16_t*>(panel + kLineBytes * j.value),
          source.template pairs<j.value>());
  });
  store(reinterpret_cast<float*>(panel + 16 * kLineBytes), source.scale());
}

template <int T, class Source>
EDGELM_INLINE void accumulate_i16(const Source& source, const uint8_t* act, size_t stride,
                                  Floats1 (&c)[T]) {
  source.fetch();
  Ints1 sum[T];
  unroll<16>([&](auto j) EDGELM_ALWAYS_INLINE {
    Shorts2 w = source.template pairs<j.value>();
    if constexpr (kPins<T>) pin(w);
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      const Quad x = broadcast4(act + t.value * stride + 4 * j.value);
      if constexpr (j.value == 0) {
        sum[t.value] = dot2(w, x);
      } else {
        sum[t.value] = dot2(sum[t.value], w, x);
      }
      if constexpr (kPins<T>) pin(sum[t.value]);
    });
  });
  const Floats1 d = source.scale();
  unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
    const auto* a = reinterpret_cast<const ActI16x32*>(act + t.value * stride);
    c[t.value] = fma(to_float(sum[t.value]), mul(d, broadcast_f32(&a->scale)), c[t.value]);
  });
}

}  // namespace
}  // namespace edgelm
