#include <algorithm>
#include <string>

#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(R, D): for each wanted row the mean, or the first, of x(T, D) over the batch's tokens of its
// sequence. An encoder's batch holds whole sequences, and wants one row of each.
class Pool final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    const Shape& x = args.floats(0);
    check(x.axis == Axis::kTokens, "x ", x, " has only the wanted rows");
    const std::string kind = args.attrs.string("kind", "");
    check(kind == "mean" || kind == "first", "kind is '", kind,
          "', expected mean or first (for the last, use rows)");
    mean_ = kind == "mean";
    return {ValueKind::kFloats, {Axis::kRows, x.widths}};
  }

  Partition partition(Regime) const override { return {Split::kTokens}; }
  Access reads(int, Regime) const override { return Access::kAll; }

  void run(const StepContext& c) const override {
    const auto sequence = c.batch.sequence;
    const Range rows = c.rows;
    for (int r = rows.begin; r < rows.end; ++r) {
      const int32_t wanted = sequence[static_cast<size_t>(c.batch.wanted[static_cast<size_t>(r)])];
      const auto begin = std::find(sequence.begin(), sequence.end(), wanted);
      const auto end = std::find_if(begin, sequence.end(), [&](int32_t s) { return s != wanted; });
      const int first = static_cast<int>(begin - sequence.begin());
      const int n = static_cast<int>(end - begin);
      float* out = c.out[r];
      std::copy_n(c.in[0][first], c.row_width, out);
      if (!mean_) continue;
      for (int t = first + 1; t < first + n; ++t) c.kernels.add(out, c.in[0][t], c.row_width, out);
      c.kernels.scale(out, 1 / static_cast<float>(n), c.row_width, out);
    }
  }

 private:
  bool mean_ = true;
};

}  // namespace

EDGELM_OP(pool, Pool)

}  // namespace edgelm
