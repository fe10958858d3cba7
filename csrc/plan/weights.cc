#include "plan/weights.h"

#include <algorithm>
#include <cstring>
#include <ostream>

#include "core/error.h"
#include "core/file.h"
#include "quant/decode.h"

namespace edgelm {

std::ostream& operator<<(std::ostream& out, const Weight& weight) {
  out << "'" << weight.name << "' (";
  for (size_t i = 0; i < weight.shape.size(); ++i) out << (i > 0 ? ", " : "") << weight.shape[i];
  return out << ")";
}

LoadedWeight::LoadedWeight(const Weight& weight, WeightUse use_of_it, const KernelTable& table)
    : use(use_of_it),
      type(weight.type),
      n(weight.n()),
      k(weight.k()),
      n_matrices(weight.n_matrices()) {
  if (use == WeightUse::kTable) {
    file = weight.file;
    offset = weight.offset;
    constant = weight.constant.data();
  } else if (use == WeightUse::kPacked) {
    kernels = &kernels_for(table, weight);
    if (kernels->matmul == nullptr) {
      fail(ErrorKind::kUnsupportedModel, weight, ": there is no ", table.isa, " matmul for type ",
           info(type).name);
    }
    group_rows = table.group_rows;
    group_bytes = kernels->group_bytes(k);
    matrix_bytes = group_bytes * static_cast<size_t>((n + group_rows - 1) / group_rows);
  }
}

void LoadedWeight::place(const std::byte* data) {
  if (use == WeightUse::kFloats) floats = reinterpret_cast<const float*>(data);
  if (use == WeightUse::kPacked) packed = reinterpret_cast<const uint8_t*>(data);
}

size_t LoadedWeight::n_bytes() const {
  if (use == WeightUse::kTable) return row_bytes(type, k);
  const auto matrices = static_cast<size_t>(n_matrices);
  if (use == WeightUse::kPacked) return matrices * matrix_bytes;
  return matrices * static_cast<size_t>(n) * static_cast<size_t>(k) * sizeof(float);
}

size_t LoadedWeight::group_offset(int matrix, int row) const {
  return static_cast<size_t>(matrix) * matrix_bytes +
         static_cast<size_t>(row / group_rows) * group_bytes;
}

void LoadedWeight::pack(const uint8_t* file_rows, int matrix, Range rows, std::byte* to) const {
  const size_t stride = row_bytes(type, k);
  auto* group = reinterpret_cast<uint8_t*>(to) + group_offset(matrix, rows.begin);
  for (int row = rows.begin; row < rows.end; row += group_rows) {
    kernels->pack(file_rows, stride, std::min(group_rows, rows.end - row), k, group);
    file_rows += stride * static_cast<size_t>(group_rows);
    group += group_bytes;
  }
}

size_t LoadedWeight::table_scratch_bytes() const {
  return packed != nullptr || file == nullptr ? 0 : row_bytes(type, k);
}

void LoadedWeight::check_unchanged() const {
  if (packed == nullptr && file != nullptr) file->check_unchanged();
}

void LoadedWeight::read_row(int row, std::span<std::byte> scratch, float* out) const {
  const auto index = static_cast<size_t>(row);
  if (packed != nullptr) {
    kernels->unpack_row(packed + group_offset(0, row), row % group_rows, k, out);
  } else if (file != nullptr) {
    const size_t stride = row_bytes(type, k);
    file->read(offset + index * stride, scratch.first(stride));
    decode_row(type, reinterpret_cast<const uint8_t*>(scratch.data()), k, out);
  } else {
    std::memcpy(out, constant + index * static_cast<size_t>(k),
                static_cast<size_t>(k) * sizeof(float));
  }
}

}  // namespace edgelm
