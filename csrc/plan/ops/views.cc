// heads, slice: another shape or a part of the same rows; no step, no copy.
#include <climits>

#include "core/error.h"
#include "plan/op.h"

namespace edgelm {
namespace {

class View : public Op {
 public:
  Partition partition(Regime) const final { return {}; }
  void run(const StepContext&) const final {}
};

// (T, N) as (T, N / C, C)
class Heads final : public View {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    const Shape& x = args.floats(0);
    const int width = args.attrs.integer("width", 1, INT_MAX);
    check(x.row_width() % width == 0, "the width of x ", x, " is no multiple of the head width ",
          width);
    return {ValueKind::kFloats, {x.axis, {x.row_width() / width, width}}, 0};
  }
};

// Columns [start, start + width) of (T, N)
class Slice final : public View {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(1, 0);
    const Shape& x = args.floats(0);
    check(x.widths.size() == 1, "x must have the shape (T, N), got ", x);
    const int start = args.attrs.integer("start", 0, x.last() - 1);
    const int width = args.attrs.integer("width", 1, x.last() - start);
    return {ValueKind::kFloats, {x.axis, {width}}, start};
  }
};

}  // namespace

EDGELM_OP(heads, Heads)
EDGELM_OP(slice, Slice)

}  // namespace edgelm
