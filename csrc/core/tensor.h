#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

namespace edgelm {

// A value's first axis: the batch's T tokens, or the R rows of it that are wanted.
enum class Axis : uint8_t { kTokens, kRows };

// (T, D), (R, V), (T, H, C): a symbolic first axis, then widths that are known when a graph is
// built.
struct Shape {
  Axis axis = Axis::kTokens;
  std::vector<int> widths;

  int row_width() const {  // floats of one row
    int product = 1;
    for (const int width : widths) product *= width;
    return product;
  }
  int last() const { return widths.empty() ? 1 : widths.back(); }
  bool operator==(const Shape&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << "(" << (shape.axis == Axis::kTokens ? "T" : "R");
  for (const int width : shape.widths) out << ", " << width;
  return out << ")";
}

// Row i begins at data + i * stride_bytes.
struct Rows {
  std::byte* data = nullptr;
  size_t stride_bytes = 0;

  std::byte* bytes(int row) const { return data + static_cast<size_t>(row) * stride_bytes; }
  float* operator[](int row) const { return reinterpret_cast<float*>(bytes(row)); }
  // Those that begin at a row, and at one of its floats.
  Rows from(int row, int column = 0) const {
    return {bytes(row) + static_cast<size_t>(column) * sizeof(float), stride_bytes};
  }
};

// The items [begin, end) that a thread has of some work.
struct Range {
  int begin = 0, end = 0;
  int size() const { return end - begin; }
};

}  // namespace edgelm
