#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(T, D) = table(V, D)[index(T)], the index being the batch's tokens or positions
class Embed final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 1);
    const Input& index = args.input(0);
    check(index.type.kind == ValueKind::kIds, "input 0 must be the graph's tokens or positions");
    const Weight& table = args.weight(0);
    check(table.shape.size() == 2, "table ", table, " must have the shape (V, D)");
    by_position_ = index.name == "positions";
    return {ValueKind::kFloats, {Axis::kTokens, {table.k()}}};
  }

  WeightUse weight_use(int) const override { return WeightUse::kTable; }
  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kReplicated : Split::kTokens};
  }
  Access reads(int, Regime) const override { return Access::kAll; }
  StepMemory memory(const StepSize& size) const override {
    return {0, size.weights[0]->table_scratch_bytes()};
  }

  double bytes(std::span<const LoadedWeight* const> weights, int n_rows) const override {
    return static_cast<double>(n_rows) * static_cast<double>(weights[0]->n_bytes());
  }

  void check_batch(const Batch& batch,
                   std::span<const LoadedWeight* const> weights) const override {
    const auto ids = by_position_ ? batch.position : batch.token;
    const int n = weights[0]->n;
    weights[0]->check_unchanged();
    for (size_t i = 0; i < ids.size(); ++i) {
      check(ids[i] >= 0 && ids[i] < n, by_position_ ? "position " : "token id ", ids[i],
            " at index ", i, " of the batch is out of range: the model has ", n,
            by_position_ ? " positions" : " tokens");
    }
  }

  void run(const StepContext& c) const override {
    const auto ids = by_position_ ? c.batch.position : c.batch.token;
    const Range rows = c.rows;
    for (int t = rows.begin; t < rows.end; ++t) {
      c.weights[0]->read_row(ids[static_cast<size_t>(t)], c.thread_memory, c.out[t]);
    }
  }

 private:
  bool by_position_ = false;
};

}  // namespace

EDGELM_OP(embed, Embed)

}  // namespace edgelm
