#pragma once

#include <map>
#include <utility>

#include "core/arena.h"
#include "plan/lowering.h"
#include "plan/run_state.h"
#include "plan/weights.h"

namespace edgelm {

// The weights of a plan: each is loaded once for each use that steps have of it.
class WeightStore {
 public:
  // Throws kIo, kUnsupportedModel if the kernels lack a type, kMemory, and what `poll` throws.
  WeightStore(const Lowering& lowering, int n_threads, const Poll& poll);

  const LoadedWeight& get(const Weight& weight, WeightUse use) const;
  size_t n_bytes() const { return memory_.size(); }

 private:
  struct Entry {
    const Weight* weight;
    LoadedWeight loaded;
  };
  void share_packed_rows();

  std::map<std::pair<TensorId, WeightUse>, Entry> entries_;  // in the order of their files
  Memory memory_;
};

}  // namespace edgelm
