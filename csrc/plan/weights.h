#pragma once

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/table.h"
#include "quant/quant.h"

namespace edgelm {

class File;

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
inline const WeightKernels& kernels_for(const KernelTable& kernels, const Weight& weight) {
  return (weight.exact ? kernels.exact : kernels.weight)[static_cast<int>(weight.type)];
}

// A weight as steps read it, valid as long as its plan.
struct LoadedWeight {
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

  // kTable: decodes one row into k floats. `scratch` holds table_scratch_bytes(). Throws kIo.
  void read_row(int row, std::span<std::byte> scratch, float* out) const;
  size_t table_scratch_bytes() const;
  void check_unchanged() const;  // throws kIo if rows come from a file that is not what it was
};

}  // namespace edgelm
