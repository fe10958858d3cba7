#pragma once

// Matrices (n, *) that are read row by row, a few vectors of columns at a time, and their products.
// Included by kernel units: no STL.
#include "kernels/attention.h"
#include "kernels/float_math.inl"

namespace edgelm {
namespace {

constexpr int kPanel = 2 * kLanes;  // columns of a panel: a copy of some columns as floats

// Columns of a matrix (n, *) that is read row by row: load(i, v) is vector v of row i. fetch(i, v)
// brings what lies there in the tile that comes next into the cache, for columns that are read in
// place: tiles are far apart, so the processor does not see it coming.
struct F32Columns {
  const float* data;
  size_t stride;
  void fetch(int32_t, int32_t) const {}
  Floats load(int32_t i, int32_t v) const { return edgelm::load(data + i * stride + v * kLanes); }
};
struct F16Columns {
  const uint16_t* data;
  size_t stride;
  ptrdiff_t ahead;  // bytes from this tile to the next
  void fetch(int32_t i, int32_t v) const {
    const auto* here = reinterpret_cast<const uint8_t*>(data + i * stride + v * kLanes);
    __builtin_prefetch(here + ahead);
  }
  Floats load(int32_t i, int32_t v) const { return load_f16(data + i * stride + v * kLanes); }
  Floats load_first(int32_t i, int32_t n) const {
    uint16_t half[kLanes] = {};
    __builtin_memcpy(half, data + i * stride, static_cast<size_t>(n) * sizeof(uint16_t));
    return load_f16(half);
  }
};
struct Q8KeyColumns {  // a scale for 32 rows of each column
  const int8_t* data;
  const uint16_t* scales;
  ptrdiff_t ahead;
  void fetch(int32_t i, int32_t v) const {
    __builtin_prefetch(data + i * kPageTokens + v * kLanes + ahead);
  }
  Floats load(int32_t i, int32_t v) const {
    return load_i8(data + i * kPageTokens + v * kLanes) *
           load_f16(scales + i / kKvScaleWidth * kPageTokens + v * kLanes);
  }
};
struct Q8ValueColumns {  // a scale for 32 columns of each row
  const int8_t* data;
  const uint16_t* scales;
  int32_t width, n_scales, column;
  ptrdiff_t ahead;
  void fetch(int32_t i, int32_t v) const {
    __builtin_prefetch(data + static_cast<size_t>(i) * width + column + v * kLanes + ahead);
  }
  Floats load(int32_t i, int32_t v) const {
    const int32_t c = column + v * kLanes;
    return load_i8(data + static_cast<size_t>(i) * width + c) *
           splat_f16(scales + i * n_scales + c / kKvScaleWidth);
  }
  Floats load_first(int32_t i, int32_t n) const {
    int8_t q[kLanes] = {};
    __builtin_memcpy(q, data + static_cast<size_t>(i) * width + column, static_cast<size_t>(n));
    return load_i8(q) * splat_f16(scales + i * n_scales + column / kKvScaleWidth);
  }
};

// The first n < kLanes columns of B; the vector's other lanes are 0. For the last columns of a head
// whose width is no multiple of the lanes.
template <class B>
struct FirstColumns {
  B columns;
  int32_t n;
  void fetch(int32_t, int32_t) const {}
  Floats load(int32_t i, int32_t) const { return columns.load_first(i, n); }
};

// A page's tile, and where the next one is.
struct Tiles {
  const uint8_t *tile, *next;
  ptrdiff_t ahead() const { return next - tile; }
};

// What a tile holds from row `row` and column `column` on. Keys are asked for row 0 only.
inline F16Columns f16_columns(Tiles t, int32_t stride, int32_t row, int32_t column) {
  return {reinterpret_cast<const uint16_t*>(t.tile) + row * stride + column,
          static_cast<size_t>(stride), t.ahead()};
}
inline Q8KeyColumns q8_keys(Tiles t, int32_t head_width, int32_t column) {
  return {reinterpret_cast<const int8_t*>(t.tile) + column,
          reinterpret_cast<const uint16_t*>(t.tile + kPageTokens * head_width) + column, t.ahead()};
}
inline Q8ValueColumns q8_values(Tiles t, int32_t head_width, int32_t row, int32_t column) {
  const int32_t n_scales = kv_scales(head_width);
  const auto* scales = reinterpret_cast<const uint16_t*>(t.tile + kPageTokens * head_width);
  return {reinterpret_cast<const int8_t*>(t.tile) + row * head_width,
          scales + row * n_scales,
          head_width,
          n_scales,
          column,
          t.ahead()};
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
    for (int v = 0; v < V; v += 4) b.fetch(i, v);
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

// Copies n rows of V vectors each.
template <int V, class B>
inline void copy_columns(const B& b, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) {
    for (int v = 0; v < V; ++v) store(out + i * kPanel + v * kLanes, b.load(i, v));
  }
}

}  // namespace
}  // namespace edgelm
