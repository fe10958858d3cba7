#include "plan/op.h"

#include <algorithm>

#include "core/error.h"
#include "plan/lowering.h"
#include "plan/run_state.h"

namespace edgelm {

#define X(name) std::unique_ptr<Op> make_##name();
#include "plan/ops.def"
#undef X

std::unique_ptr<Op> make_op(std::string_view name) {
  std::unique_ptr<Op> op;
#define X(op_name) \
  if (name == #op_name) op = make_##op_name();
#include "plan/ops.def"
#undef X
  if (op == nullptr) {
    fail(ErrorKind::kArgument, "there is no op '", name, "'; the ops are"
#define X(op_name) , " " #op_name
#include "plan/ops.def"
#undef X
    );
  }
  op->name_ = name;
  return op;
}

const Input& OpArgs::input(size_t i) const {
  check(i < inputs.size(), "input ", i, " is missing: got ", inputs.size());
  return inputs[i];
}

const Shape& OpArgs::floats(size_t i) const {
  const Input& value = input(i);
  check(value.type.kind == ValueKind::kFloats, "input ", i, " must hold floats, got ",
        value.type.kind == ValueKind::kIds ? "token ids or positions" : "a KV handle");
  return value.type.shape;
}

const Weight* OpArgs::optional_weight(size_t i) const {
  return i < weights.size() ? weights[i] : nullptr;
}

const Weight& OpArgs::weight(size_t i) const {
  const Weight* found = optional_weight(i);
  check(found != nullptr, "weight ", i, " is missing");
  return *found;
}

StateSpec OpArgs::state(size_t i) const {
  const Op* made_by = input(i).op;
  const auto state = made_by == nullptr ? std::nullopt : made_by->state();
  check(state.has_value(), "input ", i, " must be the result of an op that keeps a state, as kv");
  return *state;
}

void OpArgs::expect_positions(size_t i) const {
  check(input(i).name == "positions", "input ", i, " must be the graph's positions");
}

void OpArgs::expect(size_t n_inputs, size_t max_weights) const {
  check(inputs.size() == n_inputs, "got ", inputs.size(), " inputs, expected ", n_inputs);
  check(weights.size() <= max_weights, "got ", weights.size(), " weights, expected at most ",
        max_weights);
}

const LoadedWeight* StepContext::optional_weight(size_t i) const {
  return i < weights.size() ? weights[i] : nullptr;
}

Range StepContext::next(int n, int least, int most) const {
  if (stopped()) return {};
  const Range units = take(taken, n, least, most, turn);
  turn.done += cost * units.size() / std::max(1, n);
  return units;
}

int StepContext::next_chunk(int n) const {
  const Range unit = next(n, 1, 1);
  return unit.size() > 0 ? unit.begin : -1;
}

bool StepContext::stopped() const { return run.stopped(turn.thread); }

int n_units(const Partition& partition, int row_width) {
  return (row_width + partition.unit - 1) / partition.unit;
}

double Op::bytes(std::span<const LoadedWeight* const> weights, int) const {
  double sum = 0;
  for (const LoadedWeight* weight : weights) {
    if (weight != nullptr) sum += static_cast<double>(weight->n_bytes());
  }
  return sum;
}

void Op::lower(Lowering& lowering) const { lowering.emit(lowering.node().inputs); }

}  // namespace edgelm
