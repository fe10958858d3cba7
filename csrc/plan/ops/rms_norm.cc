#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(T, D) = x(T, D) / sqrt(mean_D(x^2) + eps) * weight(D); over C if x is (T, H, C)
class RmsNorm final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 1);
    const Shape& x = args.floats(0);
    eps_ = args.attrs.number("eps");
    check(eps_ >= 0, "eps is ", eps_, ", expected 0 or more");
    width_ = x.last();
    per_head_ = x.widths.size() > 1;
    if (const Weight* weight = args.optional_weight(0)) {
      check(weight->shape == std::vector<int>{width_}, "weight ", *weight,
            " must match the last axis of x ", x);
    }
    return {ValueKind::kFloats, x};
  }

  Partition partition(Regime regime) const override {
    if (regime == Regime::kLarge) return {Split::kTokens};
    return per_head_ ? Partition{Split::kColumns, width_} : Partition{Split::kReplicated};
  }

  void run(const StepContext& c) const override {
    const float* weight = c.weights.empty() || !c.weights[0] ? nullptr : c.weights[0]->floats;
    const Range rows = c.rows(), columns = c.columns();
    for (int t = rows.begin; t < rows.end; ++t) {
      for (int i = columns.begin; i < columns.end; i += width_) {
        c.kernels.rms_norm(c.in[0][t] + i, weight, width_, eps_, c.out[t] + i);
      }
    }
  }

 private:
  float eps_ = 0;
  int width_ = 0;
  bool per_head_ = false;
};

}  // namespace

EDGELM_OP(rms_norm, RmsNorm)

}  // namespace edgelm
