#pragma once

// What all weight types share: packing, and the two forms of the matmul over 16-row groups.
//
// A group is a run of records, kBlock weights of 16 rows each. A trait W describes one type:
//   Block, kAct, kActBytes      the file's block, and the activations of as many weights
//   kRecordBytes, kPanelBytes   one record packed, and expanded for the micro-kernel
//   pack(blocks, record)        one block of each of 16 rows
//   unpack(record, row, out)    one row of a record, exactly as the file decodes
//   expand(record, panel)
//   Packed, Expanded            sources: the same weights, from a record or from a panel
//   accumulate<T>(source, act, stride, c)   c[t] += w * x[t] over one record, T tokens
//   kPanelWeights, kFusedTokens   weights of a row in one panel; tokens up to which kAuto is fused
// Both forms call the same accumulate in the same order of K, so they give the same bits.
#include "kernels/table.h"
#include "kernels/unroll.inl"

namespace edgelm {
namespace {

constexpr int kTile = 4;            // tokens a tile
constexpr size_t kPrefetch = 3072;  // bytes ahead, fused form

// Fetches what lies kPrefetch bytes behind a record.
template <size_t kBytes>
EDGELM_INLINE void prefetch_record(const uint8_t* record) {
  for (size_t i = 0; i < kBytes; i += 64) prefetch(record + kPrefetch + i);
}

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

// Writes the first n of 16 columns.
EDGELM_INLINE void store_columns(float* out, F32x16 c, int n) {
  if (n >= kGroupRows) {
    store(out, c);
    return;
  }
  float all[kGroupRows];
  store(all, c);
  for (int i = 0; i < n; ++i) out[i] = all[i];
}

EDGELM_INLINE F32x16 load_columns_f32(const float* in, int n) {
  if (n >= kGroupRows) return load_f32(in);
  float all[kGroupRows] = {};
  for (int i = 0; i < n; ++i) all[i] = in[i];
  return load_f32(all);
}

// T tokens from t0 on over n_records records; carries on from `out` unless `first`.
template <class W, int T, class Source>
void tile(const MatmulArgs& args, const uint8_t* weights, int record0, int n_records, int t0,
          int row0, bool first) {
  const int n = args.n_rows - row0;
  const uint8_t* act = args.act + t0 * args.act_stride + record0 * W::kActBytes;
  float* out = args.out + t0 * args.out_stride + row0;
  F32x16 c[T];
  unroll<T>([&](auto t) __attribute__((always_inline)) {
    c[t.value] = first ? zero_f32() : load_columns_f32(out + t.value * args.out_stride, n);
  });
  for (int r = 0; r < n_records; ++r) {
    const Source source(weights);
    W::template accumulate<T>(source, act, args.act_stride, c);
    weights += Source::kBytes;
    act += W::kActBytes;
  }
  unroll<T>([&](auto t) __attribute__((always_inline)) {
    store_columns(out + t.value * args.out_stride, c[t.value], n);
  });
}

template <class W, class Source>
void tiles(const MatmulArgs& args, const uint8_t* weights, int record0, int n_records, int row0) {
  const bool first = record0 == 0;
  int t = 0;
  for (; t + kTile <= args.n_tokens; t += kTile) {
    tile<W, kTile, Source>(args, weights, record0, n_records, t, row0, first);
  }
  switch (args.n_tokens - t) {
    case 3:
      return tile<W, 3, Source>(args, weights, record0, n_records, t, row0, first);
    case 2:
      return tile<W, 2, Source>(args, weights, record0, n_records, t, row0, first);
    case 1:
      return tile<W, 1, Source>(args, weights, record0, n_records, t, row0, first);
    default:
      return;
  }
}

template <class W>
void matmul(const MatmulArgs& args) {
  constexpr int kBlock = W::Block::kBlock;
  constexpr int kPanelRecords = W::kPanelWeights / kBlock;
  static_assert(kPanelRecords * W::kPanelBytes <= kMatmulScratchBytes);
  const int n_records = args.k / kBlock;
  const bool fused = args.form == MatmulForm::kFused ||
                     (args.form == MatmulForm::kAuto && args.n_tokens <= W::kFusedTokens);
  const uint8_t* group = args.groups;
  for (int row0 = 0; row0 < args.n_rows; row0 += kGroupRows) {
    if (fused) {
      tiles<W, typename W::Packed>(args, group, 0, n_records, row0);
    } else {
      for (int r0 = 0; r0 < n_records; r0 += kPanelRecords) {
        const int n = n_records - r0 < kPanelRecords ? n_records - r0 : kPanelRecords;
        for (int r = 0; r < n; ++r) {
          W::expand(group + static_cast<size_t>(r0 + r) * W::kRecordBytes,
                    args.scratch + static_cast<size_t>(r) * W::kPanelBytes);
        }
        tiles<W, typename W::Expanded>(args, args.scratch, r0, n, row0);
      }
    }
    group += group_bytes<W>(args.k);
  }
}

template <class W>
WeightKernels weight_kernels() {
  return {W::kAct, group_bytes<W>, pack<W>, unpack_row<W>, matmul<W>};
}

}  // namespace
}  // namespace edgelm
