#pragma once

// The KV cache's memory layout and the attention kernel's arguments. Included by kernel units: no
// STL here.
#include <cstddef>
#include <cstdint>

namespace edgelm {

inline constexpr int kPageTokens = 64;       // tokens in one page of the KV cache
inline constexpr int kAttentionBlock = 256;  // slots summed together: the unit of split and merge
inline constexpr int kPagesPerBlock = kAttentionBlock / kPageTokens;

enum class KvType : uint8_t { kF16, kQ8_0 };
inline constexpr int kKvScaleWidth = 32;  // values that share a scale in q8_0

// A tile is what a page holds of the keys or the values of one head in one layer. Keys are stored
// (C, 64) and values (64, C), so that scores and sums alike run along contiguous memory with no
// shuffles. q8_0: int8 values in that order, then f16 scales: keys (ceil(C / 32), 64), values
// (64, ceil(C / 32)). C is a multiple of 8; tiles are multiples of 64 bytes.
inline constexpr int kHeadWidthUnit = 8;
static constexpr int kv_scales(int head_width) {
  return (head_width + kKvScaleWidth - 1) / kKvScaleWidth;
}
static constexpr size_t kv_tile_bytes(KvType type, int head_width) {
  const size_t c = static_cast<size_t>(head_width),
               scales = static_cast<size_t>(kv_scales(head_width));
  return kPageTokens * (type == KvType::kF16 ? 2 * c : c + 2 * scales);
}

// One token's key and value of one head, (C) each, on their way to slot `slot` of a page's tiles.
struct KvStore {
  KvType type;
  int32_t head_width;
  const float* k;
  const float* v;
  uint8_t* k_tile;
  uint8_t* v_tile;
  int32_t slot;  // 0 to 63
};

// out[t][h] = sum_s softmax_s(score[t][h][s]) v[s]  for the n_heads query heads of one K/V head and
// n_tokens queries of one sequence, where
//   score = softcap(scale * q[t][h] . k[s]) + alibi[h] * (s - position[t])
// over the slots s in [0, length), s <= position[t] if causal, s > position[t] - window if window >
// 0. sinks[h] is the score of a slot that has no value.
//
// Slots are summed in blocks of 256 counted from slot 0, and blocks are merged in rising order, so
// a row's bits depend on neither n_tokens nor which thread sums which blocks.
struct AttentionArgs {
  const float* q;  // row (t, h) at q + t * q_stride + h * head_width
  size_t q_stride;
  float* out;  // likewise
  size_t out_stride;
  const int32_t* position;  // (n_tokens) rising
  int32_t n_tokens, n_heads, head_width;

  // pages[i] holds slots [64 i, 64 i + 64); only those with a visible slot are read.
  const uint8_t* const* pages;
  size_t k_offset, v_offset;  // the head's tiles in a page
  KvType type;

  int32_t length;
  int32_t window;  // 0: no window
  bool causal;
  float scale;
  float softcap;       // 0: none
  const float* sinks;  // (n_heads), or null
  const float* alibi;  // (n_heads) slopes, or null

  // Which blocks to sum. If `partials` is null, they are all that the queries see and `out` is
  // written; else each block's part of each row goes to partials + (block - first_block) * rows *
  // (C + 2), row by row: C sums, the greatest score, the sum of exponentials.
  int32_t first_block, end_block;
  float* partials;
  float* scratch;  // attention_scratch_floats(rows, C), 64-byte aligned
};

static constexpr size_t attention_scratch_floats(int rows, int head_width) {
  const size_t r = static_cast<size_t>(rows), c = static_cast<size_t>(head_width);
  return r * (3 * c + kAttentionBlock + 8) + 16 * (c + kPageTokens);
}

// The slots [begin, end) that the query at `position` sees.
struct Visible {
  int32_t begin, end;
};
static inline Visible visible(const AttentionArgs& a, int32_t position) {
  const int32_t begin = a.window > 0 && position >= a.window ? position + 1 - a.window : 0;
  const int32_t end = a.causal && position < a.length ? position + 1 : a.length;
  return {begin, end};
}

}  // namespace edgelm
