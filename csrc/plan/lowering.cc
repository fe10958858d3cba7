#include "plan/lowering.h"

#include <algorithm>
#include <utility>

namespace edgelm {

Lowering::Lowering(const Graph& graph, const KernelTable& kernels) : kernels_(kernels) {
  for (int value = 0; value < graph.n_values(); ++value) {
    const ValueType& type = graph.type(value);
    const bool floats = type.kind == ValueKind::kFloats;
    const size_t width = floats ? static_cast<size_t>(type.shape.row_width()) : 0;
    values_.push_back({type, value, 0, width * sizeof(float)});
  }
  for (const Node& node : graph.nodes()) {
    node_ = &node;
    LoweredValue& result = values_[static_cast<size_t>(node.result)];
    if (result.type.view_offset < 0) {
      node.op->lower(*this);
      continue;
    }
    const LoweredValue& base = values_[static_cast<size_t>(node.inputs[0])];
    result.storage = base.storage;
    result.offset_bytes =
        base.offset_bytes + static_cast<size_t>(result.type.view_offset) * sizeof(float);
  }
  for (const Graph::Output& output : graph.outputs()) {
    const int value = output.value;
    const bool taken = std::find(outputs_.begin(), outputs_.end(), value) != outputs_.end();
    const bool view = values_[static_cast<size_t>(value)].storage != value;
    const bool in_place =
        !taken && !view &&
        graph.producer(value)->partition(Regime::kSmall).split != Split::kReplicated;
    outputs_.push_back(in_place ? value : copied(value));
  }
}

void Lowering::emit(std::vector<int> inputs) {
  steps_.push_back({node_->op, std::move(inputs), node_->weights, node_->result});
}

int Lowering::derive(const std::string& key, std::shared_ptr<const Op> op, ValueType type,
                     size_t row_bytes, std::vector<int> inputs,
                     std::vector<std::shared_ptr<const Weight>> weights) {
  const auto found = derived_.find(key);
  if (found != derived_.end()) return found->second;
  const int value = static_cast<int>(values_.size());
  values_.push_back({std::move(type), value, 0, row_bytes});
  steps_.push_back({std::move(op), std::move(inputs), std::move(weights), value});
  derived_.emplace(key, value);
  return value;
}

}  // namespace edgelm
