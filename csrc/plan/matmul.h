#pragma once

#include <cstddef>

#include "core/tensor.h"
#include "kernels/table.h"
#include "plan/weights.h"

namespace edgelm {

// out(T, N) = x(T, K) * w(N, K)^T + bias(N), for each of a weight's matrices: the one way from the
// plan to the matmul kernels.
struct Matmul {
  const KernelTable& kernels;
  const LoadedWeight& weight;
  const LoadedWeight* bias;  // null if there is none
  std::byte* scratch;        // kMatmulScratchBytes, 64-byte aligned
  MatmulForm form = MatmulForm::kAuto;

  // Writes some columns, whole groups but for the last one's end, from out[t][0] on. The rows of x
  // are in the weight's ActFormat.
  void run(int matrix, Range columns, Rows x, int n_tokens, Rows out) const;
};

}  // namespace edgelm
