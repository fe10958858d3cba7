#pragma once

// Super-blocks of 256 codes with integer scales (the K-quants) against 8-bit activations:
//   lane[t]: int16 chains of four or eight K-groups, as in matmul_u8.inl
//   sum[t] += the chain's lanes * its scale, in int32
//   c[t] = fma(sum[t], d_w * d_x, c[t]), then c[t] -= (sum of min_b * (sum of q in b)) * dmin_w *
//   d_x
// A chain of eight 4-bit codes is at most 15 * 127 * 16 = 30480, of four 5-bit ones 31 * 127 * 8 =
// 31496. Codes with an offset of 32 start at -32 * (the lane's sum of q), after which wrapping is
// harmless: |code - 32| <= 32 and 32 * 127 * 8 = 32512.
#include "kernels/activation.h"
#include "kernels/codes.inl"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// One record's scales, ready for dot(): two int16 lanes a column.
//   scale[b]    (s_b, s_b), of sub-block b
//   min[b]      (m_2b, m_2b+1), against pairs of sums
template <int kSubs, bool kHasMin>
struct alignas(64) KScales {
  int16_t scale[kSubs][32];
  int16_t min[kHasMin ? kSubs / 2 : 1][32];
  float d[16], dmin[16];
};

// The codes of a record and its scales, from a record or from a panel.
template <class F>
struct PackedK {
  static constexpr size_t kBytes = F::kBytes;
  const uint8_t* p;
  Later later;
  typename F::Scales scales;
  EDGELM_INLINE PackedK(const uint8_t* record, Later next) : p(record), later(next) {
    F::expand_scales(record + F::kCodeBytes, scales);
  }
  // Fetches the part of a later record that lies where sub-block b of this one does.
  EDGELM_INLINE void fetch(int b) const { later.fetch(b * (kBytes / 8), kBytes / 8); }
  template <int g>
  EDGELM_INLINE Bytes64 group(int b) const {
    const uint8_t* at = p + b * (64 * F::Codes::kLines);
    const auto line = [&](int i) EDGELM_ALWAYS_INLINE { return load_bytes(at + 64 * i); };
    return F::Codes::template group<g>(line);
  }
};

template <class F>
struct ExpandedK {
  static constexpr size_t kBytes = sizeof(typename F::Scales) + 64 * 64;
  const typename F::Scales& scales;
  const uint8_t* p;
  Ahead& ahead;
  explicit EDGELM_INLINE ExpandedK(const uint8_t* panel, Ahead& next)
      : scales(*reinterpret_cast<const typename F::Scales*>(panel)),
        p(panel + sizeof(typename F::Scales)),
        ahead(next) {}
  EDGELM_INLINE void fetch(int) const { ahead.fetch(); }
  template <int g>
  EDGELM_INLINE Bytes64 group(int b) const {
    return load_bytes(p + 512 * b + 64 * g);
  }
};

// A weight type of 256-blocks. F describes it:
//   Block, Codes, Scales, kSub (weights a scale), kChain (K-groups an int16 chain), kHasMin
//   kOffset    what pack adds to codes(); lanes start at -32 times their sums if kOffset is not 0
//   kBytes = kCodeBytes + kScaleBytes of a record; kFusedTokens
//   pack_scales(blocks, out), expand_scales(in, scales), decode(code, scales, column, out)
template <class F>
struct KWeight {
  using Block = typename F::Block;
  static constexpr ActFormat kAct = ActFormat::kI8x256;
  static constexpr size_t kActBytes = sizeof(ActI8x256);
  static constexpr size_t kRecordBytes = F::kBytes, kPanelBytes = ExpandedK<F>::kBytes;
  static constexpr int kPanelWeights = 2048, kFusedTokens = F::kFusedTokens, kStreams = 4;
  using Packed = PackedK<F>;
  using Expanded = ExpandedK<F>;
  static_assert(sizeof(Block) * kGroupRows == F::kBytes);

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    uint8_t code[kGroupRows][256];
    for (int c = 0; c < kGroupRows; ++c) {
      codes(rows[c], reinterpret_cast<int8_t*>(code[c]));
      for (int i = 0; i < 256; ++i) code[c][i] = static_cast<uint8_t>(code[c][i] + F::kOffset);
    }
    for (int b = 0; b < 8; ++b) {
      pack_codes<typename F::Codes>(code[0] + 32 * b, 256, record + 64 * F::Codes::kLines * b);
    }
    F::pack_scales(rows, record + F::kCodeBytes);
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    uint8_t code[256];
    for (int b = 0; b < 8; ++b) {
      unpack_codes<typename F::Codes>(record + 64 * F::Codes::kLines * b, column, code + 32 * b);
    }
    F::decode(code, record + F::kCodeBytes, column, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    F::expand_scales(record + F::kCodeBytes, *reinterpret_cast<typename F::Scales*>(panel));
    panel += sizeof(typename F::Scales);
    for (int b = 0; b < 8; ++b) {
      expand_codes<typename F::Codes>(record + 64 * F::Codes::kLines * b, panel + 512 * b);
    }
  }

  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       F32x16 (&c)[T]) {
    const auto a = [&](int t) EDGELM_ALWAYS_INLINE -> const ActI8x256& {
      return *reinterpret_cast<const ActI8x256*>(act + t * stride);
    };
    I32x16 sum[T];
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { sum[t.value] = zero_i32(); });
    for (int b = 0; b < 8; ++b) {
      source.fetch(b);
      I16x32 lane[T];
      unroll<8>([&](auto g) EDGELM_ALWAYS_INLINE {
        constexpr int kGroup = g.value;
        Bytes64 w = source.template group<kGroup>(b);
        pin(w);
        unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
          I16x32 x = mul_pairs(w, broadcast4(a(t.value).q + 32 * b + 4 * kGroup));
          if constexpr (kGroup % F::kChain > 0) {
            x = add(lane[t.value], x);
          } else if constexpr (F::kOffset != 0) {
            x = add(lanes<0>(broadcast4(a(t.value).lane[2 * b + kGroup / 4])), x);
          }
          pin(x);
          lane[t.value] = x;
        });
        if constexpr (kGroup % F::kChain == F::kChain - 1) {
          const I16x32 s = load_i16(source.scales.scale[F::kSub == 16 ? 2 * b + kGroup / 4 : b]);
          unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
            sum[t.value] = add(sum[t.value], dot(lane[t.value], s));
          });
        }
      });
    }
    const F32x16 d = load_f32(source.scales.d);
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      const F32x16 scale = mul(d, broadcast_f32(&a(t.value).scale));
      c[t.value] = fma(to_float(sum[t.value]), scale, c[t.value]);
    });
    if constexpr (F::kHasMin) {
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { sum[t.value] = zero_i32(); });
      for (int b = 0; b < 128 / F::kSub; ++b) {
        I16x32 m = load_i16(source.scales.min[b]);
        pin(m);
        unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
          const int16_t* sums = F::kSub == 16 ? a(t.value).sum16 : a(t.value).sum32;
          sum[t.value] = add(sum[t.value], dot(m, broadcast4(sums + 2 * b)));
          pin(sum[t.value]);
        });
      }
      const F32x16 dmin = load_f32(source.scales.dmin);
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
        const F32x16 scale = mul(dmin, broadcast_f32(&a(t.value).scale));
        c[t.value] = fnma(to_float(sum[t.value]), scale, c[t.value]);
      });
    }
  }
};

}  // namespace
}  // namespace edgelm
