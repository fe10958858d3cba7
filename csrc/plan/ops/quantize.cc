#include <algorithm>
#include <string>

#include "plan/lowering.h"
#include "plan/op.h"

namespace edgelm {
namespace {

constexpr const char* kFormatNames[kActFormatCount] = {"f32", "i8x32", "i8x16", "i16x32"};

// The rows of x as the kernels of some weight types read them.
class Quantize final : public DerivedOp {
 public:
  Quantize(ActFormat format, int k) : DerivedOp("quantize"), format_(format), k_(k) {}

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kReplicated : Split::kTokens};
  }

  void run(const StepContext& c) const override {
    const Range rows = c.rows;
    for (int t = rows.begin; t < rows.end; ++t) {
      c.kernels.quantize(format_, c.in[0][t], k_, reinterpret_cast<uint8_t*>(c.out.bytes(t)));
    }
  }

  std::string kernel(std::span<const LoadedWeight* const>, Regime) const override {
    return std::string("quantize-") + kFormatNames[static_cast<int>(format_)];
  }

 private:
  ActFormat format_;
  int k_;
};

// out = x
class Copy final : public DerivedOp {
 public:
  Copy() : DerivedOp("copy") {}
  Partition partition(Regime) const override { return {Split::kTokens}; }
  void run(const StepContext& c) const override {
    const Range rows = c.rows;
    for (int t = rows.begin; t < rows.end; ++t) {
      std::copy_n(c.in[0][t], c.row_width, c.out[t]);
    }
  }
};

}  // namespace

int Lowering::quantized(int value, ActFormat format) {
  const int k = type(value).shape.row_width();
  const std::string key =
      "quantize " + std::to_string(static_cast<int>(format)) + " " + std::to_string(value);
  ValueType rows{ValueKind::kBytes, {type(value).shape.axis, {k}}, -1};
  return derive(key, std::make_shared<Quantize>(format, k), rows, kernels_.act_bytes(format, k),
                {value}, {});
}

int Lowering::copied(int value) {
  ValueType rows = type(value);
  rows.view_offset = -1;
  const size_t row_bytes = values_[static_cast<size_t>(value)].row_bytes;
  return derive("copy " + std::to_string(values_.size()), std::make_shared<Copy>(), rows, row_bytes,
                {value}, {});
}

}  // namespace edgelm
