#pragma once

#include <cstddef>
#include <span>

#include "plan/run_state.h"
#include "plan/weights.h"

namespace edgelm {

// One weight to read, and the memory that its floats or packed groups go to.
struct WeightLoad {
  const Weight* weight;
  const LoadedWeight* loaded;
  std::byte* to;
};

// Reads and packs in parallel, in pieces of a few MiB. Throws kIo, and what `poll` throws.
void load_weights(std::span<const WeightLoad> loads, int n_threads, const Poll& poll);

}  // namespace edgelm
