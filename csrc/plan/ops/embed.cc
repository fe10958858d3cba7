#include <algorithm>

#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(T, D) = table(V, D)[index(T)], the index being the batch's tokens or positions; for tokens of
// id -1 the rows of embeddings that the batch has
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
    const LoadedWeight& table = *weights[0];
    table.check_unchanged();
    check(!by_position_ || batch.n_positions() == 1, "got positions of ", batch.n_positions(),
          " numbers a token; the model's table takes 1");
    const bool given = !by_position_ && batch.embedding_width > 0;
    check(!given || batch.embedding_width == table.k, "embeddings have ", batch.embedding_width,
          " values a row, expected ", table.k);
    const auto ids = by_position_ ? batch.position : batch.token;
    for (size_t i = 0; i < ids.size(); ++i) {
      const bool known = ids[i] >= 0 && ids[i] < table.n;
      check(known || (given && ids[i] == -1), by_position_ ? "position " : "token id ", ids[i],
            " at index ", i, " of the batch is out of range: the model has ", table.n,
            by_position_ ? " positions" : " tokens");
    }
  }

  void run(const StepContext& c) const override {
    const auto ids = by_position_ ? c.batch.position : c.batch.token;
    const auto before = ids.first(static_cast<size_t>(c.rows.begin));
    auto given = std::count(before.begin(), before.end(), -1);  // rows of embeddings
    for (int t = c.rows.begin; t < c.rows.end; ++t) {
      const int32_t id = ids[static_cast<size_t>(t)];
      if (id >= 0) {
        c.weights[0]->read_row(id, c.thread_memory, c.out[t]);
      } else {
        std::copy_n(&c.batch.embeddings[static_cast<size_t>(given++ * c.row_width)], c.row_width,
                    c.out[t]);
      }
    }
  }

 private:
  bool by_position_ = false;
};

}  // namespace

EDGELM_OP(embed, Embed)

}  // namespace edgelm
