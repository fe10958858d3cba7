#pragma once

// Many tokens by a matrix instruction: sums of 2 tokens x 2 rows over 8 K. A third form of the
// matmul over the same records, which stands in for the panel's. Integers are summed exactly and
// floats in the order of accumulate(), so it gives the same bits.
//
// Activations of two tokens are interleaved once for all rows, the panels' K-groups zipped in twos.
#include "kernels/activation.h"

namespace edgelm {
namespace {

template <class F>
struct U8Weight;
template <class F>
struct KWeight;

// 32 activations of two tokens: 8 of the first, 8 of the second; scales and sums twice each.
template <int kParts>
struct alignas(16) ActPair {
  int8_t q[4][16];
  float scale[4];
  float sum[kParts][4];
};
template <int kParts>
EDGELM_INLINE void interleave(const ActI8<kParts>& x, const ActI8<kParts>& y,
                              ActPair<kParts>& out) {
  for (int i = 0; i < 4; i += 2) zip8(x.q + 8 * i, y.q + 8 * i, out.q[i], out.q[i + 1]);
  const auto twice = [](float a, float b, float* to) EDGELM_ALWAYS_INLINE {
    to[0] = to[1] = a;
    to[2] = to[3] = b;
  };
  twice(x.scale, y.scale, out.scale);
  for (int i = 0; i < kParts; ++i) twice(x.sum[i], y.sum[i], out.sum[i]);
}

// A record for this form, from one that is expanded for the other.
template <class W>
struct Matrix;

template <class F>
struct Matrix<U8Weight<F>> {
  static constexpr int kParts = 1;
  FloatPairs scale, min;
  uint8_t code[8 * kLineBytes];

  template <class Expanded>
  EDGELM_INLINE void fill(const Expanded& from) {
    unroll<4>([&](auto i) EDGELM_ALWAYS_INLINE {
      store(code + 2 * kLineBytes * i.value,
            zip(from.template group<2 * i.value>(), from.template group<2 * i.value + 1>()));
    });
    scale = join(from.scale(), from.scale());
    if constexpr (F::kHasMin) min = join(from.min(), from.min());
  }
  template <int P>
  EDGELM_INLINE void accumulate(const ActPair<kParts>* (&x)[P], FloatPairs (&c)[P]) const {
    IntPairs sums[P];
    unroll<4>([&](auto i) EDGELM_ALWAYS_INLINE {
      const Bytes8 w = load_bytes8(code + 2 * kLineBytes * i.value);
      unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
        const Acts q = load_acts(x[p.value]->q[i.value]);
        sums[p.value] = i.value == 0 ? mmla(w, q) : mmla(sums[p.value], w, q);
        pin(sums[p.value]);
      });
    });
    unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
      const ActPair<kParts>& a = *x[p.value];
      c[p.value] = fma(total(sums[p.value]), mul(scale, load_pairs(a.scale)), c[p.value]);
      if constexpr (F::kHasMin) c[p.value] = fma(min, load_pairs(a.sum[0]), c[p.value]);
    });
  }
};

template <class F>
struct Matrix<KWeight<F>> {
  static constexpr int kParts = 32 / F::kSub;
  static constexpr bool kFolded = KWeight<F>::Expanded::kFolded;
  static constexpr int kSub = kFolded ? 32 : F::kSub, kScales = kFolded ? 0 : 256 / kSub;
  ScalePairs scale[kScales > 0 ? kScales : 1];
  FloatPairs d, dmin, min[F::kMins > 0 ? F::kMins : 1];
  uint8_t code[64 * kLineBytes];

  template <class Expanded>
  EDGELM_INLINE void fill(const Expanded& from) {
    for (int b = 0; b < 8; ++b) {
      unroll<4>([&](auto i) EDGELM_ALWAYS_INLINE {
        store(code + kLineBytes * (8 * b + 2 * i.value),
              zip(from.template group<2 * i.value>(b), from.template group<2 * i.value + 1>(b)));
      });
    }
    for (int i = 0; i < kScales; ++i) scale[i] = join(from.scales.scale[i]);
    for (int i = 0; i < F::kMins; ++i) min[i] = join(from.scales.min[i], from.scales.min[i]);
    d = join(from.scales.d, from.scales.d);
    if constexpr (F::kMins > 0) dmin = join(from.scales.dmin(), from.scales.dmin());
  }
  template <int P>
  EDGELM_INLINE void accumulate(const ActPair<kParts>* (&x)[P], FloatPairs (&c)[P]) const {
    constexpr int kChain = kSub / 8;
    FloatPairs sum[P];
    unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE { sum[p.value] = zero_pairs(); });
    for (int b = 0; b < 8; ++b) {
      IntPairs chain[P];
      FloatPairs part[P];
      unroll<4>([&](auto i) EDGELM_ALWAYS_INLINE {
        constexpr int kPart = i.value / kChain;
        const Bytes8 w = load_bytes8(code + kLineBytes * (8 * b + 2 * i.value));
        unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
          const Acts q = load_acts(x[p.value][b].q[i.value]);
          chain[p.value] = i.value % kChain == 0 ? mmla(w, q) : mmla(chain[p.value], w, q);
          pin(chain[p.value]);
        });
        if constexpr (!kFolded && i.value % kChain == kChain - 1) {
          const ScalePairs& s = scale[kParts * b + kPart];
          unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
            if constexpr (kPart == 0) {
              part[p.value] = scaled(chain[p.value], s);
              if constexpr (kSub == 16) pin(part[p.value]);
            } else {
              part[p.value] = add_scaled(part[p.value], chain[p.value], s);
            }
          });
        }
      });
      unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
        if constexpr (kFolded) part[p.value] = total(chain[p.value]);
        sum[p.value] = fma(part[p.value], load_pairs(x[p.value][b].scale), sum[p.value]);
      });
    }
    unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE { c[p.value] = fma(sum[p.value], d, c[p.value]); });
    if constexpr (F::kMins > 0) {
      FloatPairs less[P];
      unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE { less[p.value] = zero_pairs(); });
      for (int i = 0; i < F::kMins; ++i) {
        unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
          const float* q = x[p.value][i / kParts].sum[i % kParts];
          less[p.value] = fma(min[i], load_pairs(q), less[p.value]);
        });
      }
      unroll<P>([&](auto p)
                    EDGELM_ALWAYS_INLINE { c[p.value] = fnma(less[p.value], dmin, c[p.value]); });
    }
  }
};

// Tokens and K of which all interleaved activations lie in scratch, beside a panel of as much K.
inline constexpr int kPairedTokens = 128, kPairedWeights = 1024;

template <class W>
struct MatrixSpan {
  static constexpr int kBlock = W::Block::kBlock, kRecords = kPairedWeights / kBlock;
  using Pair = ActPair<Matrix<W>::kParts>;
  alignas(64) uint8_t expanded[W::kPanelBytes];
  Matrix<W> record[kRecords];
  Pair pair[kPairedTokens / 2][kPairedWeights / 32];
};

// P pairs of tokens from t0 on, of which the last may be alone, for the rows from row0 on.
template <class W, int P>
void matrix_tile(const MatmulArgs& args, const Span& span, int t0, int first_token, int n_tokens) {
  const auto& s = *reinterpret_cast<const MatrixSpan<W>*>(args.scratch);
  const int n = args.n_rows - span.row0, last = n_tokens - 1;
  const auto out = [&](int t) EDGELM_ALWAYS_INLINE {
    t = t < last ? t : last;
    return args.out + static_cast<size_t>(first_token + t) * args.out_stride + span.row0;
  };
  const typename MatrixSpan<W>::Pair* x[P];
  FloatPairs c[P];
  unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
    const int t = t0 + 2 * p.value;
    x[p.value] = s.pair[t / 2];
    c[p.value] = span.first == 0
                     ? zero_pairs()
                     : join(load_columns_f32(out(t), n), load_columns_f32(out(t + 1), n));
  });
  for (int r = 0; r < span.n; ++r) {
    s.record[r].template accumulate<P>(x, c);
    unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE { x[p.value] += W::Block::kBlock / 32; });
  }
  unroll<P>([&](auto p) EDGELM_ALWAYS_INLINE {
    const int t = t0 + 2 * p.value;
    Floats1 first, second;
    split(c[p.value], first, second);
    store_columns(out(t), first, n);
    store_columns(out(t + 1), second, n);
  });
}

template <class W>
void matrix_span(const MatmulArgs& args, int first, int first_token, int n_tokens) {
  using Act = ActI8<Matrix<W>::kParts>;
  constexpr int kBlock = W::Block::kBlock;
  auto& s = *reinterpret_cast<MatrixSpan<W>*>(args.scratch);
  static_assert(sizeof s <= kMatmulScratchBytes);
  const int left = args.k / kBlock - first;
  const int n = left < MatrixSpan<W>::kRecords ? left : MatrixSpan<W>::kRecords;
  for (int t = 0; t < n_tokens; t += 2) {
    const auto act = [&](int i) EDGELM_ALWAYS_INLINE {
      const int token = first_token + (i < n_tokens ? i : t);
      return reinterpret_cast<const Act*>(args.act + static_cast<size_t>(token) * args.act_stride) +
             first * (kBlock / 32);
    };
    const Act *x = act(t), *y = act(t + 1);
    for (int b = 0; b < n * kBlock / 32; ++b) interleave(x[b], y[b], s.pair[t / 2][b]);
  }
  const size_t stride = group_bytes<W>(args.k);
  const uint8_t* records = args.groups + static_cast<size_t>(first) * W::kRecordBytes;
  Ahead none = {nullptr, nullptr, 0};
  for (int row0 = 0; row0 < args.n_rows; row0 += kGroupRows, records += stride) {
    for (int r = 0; r < n; ++r) {
      W::expand(records + static_cast<size_t>(r) * W::kRecordBytes, s.expanded);
      s.record[r].fill(typename W::Expanded(s.expanded, none));
    }
    const Span span = {records, first, n, row0};
    int t = 0;
    for (; t + 3 <= n_tokens; t += 4) matrix_tile<W, 2>(args, span, t, first_token, n_tokens);
    if (t < n_tokens) matrix_tile<W, 1>(args, span, t, first_token, n_tokens);
  }
}

template <class W>
void matrix_matmul(const MatmulArgs& args) {
  for (int t = 0; t < args.n_tokens; t += kPairedTokens) {
    const int left = args.n_tokens - t, n = left < kPairedTokens ? left : kPairedTokens;
    for (int first = 0; first < args.k / W::Block::kBlock; first += MatrixSpan<W>::kRecords) {
      matrix_span<W>(args, first, t, n);
    }
  }
}

}  // namespace
}  // namespace edgelm
