#include <cmath>
#include <string>

#include "core/error.h"
#include "plan/lowering.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// out(T, 2, N) = mscale * {cos, sin}(position(T, P) @ inv_freq(P, N)): one table for every rope
// that has the same frequencies.
class RopeTable final : public DerivedOp {
 public:
  RopeTable(float mscale, Axis axis) : DerivedOp("rope_table"), mscale_(mscale), axis_(axis) {}

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kReplicated : Split::kTokens};
  }

  void check_batch(const Batch& batch,
                   std::span<const LoadedWeight* const> weights) const override {
    const int n = batch.n_positions();
    check(n == 1 || n == weights[0]->n, "got positions of ", n,
          " numbers a token; the model's rope takes ", weights[0]->n);
  }

  void run(const StepContext& c) const override {
    const LoadedWeight& inv_freq = *c.weights[0];
    const int n_pairs = inv_freq.k, n_positions = c.batch.n_positions();
    const Range rows = c.rows;
    for (int t = rows.begin; t < rows.end; ++t) {
      const int token = axis_ == Axis::kRows ? c.batch.wanted[static_cast<size_t>(t)] : t;
      const int32_t* position = &c.batch.position[static_cast<size_t>(token * n_positions)];
      float* out = c.out[t];
      for (int i = 0; i < n_pairs; ++i) {
        double angle = 0;
        for (int p = 0; p < inv_freq.n; ++p) {
          const double at = position[n_positions == 1 ? 0 : p];
          angle += at * static_cast<double>(inv_freq.floats[p * n_pairs + i]);
        }
        out[i] = static_cast<float>(std::cos(angle)) * mscale_;
        out[n_pairs + i] = static_cast<float>(std::sin(angle)) * mscale_;
      }
    }
  }

 private:
  float mscale_;
  Axis axis_;
};

// Rotates the first 2 * N values of each head of x(T, H, C) by position(T, P) @ inv_freq(P, N). A
// position of one number stands for P equal ones.
class Rope final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(2, 1);
    args.expect_positions(1);
    const Shape& x = args.floats(0);
    const Weight& inv_freq = args.weight(0);
    check(x.widths.size() == 2, "x must have the shape (T, H, C), got ", x);
    head_width_ = x.last();
    check(inv_freq.shape.size() <= 2 && 2 * int64_t{inv_freq.k()} <= head_width_, "inv_freq ",
          inv_freq, " must hold at most ", head_width_ / 2, " frequencies, half the head width, ",
          "for each number of a position");
    mscale_ = args.attrs.number("mscale", 1);
    interleaved_ = args.attrs.boolean("interleaved", false);
    axis_ = x.axis;
    return {ValueKind::kFloats, x};
  }

  void lower(Lowering& lowering) const override {
    const auto& inv_freq = lowering.node().weights[0];
    const int width = 2 * inv_freq->k();
    std::ostringstream key;
    key << "rope " << inv_freq.get() << " " << std::hexfloat << mscale_ << " "
        << static_cast<int>(axis_);
    const int table = lowering.derive(key.str(), std::make_shared<RopeTable>(mscale_, axis_),
                                      {ValueKind::kFloats, {axis_, {width}}, -1},
                                      static_cast<size_t>(width) * sizeof(float),
                                      {lowering.node().inputs[1]}, {inv_freq});
    lowering.emit({lowering.node().inputs[0], table});
  }

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kColumns : Split::kTokens, head_width_};
  }

  void run(const StepContext& c) const override {
    const int n_pairs = c.weights[0]->k;
    const Range rows = c.rows, columns = c.columns;
    for (int t = rows.begin; t < rows.end; ++t) {
      for (int i = columns.begin; i < columns.end; i += head_width_) {
        c.kernels.rope(c.in[0][t] + i, c.in[1][t], n_pairs, head_width_, interleaved_,
                       c.out[t] + i);
      }
    }
  }

 private:
  int head_width_ = 0;
  float mscale_ = 1;
  bool interleaved_ = false;
  Axis axis_ = Axis::kTokens;
};

}  // namespace

EDGELM_OP(rope, Rope)

}  // namespace edgelm
