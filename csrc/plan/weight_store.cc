#include "plan/weight_store.h"

#include <vector>

#include "plan/loader.h"

namespace edgelm {

WeightStore::WeightStore(const Lowering& lowering, int n_threads, const Poll& poll) {
  for (const LoweredStep& step : lowering.steps()) {
    for (size_t i = 0; i < step.weights.size(); ++i) {
      if (step.weights[i] == nullptr) continue;
      const Weight& weight = *step.weights[i];
      const WeightUse use = step.op->weight_use(static_cast<int>(i));
      if (entries_.contains({weight.id(), use})) continue;
      entries_[{weight.id(), use}] = {&weight, LoadedWeight(weight, use, lowering.kernels())};
    }
  }

  size_t total = 0;
  std::vector<Entry*> resident;
  for (auto& [key, entry] : entries_) {
    if (key.second == WeightUse::kTable) continue;
    resident.push_back(&entry);
    total += aligned(entry.loaded.n_bytes());
  }
  memory_ = Memory(total);
  std::vector<WeightLoad> loads;
  std::byte* to = memory_.data();
  for (Entry* entry : resident) {
    entry->loaded.place(to);
    loads.push_back({entry->weight, &entry->loaded, to});
    to += aligned(entry->loaded.n_bytes());
  }
  share_packed_rows();
  load_weights(loads, n_threads, poll);
  for (const auto& [key, entry] : entries_) entry.loaded.check_unchanged();
}

// A tied table is resident once: its rows come from the packed matrix.
void WeightStore::share_packed_rows() {
  for (auto& [key, entry] : entries_) {
    const auto packed = entries_.find({key.first, WeightUse::kPacked});
    if (key.second != WeightUse::kTable || packed == entries_.end()) continue;
    const LoadedWeight& from = packed->second.loaded;
    entry.loaded.packed = from.packed;
    entry.loaded.kernels = from.kernels;
    entry.loaded.group_rows = from.group_rows;
    entry.loaded.group_bytes = from.group_bytes;
  }
}

const LoadedWeight& WeightStore::get(const Weight& weight, WeightUse use) const {
  return entries_.at({weight.id(), use}).loaded;
}

}  // namespace edgelm
