#pragma once

#include "plan/batch.h"

namespace edgelm {

class KvCache {
 public:
  // Before a run: checks that the batch is grouped by sequence and that its positions continue each
  // one (kArgument), and commits the pages that it needs (kCacheFull). Lengths stay as they are.
  void reserve(const Batch& batch);
  // After a successful run: the batch's tokens belong to their sequences.
  void commit(const Batch& batch);
};

}  // namespace edgelm
