#include <algorithm>

#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(R, ...) = x(T, ...)[wanted(R)]
class WantedRows final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    const Shape& x = args.floats(0);
    check(x.axis == Axis::kTokens, "x ", x, " has only the wanted rows already");
    return {ValueKind::kFloats, {Axis::kRows, x.widths}};
  }

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kReplicated : Split::kTokens};
  }
  Access reads(int, Regime) const override { return Access::kAll; }

  void run(const StepContext& c) const override {
    const Range rows = c.rows;
    for (int r = rows.begin; r < rows.end; ++r) {
      std::copy_n(c.in[0][c.batch.wanted[static_cast<size_t>(r)]], c.row_width, c.out[r]);
    }
  }
};

}  // namespace

EDGELM_OP(rows, WantedRows)

}  // namespace edgelm
