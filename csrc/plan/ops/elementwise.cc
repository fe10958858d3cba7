// add, mul, scale, softcap, activation, gated: each float of the result from the same float of the
// inputs.
#include <algorithm>

#include "core/error.h"
#include "plan/glu.h"
#include "plan/op.h"

namespace edgelm {
namespace {

class Elementwise : public Op {
 public:
  Partition partition(Regime regime) const final {
    return {regime == Regime::kSmall ? Split::kColumns : Split::kTokens};
  }

  void run(const StepContext& c) const final {
    const Range rows = c.rows, columns = c.columns;
    for (int t = rows.begin; t < rows.end; ++t) row(c, t, columns.begin, columns.size());
  }

 protected:
  // Floats [i, i + n) of row t.
  virtual void row(const StepContext& c, int t, int i, int n) const = 0;

  static ValueType like(const Shape& x) { return {ValueKind::kFloats, x}; }
};

// a + b or a * b. b is a value of a's shape, a value (T, 1), or a weight of a's last axes: (D),
// (C) or (H, C).
class Pair : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) final {
    const Shape& a = args.floats(0);
    if (const Weight* weight = args.optional_weight(0)) {
      args.expect(1, 1);
      const auto n_axes = static_cast<std::ptrdiff_t>(weight->shape.size());
      check(weight->shape.size() <= a.widths.size() &&
                std::equal(weight->shape.begin(), weight->shape.end(), a.widths.end() - n_axes),
            "weight ", *weight, " must match the last axes of ", a);
      width_ = weight->n_matrices() * weight->n() * weight->k();
      return like(a);
    }
    args.expect(2, 1);
    const Shape& b = args.floats(1);
    per_row_ = b == Shape{a.axis, {1}} && a != b;
    check(per_row_ || a == b, "the inputs have different shapes: ", a, " and ", b);
    return like(a);
  }

  Access reads(int input, Regime) const final {
    return input == 1 && per_row_ ? Access::kAll : Access::kOwnPart;
  }

 protected:
  virtual void pair(const KernelTable& kernels, const float* a, const float* b, int n,
                    float* out) const = 0;
  virtual void pair(const KernelTable& kernels, const float* a, float b, int n,
                    float* out) const = 0;

 private:
  void row(const StepContext& c, int t, int i, int n) const final {
    const float* a = c.in[0][t] + i;
    float* out = c.out[t] + i;
    if (width_ > 0) {
      // The weight starts anew at every head.
      for (int done = 0; done < n;) {
        const int column = (i + done) % width_;
        const int size = std::min(width_ - column, n - done);
        pair(c.kernels, a + done, c.weights[0]->floats + column, size, out + done);
        done += size;
      }
    } else if (per_row_) {
      pair(c.kernels, a, c.in[1][t][0], n, out);
    } else {
      pair(c.kernels, a, c.in[1][t] + i, n, out);
    }
  }

  bool per_row_ = false;
  int width_ = 0;  // of the weight; 0 if there is none
};

// out = a + b
class Add final : public Pair {
  void pair(const KernelTable& kernels, const float* a, const float* b, int n,
            float* out) const override {
    kernels.add(a, b, n, out);
  }
  void pair(const KernelTable&, const float* a, float b, int n, float* out) const override {
    for (int i = 0; i < n; ++i) out[i] = a[i] + b;
  }
};

// out = a * b
class Mul final : public Pair {
  void pair(const KernelTable& kernels, const float* a, const float* b, int n,
            float* out) const override {
    kernels.mul(a, b, n, out);
  }
  void pair(const KernelTable& kernels, const float* a, float b, int n, float* out) const override {
    kernels.scale(a, b, n, out);
  }
};

// out = x * factor
class Scale final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    factor_ = args.attrs.number("factor");
    return like(args.floats(0));
  }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.scale(c.in[0][t] + i, factor_, n, c.out[t] + i);
  }
  float factor_ = 1;
};

// out = cap * tanh(x / cap)
class Softcap final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    cap_ = args.attrs.number("cap");
    check(cap_ > 0, "cap is ", cap_, ", expected more than 0");
    return like(args.floats(0));
  }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.softcap(c.in[0][t] + i, cap_, n, c.out[t] + i);
  }
  float cap_ = 1;
};

// out = kind(x)
class Activation final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    kind_ = args.attrs.glu_kind("kind");
    return like(args.floats(0));
  }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.activation(kind_, c.in[0][t] + i, n, c.out[t] + i);
  }
  GluKind kind_ = GluKind::kSilu;
};

// out = kind(gate) * up, or another of Glu's
class Gated final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(2, 0);
    const Shape &gate = args.floats(0), &up = args.floats(1);
    check(gate == up, "gate ", gate, " and up ", up, " have different shapes");
    glu_ = Glu(args.attrs);
    return like(gate);
  }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    glu_.run(c.kernels, c.in[0][t] + i, c.in[1][t] + i, n, c.out[t] + i);
  }

  Glu glu_;
};

}  // namespace

EDGELM_OP(add, Add)
EDGELM_OP(mul, Mul)
EDGELM_OP(scale, Scale)
EDGELM_OP(softcap, Softcap)
EDGELM_OP(activation, Activation)
EDGELM_OP(gated, Gated)

}  // namespace edgelm
