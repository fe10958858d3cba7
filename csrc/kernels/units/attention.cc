// Attention over the pages of a KV cache. The contract is in kernels/attention.h.
#include "kernels/attention.h"

#include "kernels/columns.inl"
#include "kernels/table.h"

namespace edgelm {
namespace {

constexpr int kTileRows = 6;                // rows of q that share a load of k or v
constexpr int kDirectRows = 2 * kTileRows;  // up to here tiles are read in place; beyond, as panels

// Calls f.template operator()<R>() with R = rows.
template <class F>
inline void with_rows(int32_t rows, F f) {
  switch (rows) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    default:
      return f.template operator()<6>();
  }
}

// Rows of q that are computed together: rows [row, row + n), which see slots [begin, end) of the
// block, counted from its start.
struct Tile {
  int32_t row, n, begin, end;
};

static_assert(kLanes <= kMaxLanes && kPageTokens % kLanes == 0 && kHeadWidthUnit % 4 == 0);

// One call's sizes and its scratch memory.
struct Task {
  const AttentionArgs& a;
  int32_t rows, c, n_tiles, tile_rows;
  int32_t width;  // C in whole vectors: the stride of sums
  bool panels;
  float *q, *scores, *panel;
  float *sums, *greatest, *total;                          // of one block, a row each
  float *running_sums, *running_greatest, *running_total;  // of the blocks merged so far
  Tile* tiles;

  explicit Task(const AttentionArgs& args)
      : a(args), rows(args.n_tokens * args.n_heads), c(args.head_width) {
    n_tiles = (rows + kTileRows - 1) / kTileRows;
    tile_rows = (rows + n_tiles - 1) / n_tiles;
    width = (c + kLanes - 1) / kLanes * kLanes;
    panels = rows > kDirectRows;
    float* next = args.scratch;
    const auto take = [&](int32_t n) { return (next += n) - n; };
    panel = take(kPanel * (c > kPageTokens ? c : kPageTokens));
    scores = take(rows * kAttentionBlock);
    q = take(rows * c);
    sums = take(rows * width);
    running_sums = take(rows * width);
    greatest = take(rows);
    total = take(rows);
    running_greatest = take(rows);
    running_total = take(rows);
    tiles = reinterpret_cast<Tile*>(next);
  }

  // Row r's slots within the block that starts at `start`; begin >= end if it sees none.
  Visible range(int32_t row, int32_t start) const {
    const Visible all = visible(a, a.position[row / a.n_heads]);
    return {all.begin > start ? all.begin - start : 0,
            all.end < start + kAttentionBlock ? all.end - start : kAttentionBlock};
  }

  void find_tiles(int32_t start) const {
    for (int32_t i = 0; i < n_tiles; ++i) {
      const int32_t row = i * tile_rows, left = rows - row;
      const int32_t n = left < tile_rows ? left : tile_rows;
      tiles[i] = {row, n, range(row, start).begin, range(row + n - 1, start).end};
    }
  }

  // Does any row see a slot of that page of the block?
  bool sees(int32_t page) const {
    return tiles[0].begin < (page + 1) * kPageTokens && tiles[n_tiles - 1].end > page * kPageTokens;
  }

  // Calls f(tile, begin, end) for the tiles that see slots [begin, end) of that page of the block.
  template <class F>
  void each_tile(int32_t page, F f) const {
    const int32_t first = page * kPageTokens;
    for (int32_t i = 0; i < n_tiles; ++i) {
      const int32_t begin = tiles[i].begin > first ? tiles[i].begin - first : 0;
      const int32_t end = tiles[i].end - first < kPageTokens ? tiles[i].end - first : kPageTokens;
      if (begin < end) f(tiles[i], begin, end);
    }
  }
};

// q as [tile][C][rows of the tile], times scale.
void pack_queries(const Task& task) {
  const AttentionArgs& a = task.a;
  for (int32_t row = 0; row < task.rows; ++row) {
    const int32_t first = row / task.tile_rows * task.tile_rows;
    const int32_t n = task.rows - first < task.tile_rows ? task.rows - first : task.tile_rows;
    const float* from = a.q + row / a.n_heads * a.q_stride + row % a.n_heads * task.c;
    float* to = task.q + first * task.c + (row - first);
    for (int32_t i = 0; i < task.c; ++i) to[i * n] = a.scale * from[i];
  }
}

// scores[row][slot of the block] for the slots of one page; columns(0, i) are keys from i on.
template <class Columns>
void score_page(const Task& task, int32_t page, Columns columns) {
  float* scores = task.scores + page * kPageTokens;
  if (task.panels) {
    for (int32_t key = 0; key < kPageTokens; key += kPanel) {
      bool ready = false;
      task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
        if (end <= key || begin >= key + kPanel) return;
        if (!ready) copy_columns<2>(columns(0, key), task.c, task.panel);
        ready = true;
        with_rows(t.n, [&]<int R>() {
          outer<R, 2, 1, R, false>(task.q + t.row * task.c, F32Columns{task.panel, kPanel}, task.c,
                                   scores + t.row * kAttentionBlock + key, kAttentionBlock);
        });
      });
    }
    return;
  }
  task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
    with_rows(t.n, [&]<int R>() {
      // Enough chains to hide the latency of fma, within a page.
      constexpr int kMost = kPageTokens / kLanes, kWanted = R == 1 ? 8 : R <= 3 ? 4 : 2;
      constexpr int V = kWanted < kMost ? kWanted : kMost;
      for (int32_t key = begin / (V * kLanes) * (V * kLanes); key < end; key += V * kLanes) {
        outer<R, V, 1, R, false>(task.q + t.row * task.c, columns(0, key), task.c,
                                 scores + t.row * kAttentionBlock + key, kAttentionBlock);
      }
    });
  });
}

// sums[row] += sum_slot scores[row][slot] * v[slot] for the slots of one page.
template <class Columns>
void sum_page(const Task& task, int32_t page, Columns columns) {
  const float* weights = task.scores + page * kPageTokens;
  const int32_t c = task.c, whole = c / kLanes * kLanes, width = task.width;
  using Last = FirstColumns<decltype(columns(0, 0))>;
  if (task.panels) {
    for (int32_t column = 0; column < c; column += kPanel) {
      const bool two = column + kLanes < c;
      bool ready = false;
      task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
        for (int32_t v = 0; v < 2 && !ready; ++v) {
          const int32_t at = column + v * kLanes;
          float* panel = task.panel + v * kLanes;
          if (at < whole) copy_columns<1>(columns(0, at), kPageTokens, panel);
          if (at >= whole && at < c) {
            copy_columns<1>(Last{columns(0, at), c - at}, kPageTokens, panel);
          }
        }
        ready = true;
        with_rows(t.n, [&]<int R>() {
          const float* w = weights + t.row * kAttentionBlock + begin;
          const F32Columns v{task.panel + begin * kPanel, kPanel};
          float* out = task.sums + t.row * width + column;
          if (two) outer<R, 2, kAttentionBlock, 1, true>(w, v, end - begin, out, width);
          if (!two) outer<R, 1, kAttentionBlock, 1, true>(w, v, end - begin, out, width);
        });
      });
    }
    return;
  }
  task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
    with_rows(t.n, [&]<int R>() {
      const float* w = weights + t.row * kAttentionBlock + begin;
      float* out = task.sums + t.row * width;
      int32_t column = 0;
      const auto run = [&]<int V>() {
        for (; column + V * kLanes <= c; column += V * kLanes) {
          outer<R, V, kAttentionBlock, 1, true>(w, columns(begin, column), end - begin,
                                                out + column, width);
        }
      };
      if constexpr (R == 1) run.template operator()<8>();
      if constexpr (R <= 3) run.template operator()<4>();
      run.template operator()<2>();
      run.template operator()<1>();
      if (column < c) {
        const Last last{columns(begin, column), c - column};
        outer<R, 1, kAttentionBlock, 1, true>(w, last, end - begin, out + column, width);
      }
    });
  });
}

// Turns a row's scores into exp(score - greatest), and slots of its tile that it does not see into
// 0.
void softmax(const Task& task, int32_t start, const Tile& t, int32_t row) {
  const AttentionArgs& a = task.a;
  const Visible see = task.range(row, start);
  float* scores = task.scores + row * kAttentionBlock;
  const int32_t tile_begin = t.begin / kLanes * kLanes, tile_end = t.end;
  const int32_t begin = see.begin / kLanes * kLanes, end = see.end;
  Ints lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  if (see.begin >= end) {
    for (int32_t s = tile_begin; s < tile_end; s += kLanes) store(scores + s, Floats{});
    task.greatest[row] = -__builtin_inff();
    task.total[row] = 0;
    return;
  }
  const float slope = a.alibi == nullptr ? 0.0f : a.alibi[row % a.n_heads];
  const int32_t offset = start - a.position[row / a.n_heads];
  Floats greatest = splat(-__builtin_inff());
  for (int32_t s = begin; s < end; s += kLanes) {
    Floats x = load(scores + s);
    if (a.softcap > 0) x = a.softcap * tanh(x / a.softcap);
    if (a.alibi != nullptr) x += slope * __builtin_convertvector(lane + (s + offset), Floats);
    if (s < see.begin || s + kLanes > end) {
      const Ints slot = lane + s;
      x = ((slot >= see.begin) & (slot < end)) ? x : splat(-__builtin_inff());
    }
    store(scores + s, x);
    greatest = max(greatest, x);
  }
  const float top = max_lane(greatest);
  Floats total[4] = {};
  for (int32_t s = begin; s < end; s += kLanes) {
    const Floats e = exp(load(scores + s) - top);
    store(scores + s, e);
    total[s / kLanes % 4] += e;
  }
  for (int32_t s = tile_begin; s < begin; s += kLanes) store(scores + s, Floats{});
  for (int32_t s = (end + kLanes - 1) / kLanes * kLanes; s < tile_end; s += kLanes) {
    store(scores + s, Floats{});
  }
  task.greatest[row] = top;
  task.total[row] = sum((total[0] + total[1]) + (total[2] + total[3]));
}

// Calls f(page, tile) for the pages of the block that any row sees. The tile after the last is
// `after`, or null.
template <class F>
void each_page(const Task& task, int32_t block, size_t offset, const uint8_t* after, F f) {
  const uint8_t* const* pages = task.a.pages + block * kPagesPerBlock;
  for (int32_t page = 0; page < kPagesPerBlock; ++page) {
    if (!task.sees(page)) continue;
    const bool last = page + 1 == kPagesPerBlock || !task.sees(page + 1);
    const uint8_t* tile = pages[page] + offset;
    const uint8_t* next = last ? after : pages[page + 1] + offset;
    f(page, Tiles{tile, next != nullptr ? next : tile});
  }
}

// Fills sums, greatest and total with block `block`'s part of every row.
void sum_block(const Task& task, int32_t block) {
  const AttentionArgs& a = task.a;
  const int32_t start = block * kAttentionBlock, c = task.c;
  task.find_tiles(start);
  const int32_t first = task.tiles[0].begin / kPageTokens;  // a page that a row sees, if any does
  const uint8_t* values = a.pages[block * kPagesPerBlock + first] + a.v_offset;
  each_page(task, block, a.k_offset, values, [&](int32_t page, Tiles t) {
    if (a.type == KvType::kF16) {
      score_page(task, page, [=](int32_t row, int32_t column) {
        return f16_columns(t, kPageTokens, row, column);
      });
    } else {
      score_page(task, page, [=](int32_t, int32_t column) { return q8_keys(t, c, column); });
    }
  });
  for (int32_t i = 0; i < task.n_tiles; ++i) {
    const Tile& t = task.tiles[i];
    for (int32_t row = t.row; row < t.row + t.n; ++row) softmax(task, start, t, row);
  }
  __builtin_memset(task.sums, 0, static_cast<size_t>(task.rows * task.width) * sizeof(float));
  const bool more = block + 1 < a.end_block;
  const uint8_t* keys = more ? a.pages[(block + 1) * kPagesPerBlock] + a.k_offset : nullptr;
  each_page(task, block, a.v_offset, keys, [&](int32_t page, Tiles t) {
    if (a.type == KvType::kF16) {
      sum_page(task, page,
               [=](int32_t row, int32_t column) { return f16_columns(t, c, row, column); });
    } else {
      sum_page(task, page,
               [=](int32_t row, int32_t column) { return q8_values(t, c, row, column); });
    }
  });
}

// Takes one more block into a row's softmax over the blocks before it. The scalars go through the
// vector exp, so that there is only one.
void merge(int32_t c, float* into_sums, float& into_greatest, float& into_total, const float* sums,
           float greatest, float total) {
  if (greatest == -__builtin_inff()) return;
  const float top = greatest > into_greatest ? greatest : into_greatest;
  const float keep = exp(splat(into_greatest - top))[0], take = exp(splat(greatest - top))[0];
  int32_t i = 0;
  for (; i + kLanes <= c; i += kLanes) {
    store(into_sums + i, fma(load(into_sums + i), splat(keep), load(sums + i) * take));
  }
  if (i < c) {
    const int32_t n = c - i;
    const Floats before = load_first(into_sums + i, n), more = load_first(sums + i, n);
    store_first(into_sums + i, n, fma(before, splat(keep), more * take));
  }
  into_total = into_total * keep + total * take;
  into_greatest = top;
}

// out = sums / total, the sink's exponential counted in.
void finish(const AttentionArgs& a, int32_t row, const float* sums, float greatest, float total) {
  const int32_t head = row % a.n_heads;
  float* out = a.out + row / a.n_heads * a.out_stride + head * a.head_width;
  float keep = 1.0f;
  if (a.sinks != nullptr) {
    const float top = a.sinks[head] > greatest ? a.sinks[head] : greatest;
    keep = exp(splat(greatest - top))[0];
    total = total * keep + exp(splat(a.sinks[head] - top))[0];
  }
  const float factor = keep / total;
  int32_t i = 0;
  for (; i + kLanes <= a.head_width; i += kLanes) store(out + i, load(sums + i) * factor);
  if (i < a.head_width) {
    store_first(out + i, a.head_width - i, load_first(sums + i, a.head_width - i) * factor);
  }
}

void attention(const AttentionArgs& a) {
  const Task task(a);
  const int32_t c = task.c;
  pack_queries(task);
  __builtin_memset(task.running_sums, 0,
                   static_cast<size_t>(task.rows * task.width) * sizeof(float));
  for (int32_t row = 0; row < task.rows; ++row) {
    task.running_greatest[row] = -__builtin_inff();
    task.running_total[row] = 0;
  }
  float* partial = a.partials;
  for (int32_t block = a.first_block; block < a.end_block; ++block) {
    sum_block(task, block);
    for (int32_t row = 0; row < task.rows; ++row) {
      const float* sums = task.sums + row * task.width;
      if (a.partials == nullptr) {
        merge(c, task.running_sums + row * task.width, task.running_greatest[row],
              task.running_total[row], sums, task.greatest[row], task.total[row]);
      } else {
        __builtin_memcpy(partial, sums, static_cast<size_t>(c) * sizeof(float));
        partial[c] = task.greatest[row];
        partial[c + 1] = task.total[row];
        partial += c + 2;
      }
    }
  }
  if (a.partials != nullptr) return;
  for (int32_t row = 0; row < task.rows; ++row) {
    finish(a, row, task.running_sums + row * task.width, task.running_greatest[row],
           task.running_total[row]);
  }
}

void merge_attention(const AttentionArgs& a) {
  const int32_t rows = a.n_tokens * a.n_heads, c = a.head_width;
  for (int32_t row = 0; row < rows; ++row) {
    float greatest = -__builtin_inff(), total = 0;
    __builtin_memset(a.scratch, 0, static_cast<size_t>(c) * sizeof(float));
    for (int32_t block = 0; block < a.end_block - a.first_block; ++block) {
      const float* partial = a.partials + static_cast<size_t>(block * rows + row) * (c + 2);
      merge(c, a.scratch, greatest, total, partial, partial[c], partial[c + 1]);
    }
    finish(a, row, a.scratch, greatest, total);
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(attention) {
  table.attention = edgelm::attention;
  table.merge_attention = edgelm::merge_attention;
}
