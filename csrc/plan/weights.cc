#include "plan/weights.h"

#include <cstring>
#include <ostream>

#include "core/file.h"
#include "quant/decode.h"

namespace edgelm {

std::ostream& operator<<(std::ostream& out, const Weight& weight) {
  out << "'" << weight.name << "' (";
  for (size_t i = 0; i < weight.shape.size(); ++i) out << (i > 0 ? ", " : "") << weight.shape[i];
  return out << ")";
}

size_t LoadedWeight::n_bytes() const {
  const auto matrices = static_cast<size_t>(n_matrices);
  if (floats != nullptr) return matrices * static_cast<size_t>(n) * static_cast<size_t>(k) * 4;
  return matrix_bytes != 0 ? matrices * matrix_bytes : row_bytes(type, k);
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
    const auto rows = static_cast<size_t>(group_rows);
    kernels->unpack_row(packed + index / rows * group_bytes, row % group_rows, k, out);
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
