#pragma once

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "kernels/table.h"
#include "plan/attrs.h"

namespace edgelm {

// The GLU family: kind(gate) * (up + offset). A limit caps gate at +limit and keeps up within
// +-limit first; 0 is none.
class Glu {
 public:
  Glu() = default;
  explicit Glu(const Attrs& attrs)
      : kind_(attrs.glu_kind("kind")),
        limit_(attrs.number("limit", 0)),
        offset_(attrs.number("offset", 0)) {
    check(limit_ >= 0, "limit is ", limit_, ", expected 0 for none, or more");
  }

  // n floats; out may be gate.
  void run(const KernelTable& kernels, const float* gate, const float* up, int n,
           float* out) const {
    if (limit_ == 0 && offset_ == 0) return kernels.gated(kind_, gate, up, n, out);
    const float limit = limit_ > 0 ? limit_ : std::numeric_limits<float>::infinity();
    constexpr int kPiece = 256;
    float g[kPiece], u[kPiece];
    for (int done = 0; done < n; done += kPiece) {
      const int size = std::min(kPiece, n - done);
      for (int i = 0; i < size; ++i) {
        g[i] = std::min(gate[done + i], limit);
        u[i] = std::clamp(up[done + i], -limit, limit) + offset_;
      }
      kernels.gated(kind_, g, u, size, out + done);
    }
  }

 private:
  GluKind kind_ = GluKind::kSilu;
  float limit_ = 0, offset_ = 0;
};

}  // namespace edgelm
