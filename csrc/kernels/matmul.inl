#pragma once

// What all weight types share: packing, and the two forms of the matmul over packed groups.
//
// A group is a run of records, kBlock weights of kGroupRows rows each. A trait W describes one
// type:
//   Block, kAct, kActBytes      the file's block, and the activations of as many weights
//   kRecordBytes, kPanelBytes   one record packed, and expanded for the micro-kernel
//   pack(blocks, record)        one block of each row
//   unpack(record, row, out)    one row of a record, exactly as the file decodes
//   expand(record, panel)
//   Packed, Expanded            sources: the same weights, from a record or from a panel;
//                               fetch(), each 32 weights, brings later ones into the cache, as
//                               `later` or `ahead` says
//   accumulate<T>(source, act, stride, c)   c[t] += w * x[t] over one record, T tokens
//   kPanelWeights, kFusedTokens   weights of a row in a panel for many tokens; tokens up to which
//                               kAuto is fused
//   kStreams                    groups that a few tokens read in turns, or 1: where lookups bound
//                               the speed, or a record is too short a turn
// Both forms call the same accumulate in the same order of K, so they give the same bits.
#include "kernels/table.h"
#include "kernels/unroll.inl"

namespace edgelm {
namespace {

constexpr int kNoStart = 99;   // in place of a shift for start<>(): sums start at zero
constexpr int kFewTokens = 3;  // up to here memory is waited for
// Groups that few tokens read in turns where a type allows it: ARM's cores count each instruction
// of a fetch, and follow one stream by themselves.
constexpr int kMostStreams = kByteOffset == 0 ? 1 : 4;
// Are up to 48 or 64 tokens faster straight from records? Signed weights gain from panels, which
// hold them without their offset.
constexpr bool kFusedMany = kWide && kByteOffset > 0;
// Tokens from which a matrix instruction serves, in matmul_mmla.inl; 0 without one.
#ifdef EDGELM_MMLA
constexpr int kMatrixTokens = 6;
#else
constexpr int kMatrixTokens = 0;
#endif
// From here on panels are twice as long: then runs of activations matter more than that a panel is
// written and read within the first-level cache.
constexpr int kManyTokens = 64;

// The sums of a type's products, and the first of them.
template <bool kBytes>
struct SumsOf {
  using Type = Sums;
};
template <>
struct SumsOf<true> {
  using Type = ByteSums;
};
template <class S, int j>
EDGELM_INLINE S first_dot4(Bytes4 w, Acts x) {
  if constexpr (requires { S::zero(); }) {
    return dot4<j>(S::zero(), w, x);
  } else {
    return dot4<j>(w, x);
  }
}

// Is what T tokens compute pinned? With one, registers are enough for what compilers make of it.
template <int T>
constexpr bool kPins = kByteOffset > 0 || T > 1;

// What comes into the cache while a record is read: the same part of a later record in each of n
// groups. Memory serves four such streams up to a third faster than one.
struct Later {
  const uint8_t* part;
  size_t stride;  // from group to group
  size_t n;
  // 1/n of `bytes` of the record, from `at` on.
  EDGELM_INLINE void fetch(size_t at, size_t bytes) const {
    for (size_t i = 0; i < n; ++i) {
      const uint8_t* p = part + i * stride + at / n;
      for (size_t line = 0; line < bytes / n; line += 64) prefetch(p + line);
    }
  }
};

template <class W>
size_t group_bytes(int32_t k) {
  return (static_cast<size_t>(k) / W::Block::kBlock * W::kRecordBytes + 63) / 64 * 64;
}

template <class W>
void pack(const uint8_t* rows, size_t row_bytes, int32_t n_rows, int32_t k, uint8_t* group) {
  using Block = typename W::Block;
  const int n_records = k / Block::kBlock;
  for (int r = 0; r < n_records; ++r) {
    Block blocks[kGroupRows];
    for (int c = 0; c < kGroupRows; ++c) {
      if (c < n_rows) {
        __builtin_memcpy(&blocks[c], rows + c * row_bytes + r * sizeof(Block), sizeof(Block));
      } else {
        __builtin_memset(&blocks[c], 0, sizeof(Block));
      }
    }
    W::pack(blocks, group + static_cast<size_t>(r) * W::kRecordBytes);
  }
  const size_t used = static_cast<size_t>(n_records) * W::kRecordBytes;
  __builtin_memset(group + used, 0, group_bytes<W>(k) - used);
}

template <class W>
void unpack_row(const uint8_t* group, int32_t row, int32_t k, float* out) {
  constexpr int kBlock = W::Block::kBlock;
  for (int r = 0; r < k / kBlock; ++r) {
    W::unpack(group + static_cast<size_t>(r) * W::kRecordBytes, row, out + r * kBlock);
  }
}

// Writes the first n of a line.
EDGELM_INLINE void store_columns(float* out, Floats1 c, int n) {
  if (n >= kGroupRows) {
    store(out, c);
    return;
  }
  float all[kGroupRows];
  store(all, c);
  for (int i = 0; i < n; ++i) out[i] = all[i];
}

EDGELM_INLINE Floats1 load_columns_f32(const float* in, int n) {
  if (n >= kGroupRows) return load_f32(in);
  float all[kGroupRows] = {};
  for (int i = 0; i < n; ++i) all[i] = in[i];
  return load_f32(all);
}

// Records [first, first + n) of the group whose rows begin at row0.
struct Span {
  const uint8_t* records;
  int first, n, row0;
};

// The next span's records, which come while this one's panel is used: `lines` cache lines at a
// time, for the processor waits if too many are under way.
struct Ahead {
  const uint8_t *next, *end;
  int lines;
  EDGELM_INLINE void fetch() {
    for (int i = 0; i < lines && next < end; ++i, next += 64) prefetch_later(next);
  }
};

// T tokens from t0 on over a panel; carries on from `out` unless the span is the first.
template <class W, int T>
void panel_tile(const MatmulArgs& args, const Span& span, int t0, Ahead& ahead) {
  const int n = args.n_rows - span.row0;
  const uint8_t* panel = args.scratch;
  const uint8_t* act = args.act + t0 * args.act_stride + span.first * W::kActBytes;
  float* out = args.out + t0 * args.out_stride + span.row0;
  Floats1 c[T];
  unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
    c[t.value] =
        span.first == 0 ? zero_f32() : load_columns_f32(out + t.value * args.out_stride, n);
  });
  for (int r = 0; r < span.n; ++r) {
    const typename W::Expanded source(panel, ahead);
    W::template accumulate<T>(source, act, args.act_stride, c);
    panel += W::Expanded::kBytes;
    act += W::kActBytes;
  }
  unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
    store_columns(out + t.value * args.out_stride, c[t.value], n);
  });
}

// T tokens from t0 on over kGroups groups from `first` on, a record of each in turns. In each turn,
// all groups' later records are fetched in part: so memory always serves them all.
template <class W, int T, int kGroups>
void fused_tile(const MatmulArgs& args, int first, int t0) {
  constexpr size_t kPrefetch = kGroups == 1             ? 3072
                               : W::kRecordBytes > 1024 ? W::kRecordBytes
                                                        : 1024;  // bytes ahead
  const int n_records = args.k / W::Block::kBlock;
  const size_t stride = group_bytes<W>(args.k);
  const uint8_t* records = args.groups + first * stride;
  const uint8_t* act = args.act + t0 * args.act_stride;
  Floats1 c[kGroups][T];
  for (auto& group : c) {
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE { group[t.value] = zero_f32(); });
  }
  size_t ahead = kPrefetch;
  for (int r = 0; r < n_records; ++r) {
    // Behind the end of its group, a stream goes on in the one that it reads next.
    if (r == n_records - static_cast<int>(kPrefetch / W::kRecordBytes)) {
      ahead += (kGroups - 1) * stride;
    }
    const auto turn = [&](size_t g) EDGELM_ALWAYS_INLINE {
      const Later later = {records + ahead + g * (W::kRecordBytes / kGroups), stride, kGroups};
      const typename W::Packed source(records + g * stride, later);
      W::template accumulate<T>(source, act, args.act_stride, c[g]);
    };
    if constexpr (W::Block::kBlock == 1) {  // sums stay in registers
      unroll<kGroups>([&](auto g) EDGELM_ALWAYS_INLINE { turn(g.value); });
    } else {
      for (size_t g = 0; g < kGroups; ++g) turn(g);
    }
    records += W::kRecordBytes;
    act += W::kActBytes;
  }
  unroll<kGroups>([&](auto g) EDGELM_ALWAYS_INLINE {
    const int row0 = (first + g.value) * kGroupRows;
    float* out = args.out + t0 * args.out_stride + row0;
    unroll<T>([&](auto t) EDGELM_ALWAYS_INLINE {
      store_columns(out + t.value * args.out_stride, c[g.value][t.value], args.n_rows - row0);
    });
  });
}

// Calls tile(t0, T) for all tokens, in tiles of about the same size. Of the sizes between 4 and
// kTile there are none: each is compiled for every type and form.
template <class Tile>
EDGELM_INLINE void for_tiles(int n_tokens, const Tile& tile) {
  for (int t = 0; t < n_tokens;) {
    const int left = n_tokens - t, n_tiles = (left + kTile - 1) / kTile;
    int size = (left + n_tiles - 1) / n_tiles;
    if (size > 4 && size < kTile) size = left >= kTile ? kTile : (left + 1) / 2;
    unroll<5, 1>([&](auto some) EDGELM_ALWAYS_INLINE {
      if (size == some.value) tile(t, some);
    });
    if constexpr (kTile > 4) {
      if (size == kTile) tile(t, Int<kTile>());
    }
    t += size;
  }
}

// From a panel in scratch.
template <class W>
void panel_tiles(const MatmulArgs& args, const Span& span) {
  const size_t bytes = static_cast<size_t>(span.n) * W::kRecordBytes;
  for (int r = 0; r < span.n; ++r) {
    W::expand(span.records + static_cast<size_t>(r) * W::kRecordBytes,
              args.scratch + static_cast<size_t>(r) * W::kPanelBytes);
  }
  const int turns = (args.n_tokens + kTile - 1) / kTile * (span.n * W::Block::kBlock / 32);
  Ahead ahead = {span.records + bytes, span.records + 2 * bytes,
                 static_cast<int>(bytes / 64 / static_cast<size_t>(turns > 0 ? turns : 1)) + 1};
  for_tiles(args.n_tokens, [&](int t, auto size) EDGELM_ALWAYS_INLINE {
    panel_tile<W, decltype(size)::value>(args, span, t, ahead);
  });
}

template <class W>
void fused_matmul(const MatmulArgs& args) {
  const int n_groups = (args.n_rows + kGroupRows - 1) / kGroupRows;
  constexpr int kStreams = W::kStreams < kMostStreams ? W::kStreams : kMostStreams;
  int g = 0;
  if constexpr (kMostStreams == 1) {
    if (args.n_tokens <= kTile) {  // one tile, chosen once
      for_tiles(args.n_tokens, [&](int t, auto size) EDGELM_ALWAYS_INLINE {
        for (; g < n_groups; ++g) fused_tile<W, decltype(size)::value, 1>(args, g, t);
      });
      return;
    }
  }
  const auto turns = [&](int t, auto size) EDGELM_ALWAYS_INLINE {
    constexpr int T = decltype(size)::value;
    if constexpr (T <= kFewTokens) fused_tile<W, T, kStreams>(args, g, t);
  };
  if (args.n_tokens <= kFewTokens) {
    for (; g + kStreams <= n_groups; g += kStreams) for_tiles(args.n_tokens, turns);
  }
  for (; g < n_groups; ++g) {
    for_tiles(args.n_tokens, [&](int t, auto size) EDGELM_ALWAYS_INLINE {
      fused_tile<W, decltype(size)::value, 1>(args, g, t);
    });
  }
}

template <class W>
void panel_matmul(const MatmulArgs& args) {
  constexpr int kPanelRecords = W::kPanelWeights / W::Block::kBlock;
  static_assert(kPanelRecords * W::kPanelBytes <= kMatmulScratchBytes);
  const int n_records = args.k / W::Block::kBlock;
  const int most = args.n_tokens < kManyTokens ? kPanelRecords / 2 : kPanelRecords;
  const uint8_t* group = args.groups;
  for (int row0 = 0; row0 < args.n_rows; row0 += kGroupRows) {
    for (int first = 0; first < n_records; first += most) {
      panel_tiles<W>(args, {group + static_cast<size_t>(first) * W::kRecordBytes, first,
                            n_records - first < most ? n_records - first : most, row0});
    }
    group += group_bytes<W>(args.k);
  }
}

template <class W>
void matrix_matmul(const MatmulArgs& args);

template <class W>
void matmul(const MatmulArgs& args) {
  constexpr bool kMatrix =
      kMatrixTokens > 0 && W::kAct != ActFormat::kF32 && W::kAct != ActFormat::kI16x32;
  constexpr int kFused =
      kMatrix && kMatrixTokens <= W::kFusedTokens ? kMatrixTokens - 1 : W::kFusedTokens;
  if (args.form == MatmulForm::kFused ||
      (args.form == MatmulForm::kAuto && args.n_tokens <= kFused)) {
    fused_matmul<W>(args);
  } else if constexpr (kMatrix) {
    matrix_matmul<W>(args);
  } else {
    panel_matmul<W>(args);
  }
}

template <class W>
WeightKernels weight_kernels() {
  return {W::kAct, group_bytes<W>, pack<W>, unpack_row<W>, matmul<W>};
}

}  // namespace
}  // namespace edgelm

#ifdef EDGELM_MMLA
#include "kernels/matmul_mmla.inl"
#endif
