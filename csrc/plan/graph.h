#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/attrs.h"
#include "plan/op.h"
#include "plan/weights.h"

namespace edgelm {

// One op as it was added. Values are numbered: the graph's inputs, then each node's only result.
struct Node {
  std::shared_ptr<const Op> op;
  std::vector<int> inputs;                             // value ids
  std::vector<std::shared_ptr<const Weight>> weights;  // null where absent
  int result;                                          // value id
};

// Ops in the order in which they were added; shapes are checked by add().
class Graph {
 public:
  // "tokens", the batch's ids (T), or "positions", (T, P).
  int input(std::string_view name);
  // Appends an op of ops.def and returns the id of its result. Throws kArgument.
  int add(std::string_view op, std::vector<int> inputs,
          std::vector<std::shared_ptr<const Weight>> weights, const Attrs& attrs);
  // Names a result that a run returns: its R or T rows of floats, heads side by side.
  void output(std::string_view name, int value);

  const ValueType& type(int value) const { return values_[static_cast<size_t>(value)].type; }
  const Op* producer(int value) const { return values_[static_cast<size_t>(value)].op; }
  std::span<const Node> nodes() const { return nodes_; }
  std::vector<StateSpec> states() const;  // of its ops, in their order
  int n_values() const { return static_cast<int>(values_.size()); }

  struct Output {
    std::string name;
    int value;
  };
  std::span<const Output> outputs() const { return outputs_; }

 private:
  std::vector<Input> values_;
  std::vector<Node> nodes_;
  std::vector<Output> outputs_;
};

}  // namespace edgelm
