#include "plan/graph.h"

#include "core/error.h"

namespace edgelm {

int Graph::input(std::string_view name) {
  check(name == "tokens" || name == "positions",
        "a graph has the inputs tokens and positions, not '", name, "'");
  ValueType type{ValueKind::kIds, Shape{Axis::kTokens, {}}, -1};
  values_.push_back({type, nullptr, std::string(name)});
  return n_values() - 1;
}

int Graph::add(std::string_view op_name, std::vector<int> inputs,
               std::vector<std::shared_ptr<const Weight>> weights, const Attrs& attrs) {
  std::vector<Input> input_types;
  for (const int value : inputs) {
    check(value >= 0 && value < n_values(), op_name, ": no value ", value, " in this graph");
    input_types.push_back(values_[static_cast<size_t>(value)]);
  }
  std::vector<const Weight*> weight_pointers;
  for (const auto& weight : weights) weight_pointers.push_back(weight.get());

  std::shared_ptr<Op> op = make_op(op_name);
  ValueType type;
  try {
    type = op->infer({input_types, weight_pointers, attrs});
    attrs.finish();
  } catch (const Error& error) {
    throw Error(error.kind(), std::string(op_name) + ": " + error.what());
  }
  values_.push_back({type, op.get()});
  nodes_.push_back({std::move(op), std::move(inputs), std::move(weights), n_values() - 1});
  return n_values() - 1;
}

std::vector<StateSpec> Graph::states() const {
  std::vector<StateSpec> states;
  for (const Node& node : nodes_) {
    if (const auto state = node.op->state()) states.push_back(*state);
  }
  return states;
}

void Graph::output(std::string_view name, int value) {
  check(value >= 0 && value < n_values(), "output '", name, "': no value ", value,
        " in this graph");
  const ValueType& result = type(value);
  check(result.kind == ValueKind::kFloats, "output '", name, "' must hold floats");
  for (const Output& other : outputs_) {
    check(other.name != name, "there are two outputs named '", name, "'");
  }
  outputs_.push_back({std::string(name), value});
}

}  // namespace edgelm
