#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plan/graph.h"

namespace edgelm {

// One step: an op with the values it reads and makes. Value ids go on from the graph's.
struct LoweredStep {
  std::shared_ptr<const Op> op;
  std::vector<int> inputs;
  std::vector<std::shared_ptr<const Weight>> weights;
  int result;
};

// A lowered value: the graph's own, or one derived from it. Views point to what they view.
struct LoweredValue {
  ValueType type;
  int storage;          // the id of the value whose rows it lies in; itself unless it is a view
  size_t offset_bytes;  // into those rows
  size_t row_bytes;     // of its own row
};

// Turns a graph's nodes into steps, one node after the other.
class Lowering {
 public:
  Lowering(const Graph& graph, const KernelTable& kernels);

  const Node& node() const { return *node_; }
  const ValueType& type(int value) const { return values_[static_cast<size_t>(value)].type; }
  const KernelTable& kernels() const { return kernels_; }

  // Appends the step that makes the current node's result.
  void emit(std::vector<int> inputs);

  // The value that `op` makes of those inputs and weights; made once for each distinct key.
  int derive(const std::string& key, std::shared_ptr<const Op> op, ValueType type, size_t row_bytes,
             std::vector<int> inputs, std::vector<std::shared_ptr<const Weight>> weights);
  // The rows of `value` as a matmul wants them: one step for each distinct (value, format).
  int quantized(int value, ActFormat format);
  // A copy of `value`, made anew each time: an output that cannot be written in place.
  int copied(int value);

  // Of each output of the graph, the value that is written to the caller's rows.
  const std::vector<int>& outputs() const { return outputs_; }
  const std::vector<LoweredStep>& steps() const { return steps_; }
  const std::vector<LoweredValue>& values() const { return values_; }

 private:
  const KernelTable& kernels_;
  const Node* node_ = nullptr;
  std::vector<LoweredStep> steps_;
  std::vector<LoweredValue> values_;
  std::map<std::string, int> derived_;
  std::vector<int> outputs_;
};

}  // namespace edgelm
