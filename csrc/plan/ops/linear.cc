#include <algorithm>
#include <string>

#include "core/error.h"
#include "plan/lowering.h"
#include "plan/matmul.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// Groups of columns between two looks at the cancel flag.
constexpr int kGroupsAtOnce = 64;
constexpr int kMostAtOnce = 8;      // of many tokens
constexpr double kChunkMacs = 2e6;  // that pay for a chunk's start: 20 us or so

// out(T, N) = x(T, K) * w(N, K)^T + bias(N)
class Linear final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 2);
    const Shape& x = args.floats(0);
    const Weight& w = args.weight(0);
    check(w.shape.size() <= 2, "weight ", w, " must have the shape (N, K), or (K) for one row");
    check(w.k() == x.row_width(), "the rows of weight ", w, " have ", w.k(), " values, those of x ",
          x, " have ", x.row_width());
    const Weight* bias = args.optional_weight(1);
    if (bias != nullptr) {
      check(bias->shape == std::vector<int>{w.n()}, "bias ", *bias, " must have the shape (", w.n(),
            ")");
    }
    return {ValueKind::kFloats, {x.axis, {w.n()}}};
  }

  WeightUse weight_use(int weight) const override {
    return weight == 0 ? WeightUse::kPacked : WeightUse::kFloats;
  }

  void lower(Lowering& lowering) const override {
    const ActFormat format = kernels_for(lowering.kernels(), *lowering.node().weights[0]).act;
    lowering.emit({lowering.quantized(lowering.node().inputs[0], format)});
  }

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kColumns : Split::kDynamic};
  }
  Access reads(int, Regime) const override { return Access::kAll; }
  StepMemory memory(const StepSize&) const override { return {0, kMatmulScratchBytes}; }

  void run(const StepContext& c) const override {
    const int rows = c.kernels.group_rows;
    if (c.regime == Regime::kSmall) {
      const int most = kGroupsAtOnce * rows;
      for (int begin = c.columns.begin; begin < c.columns.end && !c.stopped(); begin += most) {
        multiply(c, {begin, std::min(begin + most, c.columns.end)});
      }
      return;
    }
    const int n_groups = (c.row_width + rows - 1) / rows;
    const double group_macs = macs(c.weights, c.n_rows) / n_groups;
    const int least = std::clamp(static_cast<int>(kChunkMacs / group_macs), 1, kMostAtOnce);
    Range groups = c.next(n_groups, least, kMostAtOnce);
    for (; groups.size() > 0; groups = c.next(n_groups, least, kMostAtOnce)) {
      multiply(c, {groups.begin * rows, std::min(groups.end * rows, c.row_width)});
    }
  }

  std::string kernel(std::span<const LoadedWeight* const> weights, Regime regime) const override {
    return std::string(regime == Regime::kSmall ? "matvec-" : "matmul-") +
           info(weights[0]->type).name;
  }
  double macs(std::span<const LoadedWeight* const> weights, int n_rows) const override {
    return static_cast<double>(weights[0]->n) * weights[0]->k * n_rows;
  }

 private:
  static void multiply(const StepContext& c, Range columns) {
    const Matmul matmul{c.kernels, *c.weights[0], c.optional_weight(1), c.thread_memory.data()};
    matmul.run(0, columns, c.in[0], c.n_rows, c.out.from(0, columns.begin));
  }
};

}  // namespace

EDGELM_OP(linear, Linear)

}  // namespace edgelm
