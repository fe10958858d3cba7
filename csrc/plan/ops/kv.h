#pragma once

#include <vector>

#include "plan/graph.h"
#include "plan/kv_cache.h"
#include "plan/op.h"

namespace edgelm {

// Appends k and v (T, G, C) to the cache of their sequences; the result is a handle to that layer.
class Kv final : public Op {
 public:
  ValueType infer(const OpArgs& args) override;
  Partition partition(Regime regime) const override;
  void run(const StepContext& c) const override;

  const KvLayer& layer() const { return layer_; }

 private:
  KvLayer layer_{};
};

// The layers of all kv ops of a graph, in their order.
std::vector<KvLayer> kv_layers(const Graph& graph);

}  // namespace edgelm
