#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "kernels/table.h"
#include "quant/quant.h"

namespace edgelm {

class File;

// What tells tensors apart: the file, or the constant itself, and the first byte in it.
struct TensorId {
  const void* source;
  uint64_t offset;
  auto operator<=>(const TensorId&) const = default;
};

// A weight as the graph knows it: rows of k values, in a file or in memory. Nothing is read yet.
struct Weight {
  std::string name;
  QuantType type = QuantType::f32;
  std::vector<int> shape;            // rows first: (K), (N, K) or (E, N, K)
  std::shared_ptr<const File> file;  // null for a constant
  uint64_t offset = 0;               // of its first byte in the file
  std::vector<float> constant;       // its values if there is no file
  bool exact = false;  // multiplied by 16-bit activations where 8 bits are the default

  int k() const { return shape.back(); }
  int n() const { return shape.size() < 2 ? 1 : shape[shape.size() - 2]; }
  int n_matrices() const { return shape.size() < 3 ? 1 : shape[shape.size() - 3]; }
  TensorId id() const { return file == nullptr ? TensorId{this, 0} : TensorId{file.get(), offset}; }
};

std::ostream& operator<<(std::ostream& out, const Weight& weight);  // 'blk.0.attn_q' (576, 576)

// What an op needs of a weight; a weight that several ops use is loaded once for each distinct
// need.
enum class WeightUse : uint8_t {
  kPacked,  // groups of rows, for matmul
  kFloats,  // plain float32, all of it: norms, biases, frequencies
  kTable,   // single rows, decoded when asked for: embeddings
};

// The kernels that multiply a packed weight.
inline const WeightKernels& kernels_for(const KernelTable& kernels, QuantType type, bool exact) {
  return (exact ? kernels.exact : kernels.weight)[static_cast<int>(type)];
}
inline const WeightKernels& kernels_for(const KernelTable& kernels, const Weight& weight) {
  return kernels_for(kernels, weight.type, weight.exact);
}

// A weight as steps read it, valid as long as its plan.
struct LoadedWeight {
  LoadedWeight() = default;
  // All but its data. Throws kUnsupportedModel if the kernels can't multiply a packed one.
  LoadedWeight(const Weight& weight, WeightUse use, const KernelTable& kernels);

  WeightUse use = WeightUse::kFloats;
  QuantType type = QuantType::f32;
  int n = 0, k = 0, n_matrices = 1;

  const float* floats = nullptr;  // kFloats: n_matrices * n * k values

  const uint8_t* packed = nullptr;  // kPacked, and kTable if the weight is packed anyway
  const WeightKernels* kernels = nullptr;
  int group_rows = 0;       // rows packed together
  size_t group_bytes = 0;   // of one group
  size_t matrix_bytes = 0;  // of one of the n_matrices

  // kTable: rows come from the packed groups, the file or the constant, the first that there is.
  std::shared_ptr<const File> file;
  uint64_t offset = 0;
  const float* constant = nullptr;

  size_t n_bytes() const;  // of all its matrices, as they lie in memory; of one row of a table
  void place(const std::byte* data);  // where they will lie, 64-byte aligned; not of a table

  // kPacked: where in its bytes the group lies that a row begins.
  size_t group_offset(int matrix, int row) const;
  // kPacked: packs rows as the file has them, whole groups but for the last one's end, into `to`,
  // the bytes of all matrices.
  void pack(const uint8_t* file_rows, int matrix, Range rows, std::byte* to) const;

  // kTable: decodes one row into k floats. `scratch` holds table_scratch_bytes(). Throws kIo.
  void read_row(int row, std::span<std::byte> scratch, float* out) const;
  size_t table_scratch_bytes() const;
  void check_unchanged() const;  // throws kIo if rows come from a file that is not what it was
};

}  // namespace edgelm
