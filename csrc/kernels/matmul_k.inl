#pragma once

// Super-blocks of 256 codes with integer scales (the K-quants) against 8-bit activations. Of each
// 32:
//   sums[t]: chains of K-groups, as in matmul_u8.inl
//   part[t] = the chains times their scales, which float32 holds exactly (below 2^24)
//   sum[t] = fma(part[t], d_x, sum[t])
// and of all: c[t] = fma(sum[t], d_w, c[t]), then c[t] -= dmin_w * min_b * (d_x * sum of q in b).
// Sums of int16 lanes: a chain of eight 4-bit codes is at most 15 * 127 * 16 = 30480, of four 5-bit
// ones 31 * 127 * 8 = 31496. Codes with an offset of 32 start at -32 * (the sum of q), after which
// wrapping is harmless: |code - 32| <= 32 and 32 * 127 * 8 = 32512.
#include "kernels/activation.h"
#include "kernels/codes.inl"
#include "kernels/matmul.inl"
#include "quant/blocks.h"

namespace edgelm {
namespace {

// Are minimums multiplied by dmin once for a record, after they are summed?
constexpr bool kLateMins = kByteOffset == 0;

// One record's scales, ready for use: those of sub-blocks as they multiply sums; minimums times
// dmin or, if that is late, dmin behind them.
template <int kScales, int kMins>
struct alignas(64) KScales {
  ScaleLine scale[kScales > 0 ? kScales : 1];
  Floats1 min[kMins > 0 ? kMins + kLateMins : 1];
  Floats1 d;
  EDGELM_INLINE const ScaleLine& at(int i) const { return scale[i]; }
  EDGELM_INLINE const Floats1& min_at(int i) const { return min[i]; }
  EDGELM_INLINE const Floats1& dmin() const { return min[kMins]; }
};

// Where weights are unsigned there is no other: clang wants to know that the name is a template's.
template <int kOffset>
void near_scale();

// Those of a record that few tokens read, where weights are signed: bytes, each made a float where
// it is used.
template <class F>
struct NearScales {
  static constexpr int kScales = 256 / F::kSub;
  const uint8_t* in;
  Floats1 d;
  alignas(16) uint8_t bytes[(kScales + F::kMins) * kGroupRows];  // scales, then minimums
  EDGELM_INLINE void load(const uint8_t* record_scales) {
    in = record_scales;
    d = F::factor(in);
    F::byte_scales(in, bytes);
  }
  EDGELM_INLINE Bytes1 byte(int i) const { return load_bytes1(bytes + kGroupRows * i); }
  EDGELM_INLINE auto at(int i) const { return near_scale<F::kScaleOffset>(byte(i)); }
  EDGELM_INLINE Floats1 min_at(int i) const { return near_float<0>(byte(kScales + i)); }
  EDGELM_INLINE Floats1 dmin() const { return load_f16(in + F::kDmin); }
  // As a panel holds them.
  template <int n>
  EDGELM_INLINE void expand(KScales<n, F::kMins>& s) const {
    for (int i = 0; i < n; ++i) s.scale[i] = at(i);
    for (int i = 0; i < F::kMins; ++i) s.min[i] = min_at(i);
    if constexpr (F::kMins > 0) s.min[F::kMins] = dmin();
    if constexpr (n > 0) {
      s.d = d;
    } else {
      s.d = F::folded_factor(in);
    }
  }
};
template <class F, bool kNear>
struct RecordScales {
  using Type = typename F::Scales;
};
template <class F>
struct RecordScales<F, true> {
  using Type = NearScales<F>;
};

template <bool kFolded, class F>
struct FoldedScales {
  using Type = typename F::Scales;
};
template <class F>
struct FoldedScales<true, F> {
  using Type = KScales<0, F::kMins>;
};

// The lines of a record's codes.
template <class F>
struct KLines {
  const uint8_t* p;
  template <int g>
  EDGELM_INLINE Bytes4 group(int b) const {
    const uint8_t* at = p + b * (kLineBytes * F::Codes::kLines);
    const auto line = [&](int i) EDGELM_ALWAYS_INLINE { return load_bytes(at + kLineBytes * i); };
    return F::template group<g>(line);
  }
};

// The codes of a record and its scales, from a record or from a panel.
template <class F>
struct PackedK : KLines<F> {
  static constexpr bool kCentred = false, kFolded = false;
  static constexpr size_t kBytes = F::kBytes;
  Later later;
  typename RecordScales<F, kByteOffset == 0>::Type scales;
  EDGELM_INLINE PackedK(const uint8_t* record, Later next) : KLines<F>{record}, later(next) {
    if constexpr (kByteOffset == 0) {
      scales.load(record + F::kCodeBytes);
    } else {
      F::expand_scales(record + F::kCodeBytes, scales);
    }
  }
  // Fetches the part of a later record that lies where sub-block b of this one does.
  EDGELM_INLINE void fetch(int b) const { later.fetch(b * (kBytes / 8), kBytes / 8); }
};

template <class F>
struct ExpandedK {
  // Where weights are signed, offsets are taken from the codes; and scales that leave them within
  // int8 are multiplied with them.
  static constexpr bool kCentred = kByteOffset == 0, kFolded = kCentred && kWide && F::kFolds;
  using Scales = typename FoldedScales<kFolded, F>::Type;
  static constexpr size_t kBytes = sizeof(Scales) + 64 * kLineBytes;
  const Scales& scales;
  const uint8_t* p;
  Ahead& ahead;
  explicit EDGELM_INLINE ExpandedK(const uint8_t* panel, Ahead& next)
      : scales(*reinterpret_cast<const Scales*>(panel)), p(panel + sizeof(Scales)), ahead(next) {}
  EDGELM_INLINE void fetch(int) const { ahead.fetch(); }
  template <int g>
  EDGELM_INLINE Bytes4 group(int b) const {
    return load_bytes(p + 8 * kLineBytes * b + kLineBytes * g);
  }
};

// What most types of 256-blocks share: groups of a record's lines are codes as they are.
template <class FileBlock, class CodeLayout>
struct KCodes {
  static constexpr bool kWholeBytes = false, kFolds = false;
  using Block = FileBlock;
  using Codes = CodeLayout;
  static constexpr size_t kCodeBytes = 8 * kLineBytes * Codes::kLines;
  template <int g, class Line>
  static EDGELM_INLINE Bytes4 group(const Line& line) {
    return Codes::template group<g>(line);
  }
  static void codes(const Block& block, uint8_t* out) {
    edgelm::codes(block, reinterpret_cast<int8_t*>(out));
  }
};

// A weight type of 256-blocks. F describes it, on top of KCodes:
//   kSub       weights a scale, 16 or 32
//   kChain     K-groups that int16 lanes can sum
//   kOffset    what pack adds to codes(); kStart, where sums then start
//   kMins      minimums of a record
//   kBytes = kCodeBytes + bytes of scales; kFusedTokens
//   Scales, pack_scales(blocks, out), expand_scales(in, scales), decode(code, scales, column, out)
//   where weights are signed: byte_scales(in, out), bytes of which kScaleOffset is to be taken,
//   then minimums; factor(in), d as the codes need it; if kFolds, centred(codes) and
//   folded_factor(in)
template <class F>
struct KWeight {
  using Block = typename F::Block;
  using Act = ActI8<32 / F::kSub>;
  static constexpr ActFormat kAct = F::kSub == 32 ? ActFormat::kI8x32 : ActFormat::kI8x16;
  static constexpr size_t kActBytes = 8 * sizeof(Act);
  static constexpr size_t kRecordBytes = F::kBytes, kPanelBytes = ExpandedK<F>::kBytes;
  static constexpr int kPanelWeights = 2048, kFusedTokens = F::kFusedTokens, kStreams = F::kStreams;
  using Packed = PackedK<F>;
  using Expanded = ExpandedK<F>;
  static_assert(sizeof(Block) * kGroupRows == F::kBytes);

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    uint8_t code[kGroupRows][256];
    for (int c = 0; c < kGroupRows; ++c) {
      F::codes(rows[c], code[c]);
      for (int i = 0; i < 256; ++i) code[c][i] = static_cast<uint8_t>(code[c][i] + F::kOffset);
    }
    for (int b = 0; b < 8; ++b) {
      pack_codes<typename F::Codes>(code[0] + 32 * b, 256,
                                    record + kLineBytes * F::Codes::kLines * b);
    }
    F::pack_scales(rows, record + F::kCodeBytes);
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    uint8_t code[256];
    for (int b = 0; b < 8; ++b) {
      unpack_codes<typename F::Codes>(record + kLineBytes * F::Codes::kLines * b, column,
                                      code + 32 * b);
    }
    F::decode(code, record + F::kCodeBytes, column, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    auto& scales = *reinterpret_cast<typename Expanded::Scales*>(panel);
    panel += sizeof scales;
    const KLines<F> lines{record};
    if constexpr (Expanded::kFolded) {
      NearScales<F> near;
      near.load(record + F::kCodeBytes);
      near.expand(scales);
      for (int b = 0; b < 8; ++b) {
        unroll<8>([&](auto g) EDGELM_ALWAYS_INLINE {
          const auto w = F::centred(lines.template group<g.value>(b));
          const int part = 32 / F::kSub * b + 4 * g.value / F::kSub;
          store(panel + kLineBytes * (8 * b + g.value),
                mul(w, subtract(near.byte(part), F::kScaleOffset)));
        });
      }
    } else {
      if constexpr (Expanded::kCentred) {
        NearScales<F> near;
        near.load(record + F::kCodeBytes);
        near.expand(scales);
      } else {
        F::expand_scales(record + F::kCodeBytes, scales);
      }
      for (int b = 0; b < 8; ++b) {
        unroll<8>([&](auto g) EDGELM_ALWAYS_INLINE {
          auto w = lines.template group<g.value>(b);
          if constexpr (Expanded::kCentred && F::kStart != kNoStart) {
            w = subtract(w, kStartFactor<32 / F::kSub> >> F::kStart);
          }
          store(panel + kLineBytes * (8 * b + g.value), w);
        });
      }
    }
  }

  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    const auto a = [&](int t, int b) EDGELM_ALWAYS_INLINE -> const Act& {
      return reinterpret_cast<const Act*>(act + t * stride)[b];
    };
    constexpr int kSub = Source::kFolded ? 32 : F::kSub;
    constexpr int kStart = Source::kCentred ? kNoStart : F::kStart;
    constexpr int kChain = kWide ? kSub / 4 : F::kChain;
    using S = typename SumsOf<F::kWholeBytes>::Type;
    Floats1 sum[T];
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { sum[t.value] = zero_f32(); });
    [[maybe_unused]] Floats1 less[T];  // minimums times sums of q
    [[maybe_unused]] const auto take_min = [&](int i) EDGELM_ALWAYS_INLINE {
      Floats1 m = source.scales.min_at(i);
      if constexpr (kPins<T>) pin(m);
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
        const Act& x = a(t.value, i * F::kSub / 32);
        less[t.value] = fma(m, broadcast_f32(x.sum + i % (32 / F::kSub)), less[t.value]);
      });
    };
    if constexpr (kLateMins) {
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { less[t.value] = zero_f32(); });
    }
    // Beside the products where registers are enough for both.
    constexpr bool kMinsBeside = kLateMins && T == 1;
    for (int b = 0; b < 8; ++b) {
      source.fetch(b);
      S chain[T];
      Scaled part[T];  // unused if scales are folded into weights
      unroll<2>([&](auto half) EDGELM_ALWAYS_INLINE {
        Acts x[T];
        unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
          x[t.value] = load_acts(a(t.value, b).q + 16 * half.value);
        });
        unroll<4>([&](auto j) EDGELM_ALWAYS_INLINE {
          constexpr int kGroup = 4 * half.value + j.value, kPart = 4 * kGroup / kSub;
          Bytes4 w = source.template group<kGroup>(b);
          if constexpr (kPins<T>) pin(w);
          unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
            if constexpr (kGroup % kChain > 0) {
              chain[t.value] = dot4<j.value>(chain[t.value], w, x[t.value]);
            } else if constexpr (kStart != kNoStart) {
              const Sums first = start<kStart>(a(t.value, b).start[kPart]);
              chain[t.value] = dot4<j.value>(first, w, x[t.value]);
            } else {
              chain[t.value] = first_dot4<S, j.value>(w, x[t.value]);
            }
            if constexpr (kPins<T>) pin(chain[t.value]);
          });
          if constexpr (!Source::kFolded && kGroup % kChain == kChain - 1) {
            const auto& s = source.scales.at(32 / kSub * b + kPart);
            unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
              if constexpr (kGroup < kChain) {
                part[t.value] = scaled(chain[t.value], s);
                if constexpr (kByteOffset == 0 && kSub == 16 && T > 1) pin(part[t.value]);
              } else {
                part[t.value] = add_scaled(part[t.value], chain[t.value], s);
              }
            });
          }
        });
      });
      unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
        const Floats1 d = broadcast_f32(&a(t.value, b).scale);
        if constexpr (Source::kFolded) {
          sum[t.value] = fma(to_float(total(chain[t.value])), d, sum[t.value]);
        } else {
          sum[t.value] = fma(to_float(part[t.value]), d, sum[t.value]);
        }
      });
      if constexpr (kMinsBeside)
        unroll<F::kMins / 8>([&](auto i)
                                 EDGELM_ALWAYS_INLINE { take_min(F::kMins / 8 * b + i.value); });
    }
    const Floats1 d = source.scales.d;
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { c[t.value] = fma(sum[t.value], d, c[t.value]); });
    if constexpr (!kLateMins) {
      for (int b = 0; b < F::kMins; ++b) {
        Floats1 m = source.scales.min[b];
        pin(m);
        unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
          const Act& x = a(t.value, b * F::kSub / 32);
          c[t.value] = fnma(m, broadcast_f32(x.sum + b % (32 / F::kSub)), c[t.value]);
        });
      }
    } else if constexpr (F::kMins > 0) {
      if constexpr (!kMinsBeside) {
        for (int i = 0; i < F::kMins; ++i) take_min(i);
      }
      const Floats1 dmin = source.scales.dmin();
      unroll<T>([&](auto t)
                    EDGELM_ALWAYS_INLINE { c[t.value] = fnma(less[t.value], dmin, c[t.value]); });
    }
  }
};

}  // namespace
}  // namespace edgelm
