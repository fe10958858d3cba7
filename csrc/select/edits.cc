#include "select/edits.h"

#include <algorithm>

namespace edgelm {

void Edits::apply(std::span<float> row, std::span<const int32_t> recent) const {
  for (size_t i = 0; i < biased.size(); ++i) row[static_cast<size_t>(biased[i])] += bias[i];
  if (!penalizes()) return;
  std::vector<int32_t> ids(recent.begin(), recent.end());
  std::sort(ids.begin(), ids.end());
  for (size_t first = 0, end = 0; first < ids.size(); first = end) {
    while (end < ids.size() && ids[end] == ids[first]) ++end;
    float& logit = row[static_cast<size_t>(ids[first])];
    const double wide = static_cast<double>(logit);
    const double repeated = wide > 0 ? wide / repeat : wide * repeat;
    logit = static_cast<float>(repeated - static_cast<double>(end - first) * frequency - presence);
  }
}

}  // namespace edgelm
