// rms_norm, layer_norm, l2_norm: over the last axis of (T, D), or of each head of (T, H, C).
#include <cmath>

#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

class Norm : public Op {
 public:
  ValueType infer(const OpArgs& args) final {
    args.expect(1, max_weights());
    const Shape& x = args.floats(0);
    width_ = x.last();
    per_head_ = x.widths.size() > 1;
    eps_ = needs_eps() ? args.attrs.number("eps") : args.attrs.number("eps", 0);
    check(eps_ >= 0, "eps is ", eps_, ", expected 0 or more");
    for (size_t i = 0; i < args.weights.size(); ++i) {
      const Weight* weight = args.weights[i];
      check(weight == nullptr || weight->shape == std::vector<int>{width_}, "weight ",
            weight == nullptr ? Weight{} : *weight, " must match the last axis of x ", x);
    }
    return {ValueKind::kFloats, x};
  }

  Partition partition(Regime regime) const final {
    if (regime == Regime::kLarge) return {Split::kTokens};
    return per_head_ ? Partition{Split::kColumns, width_} : Partition{Split::kReplicated};
  }

  void run(const StepContext& c) const final {
    const float* weight = floats(c, 0);
    const float* bias = floats(c, 1);
    const Range rows = c.rows, columns = c.columns;
    for (int t = rows.begin; t < rows.end; ++t) {
      for (int i = columns.begin; i < columns.end; i += width_) {
        normalize(c.kernels, c.in[0][t] + i, weight, bias, c.out[t] + i);
      }
    }
  }

 protected:
  virtual size_t max_weights() const = 0;
  virtual bool needs_eps() const { return true; }
  virtual void normalize(const KernelTable& kernels, const float* x, const float* weight,
                         const float* bias, float* out) const = 0;

  float eps_ = 0;
  int width_ = 0;

 private:
  static const float* floats(const StepContext& c, size_t i) {
    return i < c.weights.size() && c.weights[i] != nullptr ? c.weights[i]->floats : nullptr;
  }

  bool per_head_ = false;
};

// out = x / sqrt(mean(x^2) + eps) * weight
class RmsNorm final : public Norm {
  size_t max_weights() const override { return 1; }
  void normalize(const KernelTable& kernels, const float* x, const float* weight, const float*,
                 float* out) const override {
    kernels.rms_norm(x, weight, width_, eps_, out);
  }
};

// out = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias
class LayerNorm final : public Norm {
  size_t max_weights() const override { return 2; }
  void normalize(const KernelTable& kernels, const float* x, const float* weight, const float* bias,
                 float* out) const override {
    kernels.layer_norm(x, weight, bias, width_, eps_, out);
  }
};

// out = x / sqrt(sum(x^2) + eps), that is rms_norm with eps / D, divided by sqrt(D)
class L2Norm final : public Norm {
  size_t max_weights() const override { return 0; }
  bool needs_eps() const override { return false; }
  void normalize(const KernelTable& kernels, const float* x, const float*, const float*,
                 float* out) const override {
    const auto d = static_cast<float>(width_);
    kernels.rms_norm(x, nullptr, width_, eps_ / d, out);
    kernels.scale(out, 1 / std::sqrt(d), width_, out);
  }
};

}  // namespace

EDGELM_OP(rms_norm, RmsNorm)
EDGELM_OP(layer_norm, LayerNorm)
EDGELM_OP(l2_norm, L2Norm)

}  // namespace edgelm
