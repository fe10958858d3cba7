// Attention over the pages of a KV cache. The contract is in kernels/attention.h.
#include "kernels/attention.h"

#include "kernels/float_math.inl"
#include "kernels/table.h"
#include "quant/half.h"

namespace edgelm {
namespace {

constexpr int kTileRows = 6;             // rows of q that share a load of k or v
constexpr int kPanel = 2 * kLanes;       // columns of a panel
constexpr int kDirectRows = 2 * kTileRows;  // up to here tiles are read in place; beyond, as panels

// Columns of a matrix (n, *) that is read row by row: load(i, v) is vector v of row i.
struct F32Columns {
  const float* data;
  size_t stride;
  Floats load(int32_t i, int32_t v) const { return edgelm::load(data + i * stride + v * kLanes); }
};
struct F16Columns {
  const uint16_t* data;
  size_t stride;
  Floats load(int32_t i, int32_t v) const { return load_f16(data + i * stride + v * kLanes); }
};
struct Q8KeyColumns {  // a scale for 32 rows of each column
  const int8_t* data;
  const uint16_t* scales;
  Floats load(int32_t i, int32_t v) const {
    return load_i8(data + i * kPageTokens + v * kLanes) *
           load_f16(scales + i / kKvScaleWidth * kPageTokens + v * kLanes);
  }
};
struct Q8ValueColumns {  // a scale for 32 columns of each row
  const int8_t* data;
  const uint16_t* scales;
  int32_t width, n_scales, column;
  Floats load(int32_t i, int32_t v) const {
    const int32_t c = column + v * kLanes;
    return load_i8(data + static_cast<size_t>(i) * width + c) *
           splat_f16(scales + i * n_scales + c / kKvScaleWidth);
  }
};

// What a page's tile holds from row `row` and column `column` on. Keys are asked for row 0 only.
inline F16Columns f16_columns(const uint8_t* tile, int32_t stride, int32_t row, int32_t column) {
  return {reinterpret_cast<const uint16_t*>(tile) + row * stride + column,
          static_cast<size_t>(stride)};
}
inline Q8KeyColumns q8_keys(const uint8_t* tile, int32_t head_width, int32_t column) {
  return {reinterpret_cast<const int8_t*>(tile) + column,
          reinterpret_cast<const uint16_t*>(tile + kPageTokens * head_width) + column};
}
inline Q8ValueColumns q8_values(const uint8_t* tile, int32_t head_width, int32_t row,
                                int32_t column) {
  const int32_t n_scales = kv_scales(head_width);
  return {reinterpret_cast<const int8_t*>(tile) + row * head_width,
          reinterpret_cast<const uint16_t*>(tile + kPageTokens * head_width) + row * n_scales,
          head_width, n_scales, column};
}

// out[r][j] (+)= sum_i a[r * kRow + i * kStep] * b[i][j], i rising, for R rows and V vectors of j.
// Every sum is one chain of fma over i, so its bits depend on neither R nor V.
template <int R, int V, int kRow, int kStep, bool kAdd, class B>
inline void outer(const float* a, const B& b, int32_t n, float* out, size_t out_stride) {
  Floats sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) {
      sum[r][v] = kAdd ? load(out + r * out_stride + v * kLanes) : Floats{};
    }
  }
  for (int32_t i = 0; i < n; ++i) {
    if constexpr (R < V) {  // hold what there is less of, to stay within 16 registers
      Floats x[R];
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) x[r] = splat(a[r * kRow + i * kStep]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Floats column = b.load(i, v);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) sum[r][v] = fma(x[r], column, sum[r][v]);
      }
    } else {
      Floats column[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) column[v] = b.load(i, v);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Floats x = splat(a[r * kRow + i * kStep]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[r][v] = fma(x, column[v], sum[r][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + r * out_stride + v * kLanes, sum[r][v]);
  }
}

// Calls f.template operator()<R>() with R = rows.
template <class F>
inline void with_rows(int32_t rows, F f) {
  switch (rows) {
    case 1: return f.template operator()<1>();
    case 2: return f.template operator()<2>();
    case 3: return f.template operator()<3>();
    case 4: return f.template operator()<4>();
    case 5: return f.template operator()<5>();
    default: return f.template operator()<6>();
  }
}

// Rows of q that are computed together: rows [row, row + n), which see slots [begin, end) of the
// block, counted from its start.
struct Tile {
  int32_t row, n, begin, end;
};

// One call's sizes and its scratch memory.
struct Task {
  const AttentionArgs& a;
  int32_t rows, c, n_tiles, tile_rows;
  bool panels;
  float *q, *scores, *panel;
  float *sums, *greatest, *total;                          // of one block, a row each
  float *running_sums, *running_greatest, *running_total;  // of the blocks merged so far
  Tile* tiles;

  explicit Task(const AttentionArgs& args)
      : a(args), rows(args.n_tokens * args.n_heads), c(args.head_width) {
    n_tiles = (rows + kTileRows - 1) / kTileRows;
    tile_rows = (rows + n_tiles - 1) / n_tiles;
    panels = rows > kDirectRows;
    float* next = args.scratch;
    const auto take = [&](int32_t n) { return (next += n) - n; };
    panel = take(kPanel * (c > kPageTokens ? c : kPageTokens));
    scores = take(rows * kAttentionBlock);
    q = take(rows * c);
    sums = take(rows * c);
    running_sums = take(rows * c);
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

// Copies n rows of V vectors each.
template <int V, class B>
inline void copy_columns(const B& b, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) {
    for (int v = 0; v < V; ++v) store(out + i * kPanel + v * kLanes, b.load(i, v));
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
      constexpr int V = R == 1 ? 8 : R <= 3 ? 4 : 2;  // enough chains to hide the latency of fma
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
  const int32_t c = task.c;
  if (task.panels) {
    for (int32_t column = 0; column < c; column += kPanel) {
      const bool whole = column + kPanel <= c;
      bool ready = false;
      task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
        if (!ready) {
          if (whole) copy_columns<2>(columns(0, column), kPageTokens, task.panel);
          if (!whole) copy_columns<1>(columns(0, column), kPageTokens, task.panel);
        }
        ready = true;
        with_rows(t.n, [&]<int R>() {
          const float* w = weights + t.row * kAttentionBlock + begin;
          const F32Columns v{task.panel + begin * kPanel, kPanel};
          float* out = task.sums + t.row * c + column;
          if (whole) outer<R, 2, kAttentionBlock, 1, true>(w, v, end - begin, out, c);
          if (!whole) outer<R, 1, kAttentionBlock, 1, true>(w, v, end - begin, out, c);
        });
      });
    }
    return;
  }
  task.each_tile(page, [&](const Tile& t, int32_t begin, int32_t end) {
    with_rows(t.n, [&]<int R>() {
      const float* w = weights + t.row * kAttentionBlock;
      float* out = task.sums + t.row * c;
      int32_t column = 0;
      const auto run = [&]<int V>() {
        for (; column + V * kLanes <= c; column += V * kLanes) {
          outer<R, V, kAttentionBlock, 1, true>(w + begin, columns(begin, column), end - begin,
                                                out + column, c);
        }
      };
      if constexpr (R == 1) run.template operator()<8>();
      if constexpr (R <= 3) run.template operator()<4>();
      run.template operator()<2>();
      run.template operator()<1>();
    });
  });
}

// Turns a row's scores into exp(score - greatest), and slots of its tile that it does not see into 0.
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

// Fills sums, greatest and total with block `block`'s part of every row.
void sum_block(const Task& task, int32_t block) {
  const AttentionArgs& a = task.a;
  const int32_t start = block * kAttentionBlock, c = task.c;
  const uint8_t* const* pages = a.pages + block * kPagesPerBlock;
  task.find_tiles(start);
  for (int32_t page = 0; page < kPagesPerBlock; ++page) {
    if (!task.sees(page)) continue;
    const uint8_t* tile = pages[page] + a.k_offset;
    if (a.type == KvType::kF16) {
      score_page(task, page, [=](int32_t row, int32_t column) {
        return f16_columns(tile, kPageTokens, row, column);
      });
    } else {
      score_page(task, page, [=](int32_t, int32_t column) { return q8_keys(tile, c, column); });
    }
  }
  for (int32_t i = 0; i < task.n_tiles; ++i) {
    const Tile& t = task.tiles[i];
    for (int32_t row = t.row; row < t.row + t.n; ++row) softmax(task, start, t, row);
  }
  __builtin_memset(task.sums, 0, static_cast<size_t>(task.rows) * c * sizeof(float));
  for (int32_t page = 0; page < kPagesPerBlock; ++page) {
    if (!task.sees(page)) continue;
    const uint8_t* tile = pages[page] + a.v_offset;
    if (a.type == KvType::kF16) {
      sum_page(task, page, [=](int32_t row, int32_t column) {
        return f16_columns(tile, c, row, column);
      });
    } else {
      sum_page(task, page, [=](int32_t row, int32_t column) {
        return q8_values(tile, c, row, column);
      });
    }
  }
}

// Takes one more block into a row's softmax over the blocks before it. The scalars go through the
// vector exp, so that there is only one.
void merge(int32_t c, float* into_sums, float& into_greatest, float& into_total, const float* sums,
           float greatest, float total) {
  if (greatest == -__builtin_inff()) return;
  const float top = greatest > into_greatest ? greatest : into_greatest;
  const float keep = exp(splat(into_greatest - top))[0], take = exp(splat(greatest - top))[0];
  for (int32_t i = 0; i < c; i += kLanes) {
    store(into_sums + i, fma(load(into_sums + i), splat(keep), load(sums + i) * take));
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
  for (int32_t i = 0; i < a.head_width; i += kLanes) store(out + i, load(sums + i) * factor);
}

void attention(const AttentionArgs& a) {
  const Task task(a);
  const int32_t c = task.c;
  pack_queries(task);
  __builtin_memset(task.running_sums, 0, static_cast<size_t>(task.rows) * c * sizeof(float));
  for (int32_t row = 0; row < task.rows; ++row) {
    task.running_greatest[row] = -__builtin_inff();
    task.running_total[row] = 0;
  }
  float* partial = a.partials;
  for (int32_t block = a.first_block; block < a.end_block; ++block) {
    sum_block(task, block);
    for (int32_t row = 0; row < task.rows; ++row) {
      const float* sums = task.sums + row * c;
      if (a.partials == nullptr) {
        merge(c, task.running_sums + row * c, task.running_greatest[row], task.running_total[row],
              sums, task.greatest[row], task.total[row]);
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
    finish(a, row, task.running_sums + row * c, task.running_greatest[row],
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

// One scale for each 32 values of x: x = d * q, q in [-127, 127].
void quantize_q8(const float* x, int32_t n, uint16_t* scale, int8_t* q) {
  float greatest = 0;
  for (int32_t i = 0; i < n; ++i) greatest = __builtin_fabsf(x[i]) > greatest ? __builtin_fabsf(x[i]) : greatest;
  const f16 d = to_f16(greatest / 127.0f);
  const float inverse = d.bits == 0 ? 0.0f : 1.0f / to_float(d);
  for (int32_t i = 0; i < n; ++i) {
    const float scaled = x[i] * inverse;  // beyond 127 only if d is subnormal
    const float clamped = scaled > 127 ? 127 : scaled < -127 ? -127 : scaled;
    q[i] = static_cast<int8_t>(__builtin_bit_cast(int32_t, clamped + 0x1.8p23f) - 0x4b400000);
  }
  *scale = d.bits;
}

void store_kv(const KvStore& s) {
  const int32_t c = s.head_width;
  if (s.type == KvType::kF16) {
    auto* keys = reinterpret_cast<uint16_t*>(s.k_tile) + s.slot;
    auto* values = reinterpret_cast<uint16_t*>(s.v_tile) + s.slot * c;
    for (int32_t i = 0; i < c; i += kLanes) {
      uint16_t half[kLanes];
      store_f16(half, load(s.k + i));
      for (int32_t j = 0; j < kLanes; ++j) keys[(i + j) * kPageTokens] = half[j];
      store_f16(values + i, load(s.v + i));
    }
    return;
  }
  const int32_t n_scales = kv_scales(c);
  auto* keys = reinterpret_cast<int8_t*>(s.k_tile) + s.slot;
  auto* key_scales = reinterpret_cast<uint16_t*>(s.k_tile + kPageTokens * c) + s.slot;
  auto* values = reinterpret_cast<int8_t*>(s.v_tile) + s.slot * c;
  auto* value_scales = reinterpret_cast<uint16_t*>(s.v_tile + kPageTokens * c) + s.slot * n_scales;
  for (int32_t b = 0; b < n_scales; ++b) {
    const int32_t first = b * kKvScaleWidth;
    const int32_t n = c - first < kKvScaleWidth ? c - first : kKvScaleWidth;
    int8_t q[kKvScaleWidth];
    quantize_q8(s.k + first, n, key_scales + b * kPageTokens, q);
    for (int32_t i = 0; i < n; ++i) keys[(first + i) * kPageTokens] = q[i];
    quantize_q8(s.v + first, n, value_scales + b, values + first);
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(attention) {
  table.attention = edgelm::attention;
  table.merge_attention = edgelm::merge_attention;
  table.store_kv = edgelm::store_kv;
}
