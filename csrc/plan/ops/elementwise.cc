// add, mul, scale, softcap, activation, gated: each float of the result from the same float of the
// inputs.
#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

class Elementwise : public Op {
 public:
  Partition partition(Regime regime) const final {
    return {regime == Regime::kSmall ? Split::kColumns : Split::kTokens, kGroupRows};
  }

  void run(const StepContext& c) const final {
    const Range rows = c.rows(), columns = c.columns();
    for (int t = rows.begin; t < rows.end; ++t) row(c, t, columns.begin, columns.size());
  }

 protected:
  // Floats [i, i + n) of row t.
  virtual void row(const StepContext& c, int t, int i, int n) const = 0;

  static ValueType like(const Shape& x) { return {ValueKind::kFloats, x}; }

  static ValueType infer_pair(const OpArgs& args) {
    args.expect(2, 0);
    const Shape &a = args.floats(0), &b = args.floats(1);
    check(a == b, "the inputs have different shapes: ", a, " and ", b);
    return like(a);
  }
};

// out = a + b
class Add final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override { return infer_pair(args); }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.add(c.in[0][t] + i, c.in[1][t] + i, n, c.out[t] + i);
  }
};

// out = a * b
class Mul final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override { return infer_pair(args); }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.mul(c.in[0][t] + i, c.in[1][t] + i, n, c.out[t] + i);
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

// out = kind(gate) * up
class Gated final : public Elementwise {
 public:
  ValueType infer(const OpArgs& args) override {
    kind_ = args.attrs.glu_kind("kind");
    return infer_pair(args);
  }

 private:
  void row(const StepContext& c, int t, int i, int n) const override {
    c.kernels.gated(kind_, c.in[0][t] + i, c.in[1][t] + i, n, c.out[t] + i);
  }
  GluKind kind_ = GluKind::kSilu;
};

}  // namespace

EDGELM_OP(add, Add)
EDGELM_OP(mul, Mul)
EDGELM_OP(scale, Scale)
EDGELM_OP(softcap, Softcap)
EDGELM_OP(activation, Activation)
EDGELM_OP(gated, Gated)

}  // namespace edgelm
