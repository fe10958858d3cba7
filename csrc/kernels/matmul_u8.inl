#pragma once

// Blocks of 32 unsigned codes against 8-bit activations:
//   sums[t] = sum over the eight K-groups of u8 x s8
//   c[t] = fma(sums[t], d_w * d_x, c[t]), then fma(min_w, d_x * sum of q, c[t])
// Codes with an offset start from -offset * (the sum of q), after which wrapping is harmless. In
// int16 lanes a code is at most 31 and |q| at most 127, so a pair never saturates; codes of 4 bits
// stay below 15 * 127 * 16 = 30480, and the true sum of those with an offset is at most 16 * 127 *
// 16 = 32512.
#include "kernels/activation.h"
#include "kernels/codes.inl"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// F: group<g>(record), scale(record), min(record) as below.
template <class F>
struct PackedU8 {
  static constexpr bool kCentred = false;
  static constexpr size_t kBytes = F::kBytes;
  const uint8_t* p;
  Later later;
  EDGELM_INLINE PackedU8(const uint8_t* record, Later next) : p(record), later(next) {}
  EDGELM_INLINE void fetch() const { later.fetch(0, kBytes); }
  template <int g>
  EDGELM_INLINE Bytes4 group() const {
    return F::template group<g>(p);
  }
  EDGELM_INLINE Floats1 scale() const { return F::scale(p); }
  EDGELM_INLINE Floats1 min() const { return F::min(p); }
};

// Eight lines, a K-group each, then a line of scales and one of minimums, both as floats. Offsets
// are taken from the codes where weights are signed, so that no sum has to start with them.
struct ExpandedU8 {
  static constexpr bool kCentred = kByteOffset == 0;
  static constexpr size_t kScale = 8 * kLineBytes, kMin = 9 * kLineBytes, kBytes = 10 * kLineBytes;
  const uint8_t* p;
  Ahead& ahead;
  explicit EDGELM_INLINE ExpandedU8(const uint8_t* panel, Ahead& next) : p(panel), ahead(next) {}
  EDGELM_INLINE void fetch() const { ahead.fetch(); }
  template <int g>
  EDGELM_INLINE Bytes4 group() const {
    return load_bytes(p + kLineBytes * g);
  }
  EDGELM_INLINE Floats1 scale() const {
    return load_f32(reinterpret_cast<const float*>(p + kScale));
  }
  EDGELM_INLINE Floats1 min() const { return load_f32(reinterpret_cast<const float*>(p + kMin)); }
};

template <int kStartShift, bool kHasMin, bool kBytes, int T, class Source>
EDGELM_INLINE void accumulate_u8(const Source& source, const uint8_t* act, size_t stride,
                                 Floats1 (&c)[T]) {
  const auto a = [&](int t) EDGELM_ALWAYS_INLINE -> const ActI8x32& {
    return *reinterpret_cast<const ActI8x32*>(act + t * stride);
  };
  constexpr int kStart = Source::kCentred ? kNoStart : kStartShift;
  using S = typename SumsOf<kBytes>::Type;
  source.fetch();
  S sums[T];
  unroll<2>([&](auto half) EDGELM_ALWAYS_INLINE {
    Acts x[T];
    unroll<T>([&](auto t)
                  EDGELM_ALWAYS_INLINE { x[t.value] = load_acts(a(t.value).q + 16 * half.value); });
    unroll<4>([&](auto j) EDGELM_ALWAYS_INLINE {
      constexpr int kGroup = 4 * half.value + j.value;
      Bytes4 w = source.template group<kGroup>();
      if constexpr (kPins<T>) pin(w);
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
        if constexpr (kGroup > 0) {
          sums[t.value] = dot4<j.value>(sums[t.value], w, x[t.value]);
        } else if constexpr (kStart != kNoStart) {
          sums[t.value] = dot4<j.value>(start<kStart>(a(t.value).start[0]), w, x[t.value]);
        } else {
          sums[t.value] = first_dot4<S, j.value>(w, x[t.value]);
        }
        if constexpr (kPins<T>) pin(sums[t.value]);
      });
    });
  });
  const Floats1 d = source.scale();
  unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
    const Floats1 scale = mul(d, broadcast_f32(&a(t.value).scale));
    c[t.value] = fma(to_float(total(sums[t.value])), scale, c[t.value]);
  });
  if constexpr (kHasMin) {
    const Floats1 m = source.min();
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      c[t.value] = fma(m, broadcast_f32(a(t.value).sum), c[t.value]);
    });
  }
}

// A weight type of 32-blocks. F describes it:
//   Block, Codes, kStart, kHasMin, kWholeBytes (weights of 8 bits), kCodeBytes, kBytes,
//   kFusedTokens, kStreams codes(block, out)   unsigned group<g>, scale, min of a record;
//   pack_scales, unpack_scales of one column
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
      auto w = F::template group<g.value>(record);
      if constexpr (ExpandedU8::kCentred && F::kStart != kNoStart) {
        w = subtract(w, kStartFactor<1> >> F::kStart);
      }
      store(panel + kLineBytes * g.value, w);
    });
    store(reinterpret_cast<float*>(panel + ExpandedU8::kScale), F::scale(record));
    if constexpr (F::kHasMin)
      store(reinterpret_cast<float*>(panel + ExpandedU8::kMin), F::min(record));
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    accumulate_u8<F::kStart, F::kHasMin, F::kWholeBytes, T>(source, act, stride, c);
  }
};

// The K-groups of a record whose lines come first.
template <class Codes, int g>
EDGELM_INLINE Bytes4 code_group(const uint8_t* record) {
  const auto line = [&](int i) EDGELM_ALWAYS_INLINE { return load_bytes(record + kLineBytes * i); };
  return Codes::template group<g>(line);
}

// w = d * (code - kOffset) (+ m): a line of f16 scales, then one of minimums if the type has them.
template <class FileBlock, class CodeLayout, int kOffset, int kStartShift, bool kMin>
struct Affine {
  using Block = FileBlock;
  using Codes = CodeLayout;
  static constexpr int kStart = kStartShift;
  static constexpr bool kHasMin = kMin, kWholeBytes = Codes::kLines == 8;
  static constexpr int kFusedTokens = kWholeBytes && kByteSums ? 1 << 20
                                      : kFusedMany             ? 64
                                      : Codes::kLines == 4     ? 20
                                                               : 11,
                       kStreams = 4;
  static constexpr size_t kCodeBytes = kLineBytes * Codes::kLines, kScaleBytes = 2 * kGroupRows;
  static constexpr size_t kBytes = kCodeBytes + (kMin ? 2 : 1) * kScaleBytes;

  template <int g>
  static EDGELM_INLINE Bytes4 group(const uint8_t* p) {
    return code_group<Codes, g>(p);
  }
  static EDGELM_INLINE Floats1 scale(const uint8_t* p) { return load_f16(p + kCodeBytes); }
  // Sums that start at -16 * (the sum of q) give (code - 16) * d, so the minimum makes up for it.
  static EDGELM_INLINE Floats1 min(const uint8_t* p) {
    Floats1 m = load_f16(p + kCodeBytes + kScaleBytes);
    if constexpr (kMin && kStart == 0) {
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
    if constexpr (kMin) __builtin_memcpy(out + kScaleBytes + 2 * column, &block.m, 2);
  }
  static void decode(const uint8_t* code, const uint8_t* scales, int column, float* out) {
    const float d = half_at(scales, column);
    for (int i = 0; i < 32; ++i)
      out[i] = d * static_cast<float>(static_cast<int8_t>(code[i] - kOffset));
    if constexpr (kMin) {
      const float m = half_at(scales + kScaleBytes, column);
      for (int i = 0; i < 32; ++i) out[i] += m;
    }
  }
};

}  // namespace
}  // namespace edgelm
