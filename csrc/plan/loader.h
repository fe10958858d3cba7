#pragma once

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "core/thread_pool.h"
#include "plan/graph.h"
#include "plan/lowering.h"
#include "plan/run_state.h"

namespace edgelm {

// The weights of a plan, read from their files and packed for one ISA's kernels.
class WeightStore {
 public:
  // Reads and packs what the steps use, in parallel, in pieces of a few MiB. Throws kIo,
  // kUnsupportedModel if the kernels lack a type, kMemory, and what `poll` throws.
  WeightStore(const Lowering& lowering, int n_threads, const Poll& poll);

  ~WeightStore();

  const LoadedWeight& get(const Weight& weight, WeightUse use) const;
  size_t n_bytes() const { return memory_.size(); }

 private:
  // A weight is one tensor of a file, or one constant.
  using Key = std::pair<const void*, uint64_t>;
  struct Entry;
  struct Piece;
  static void announce(const Piece& piece);
  void load(const Piece& piece, std::vector<std::byte>& buffer) const;

  const KernelTable& kernels_;
  std::map<std::pair<Key, WeightUse>, std::unique_ptr<Entry>> entries_;
  Memory memory_;
};

}  // namespace edgelm
