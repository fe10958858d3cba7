#pragma once

// Blocks of 32 unsigned codes against 8-bit activations, in int16 lanes:
//   lane[t] = sum over the eight K-groups of u8 x s8 pairs
// A code is at most 31 and |q| at most 127, so a pair never saturates. Codes of 4 bits stay below
// 15 * 127 * 16 = 30480. Codes with an offset start from -offset * (the lane's sum of q), after
// which wrapping is harmless: the true sum is at most 16 * 127 * 16 = 32512.
//   c[t] = fma(sum of lanes, d_w * d_x, c[t]), then fma(min_w, d_x * sum of q, c[t])
#include "kernels/activation.h"
#include "kernels/codes.inl"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// F: group<g>(record), scale(record), min(record) as below.
template <class F>
struct PackedU8 {
  static constexpr size_t kBytes = F::kBytes;
  const uint8_t* p;
  Later later;
  EDGELM_INLINE PackedU8(const uint8_t* record, Later next) : p(record), later(next) {}
  EDGELM_INLINE void fetch() const { later.fetch(0, kBytes); }
  template <int g>
  EDGELM_INLINE Bytes64 group() const {
    return F::template group<g>(p);
  }
  EDGELM_INLINE F32x16 scale() const { return F::scale(p); }
  EDGELM_INLINE F32x16 min() const { return F::min(p); }
};

// Eight lines, a K-group each, then 16 scales and 16 minimums as floats.
struct ExpandedU8 {
  static constexpr size_t kBytes = 8 * 64 + 128;
  const uint8_t* p;
  Ahead& ahead;
  explicit EDGELM_INLINE ExpandedU8(const uint8_t* panel, Ahead& next) : p(panel), ahead(next) {}
  EDGELM_INLINE void fetch() const { ahead.fetch(); }
  template <int g>
  EDGELM_INLINE Bytes64 group() const {
    return load_bytes(p + 64 * g);
  }
  EDGELM_INLINE F32x16 scale() const { return load_f32(reinterpret_cast<const float*>(p + 512)); }
  EDGELM_INLINE F32x16 min() const { return load_f32(reinterpret_cast<const float*>(p + 576)); }
};

// kLaneShift: the lanes start at -16 >> kLaneShift times their sums of q; negative: at zero.
template <int kLaneShift, bool kHasMin, int T, class Source>
EDGELM_INLINE void accumulate_u8(const Source& source, const uint8_t* act, size_t stride,
                                 F32x16 (&c)[T]) {
  source.fetch();
  I16x32 lane[T];
  unroll<8>([&](auto g) EDGELM_ALWAYS_INLINE {
    Bytes64 w = source.template group<g.value>();
    pin(w);
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      const auto* a = reinterpret_cast<const ActI8x32*>(act + t.value * stride);
      I16x32 sum = mul_pairs(w, broadcast4(a->q + 4 * g.value));
      if constexpr (g.value > 0) {
        sum = add(lane[t.value], sum);
      } else if constexpr (kLaneShift >= 0) {
        sum = add(lanes<kLaneShift>(broadcast4(a->lane)), sum);
      }
      pin(sum);
      lane[t.value] = sum;
    });
  });
  const F32x16 d = source.scale();
  unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
    const auto* a = reinterpret_cast<const ActI8x32*>(act + t.value * stride);
    c[t.value] =
        fma(to_float(sum_lanes(lane[t.value])), mul(d, broadcast_f32(&a->scale)), c[t.value]);
  });
  if constexpr (kHasMin) {
    const F32x16 m = source.min();
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      const auto* a = reinterpret_cast<const ActI8x32*>(act + t.value * stride);
      c[t.value] = fma(m, broadcast_f32(&a->sum), c[t.value]);
    });
  }
}

// A weight type of 32-blocks. F describes it:
//   Block, Codes, kOffset (what pack adds to codes()), kLaneShift, kHasMin, kScaleBytes,
//   kFusedTokens, kStreams
//   group<g>, scale, min of a record; pack_scales, unpack_scales of one column
template <class F>
struct U8Weight {
  using Block = typename F::Block;
  static constexpr ActFormat kAct = ActFormat::kI8x32;
  static constexpr size_t kActBytes = sizeof(ActI8x32);
  static constexpr size_t kRecordBytes = F::kBytes, kPanelBytes = ExpandedU8::kBytes;
  static constexpr int kPanelWeights = 2048, kFusedTokens = F::kFusedTokens, kStreams = F::kStreams;
  using Packed = PackedU8<F>;
  using Expanded = ExpandedU8;

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    uint8_t code[kGroupRows][32];
    for (int c = 0; c < kGroupRows; ++c) {
      F::codes(rows[c], code[c]);
      F::pack_scales(rows[c], record + F::kCodeBytes, c);
    }
    pack_codes<typename F::Codes>(code[0], 32, record);
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    uint8_t code[32];
    unpack_codes<typename F::Codes>(record, column, code);
    F::decode(code, record + F::kCodeBytes, column, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    unroll<8>([&](auto g) EDGELM_ALWAYS_INLINE {
      store(panel + 64 * g.value, F::template group<g.value>(record));
    });
    store(reinterpret_cast<float*>(panel + 512), F::scale(record));
    if constexpr (F::kHasMin) store(reinterpret_cast<float*>(panel + 576), F::min(record));
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       F32x16 (&c)[T]) {
    accumulate_u8<F::kLaneShift, F::kHasMin, T>(source, act, stride, c);
  }
};

// The K-groups of a record whose lines come first.
template <class Codes, int g>
EDGELM_INLINE Bytes64 code_group(const uint8_t* record) {
  const auto line = [&](int i) EDGELM_ALWAYS_INLINE { return load_bytes(record + 64 * i); };
  return Codes::template group<g>(line);
}

// w = d * code (+ m): 16 f16 scales, then 16 f16 minimums if the type has them.
template <class FileBlock, class CodeLayout, int kOffset, int kLaneShiftOrNone, bool kMin>
struct Affine {
  using Block = FileBlock;
  using Codes = CodeLayout;
  static constexpr int kLaneShift = kLaneShiftOrNone;
  static constexpr bool kHasMin = kMin;
  static constexpr int kFusedTokens = Codes::kLines == 4 ? 20 : 11, kStreams = 4;
  static constexpr size_t kCodeBytes = 64 * Codes::kLines;
  static constexpr size_t kBytes = kCodeBytes + (kMin ? 64 : 32);

  template <int g>
  static EDGELM_INLINE Bytes64 group(const uint8_t* p) {
    return code_group<Codes, g>(p);
  }
  static EDGELM_INLINE F32x16 scale(const uint8_t* p) { return load_f16(p + kCodeBytes); }
  // Lanes that start at -16 * sum give (code - 16) * d, so the minimum makes up for 16 * d.
  static EDGELM_INLINE F32x16 min(const uint8_t* p) {
    F32x16 m = load_f16(p + kCodeBytes + 32);
    if constexpr (kMin && kLaneShift == 0) {
      static constexpr float kSixteen = 16;
      m = fma(scale(p), broadcast_f32(&kSixteen), m);
    }
    return m;
  }

  static void codes(const Block& block, uint8_t* out) {
    edgelm::codes(block, reinterpret_cast<int8_t*>(out));
    for (int i = 0; i < 32; ++i) out[i] = static_cast<uint8_t>(out[i] + kOffset);
  }
  static void pack_scales(const Block& block, uint8_t* out, int column) {
    __builtin_memcpy(out + 2 * column, &block.d, 2);
    if constexpr (kMin) __builtin_memcpy(out + 32 + 2 * column, &block.m, 2);
  }
  static void decode(const uint8_t* code, const uint8_t* scales, int column, float* out) {
    const float d = half_at(scales, column);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(code[i] - kOffset);
    if constexpr (kMin) {
      const float m = half_at(scales + 32, column);
      for (int i = 0; i < 32; ++i) out[i] += m;
    }
  }
};

}  // namespace
}  // namespace edgelm
