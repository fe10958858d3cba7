#include "plan/schedule.h"

#include <algorithm>

#include "core/error.h"

namespace edgelm {
namespace {

// Weights of a chain's smallest chunks: some microseconds of reading.
constexpr size_t kChunkBytes = 48 << 10;

// One value while the steps are laid out. Times are counted in barriers for what threads share, and
// in steps for what each has for itself.
struct Use {
  const Step* writer = nullptr;
  int first = 0, last = 0;  // barriers passed at its first write and its last use
  int first_step = 0, last_step = 0;
};

class Builder {
 public:
  Builder(const Graph& graph, const Lowering& lowering, const WeightStore& weights, Regime regime,
          const ScheduleLimits& limits)
      : graph_(graph), lowering_(lowering), weights_(weights), limits_(limits) {
    schedule_.regime = regime;
    schedule_.max_tokens = limits.max_tokens;
    schedule_.max_rows = std::min(limits.max_rows, limits.max_tokens);
  }

  Schedule build() {
    uses_.resize(lowering_.values().size());
    schedule_.steps.reserve(lowering_.steps().size());
    for (const LoweredStep& step : lowering_.steps()) append(step);
    find_chains();
    place_values();
    return std::move(schedule_);
  }

 private:
  const LoweredValue& value(int id) const { return lowering_.values()[static_cast<size_t>(id)]; }
  Use& use(int id) { return uses_[static_cast<size_t>(value(id).storage)]; }
  int max_rows(Axis axis) const {
    return axis == Axis::kTokens ? schedule_.max_tokens : schedule_.max_rows;
  }

  void append(const LoweredStep& lowered) {
    const Op& op = *lowered.op;
    const Regime regime = schedule_.regime;
    Step step{};
    step.op = lowered.op;
    for (size_t i = 0; i < lowered.weights.size(); ++i) {
      const auto& weight = lowered.weights[i];
      step.weights.push_back(weight ? &weights_.get(*weight, op.weight_use(static_cast<int>(i)))
                                    : nullptr);
    }
    const LoweredValue& result = value(lowered.result);
    step.partition = op.partition(regime);
    if (step.partition.unit == Partition::kGroup)
      step.partition.unit = lowering_.kernels().group_rows;
    step.n_phases = op.phases(regime);
    step.axis = result.type.shape.axis;
    step.row_width = result.type.shape.row_width();
    step.value = lowered.result;
    if (step.partition.split == Split::kDynamic) step.first_counter = counters(step.n_phases);

    for (size_t i = 0; i < lowered.inputs.size(); ++i) {
      if (must_wait(step, lowered.inputs[i], static_cast<int>(i))) step.barrier = true;
    }
    if (step.barrier) ++now_;
    const int first = now_;
    now_ += step.n_phases - 1;
    const int index = static_cast<int>(schedule_.steps.size());

    for (const int input : lowered.inputs) {
      use(input).last = now_;
      use(input).last_step = index;
    }
    const StepMemory memory = op.memory(
        {lowering_.kernels(), step.weights, regime, max_rows(step.axis), limits_.n_threads});
    step.shared_bytes = memory.shared_bytes;
    step.thread_bytes = memory.thread_bytes;
    schedule_.steps.push_back(std::move(step));
    step_times_.push_back({first, now_});
    step_spans_.push_back({index, index});
    step_inputs_.push_back(lowered.inputs);
    uses_[static_cast<size_t>(lowered.result)] = {&schedule_.steps.back(), first, now_, index,
                                                  index};
  }

  // Whether a thread may read of that input what another may still be writing.
  bool must_wait(const Step& step, int input, int position) {
    const Use& used = use(input);
    if (used.writer == nullptr) return false;  // the batch's ids
    const Step& writer = *used.writer;
    if (writer.partition.split == Split::kReplicated) return false;
    const int written = step_times_[static_cast<size_t>(&writer - schedule_.steps.data())].last;
    if (written < now_) return false;  // a barrier has passed since
    if (step.op->reads(position, schedule_.regime) == Access::kAll) return true;
    const Split split = step.partition.split;
    if (split != writer.partition.split || split == Split::kDynamic) return true;
    if (split == Split::kTokens) return step.axis != writer.axis;
    const int n = limits_.n_threads;
    if (value(input).type.kind != ValueKind::kFloats) {
      return n_units(step.partition, step.row_width) != n_units(writer.partition, writer.row_width);
    }
    const int offset = static_cast<int>(value(input).offset_bytes / sizeof(float));
    for (int i = 0; i < n; ++i) {
      const Range reads = column_part(step.partition, step.row_width, i, n);
      const Range wrote = column_part(writer.partition, writer.row_width, i, n);
      if (reads.size() == 0) continue;
      if (reads.begin + offset < wrote.begin || reads.end + offset > wrote.end) return true;
    }
    return false;
  }

  int counters(int n) {
    const int first = schedule_.n_counters;
    schedule_.n_counters += n;
    return first;
  }

  void find_chains() {
    const int n = static_cast<int>(schedule_.steps.size());
    for (int first = 0; first < n;) {
      int end = first;
      while (end < n && continues(first, end)) ++end;
      // The longest chain that nothing behind it reads before a barrier.
      while (end > first && read_too_early(first, end)) --end;
      if (end > first) make_chain(first, end);
      first = std::max(end, first + 1);
    }
  }

  // Whether step i can run in chunks together with those from `first` on.
  bool continues(int first, int i) const {
    const Step &step = schedule_.steps[static_cast<size_t>(i)],
               &head = schedule_.steps[static_cast<size_t>(first)];
    if (step.partition.split != Split::kColumns || step.n_phases > 1) return false;
    if (i > first && (step.barrier || step.axis != head.axis || step.row_width != head.row_width ||
                      step.partition.unit != head.partition.unit)) {
      return false;
    }
    const auto index = static_cast<size_t>(i);
    for (const int input : step_inputs_[index]) {
      const Use& used = uses_[static_cast<size_t>(value(input).storage)];
      if (used.writer == nullptr || used.writer->partition.split == Split::kReplicated) continue;
      const int writer = used.first_step;
      if (writer >= first
              ? value(input).offset_bytes > 0
              : step_times_[static_cast<size_t>(writer)].last == step_times_[index].first) {
        return false;  // of what another thread may still be writing
      }
    }
    return true;
  }

  bool read_too_early(int first, int end) const {
    for (auto i = static_cast<size_t>(end);
         i < schedule_.steps.size() && !schedule_.steps[i].barrier; ++i) {
      for (const int input : step_inputs_[i]) {
        const int writer = uses_[static_cast<size_t>(value(input).storage)].first_step;
        if (writer >= first && writer < end) return true;
      }
    }
    return false;
  }

  void make_chain(int first, int end) {
    size_t unit_bytes = 0;  // of weights
    for (int i = first; i < end; ++i) {
      for (const LoadedWeight* weight : schedule_.steps[static_cast<size_t>(i)].weights) {
        if (weight != nullptr) unit_bytes += weight->group_bytes;
      }
    }
    if (unit_bytes == 0 || limits_.n_threads == 1) return;
    Step& step = schedule_.steps[static_cast<size_t>(first)];
    const int units = n_units(step.partition, step.row_width);
    const int least = static_cast<int>(kChunkBytes / unit_bytes);
    step.chain = {end - first, units, step.partition.unit, std::max(1, least)};
    step.first_counter = counters(limits_.n_threads);
    // Its steps take turns, so what one reads or works in must outlive them all.
    for (int i = first; i < end; ++i) {
      step_spans_[static_cast<size_t>(i)] = {first, end - 1};
      for (const int input : step_inputs_[static_cast<size_t>(i)]) {
        use(input).last_step = std::max(use(input).last_step, end - 1);
      }
    }
  }

  void place_values() {
    const std::vector<LoweredValue>& values = lowering_.values();
    schedule_.places.resize(values.size());
    place_outputs();
    std::vector<Lifetime> shared, own;
    std::vector<int> shared_values, own_values;
    for (size_t id = 0; id < values.size(); ++id) {
      const Use& used = uses_[id];
      Place& place = schedule_.places[id];
      const LoweredValue& v = values[id];
      if (used.writer == nullptr || v.row_bytes == 0 || place.space == Place::Space::kOutput) {
        continue;
      }
      place.stride_bytes = aligned(v.row_bytes);
      const size_t bytes = place.stride_bytes * static_cast<size_t>(max_rows(v.type.shape.axis));
      if (used.writer->partition.split == Split::kReplicated) {
        place.space = Place::Space::kThread;
        own.push_back({bytes, used.first_step, used.last_step});
        own_values.push_back(static_cast<int>(id));
      } else {
        place.space = Place::Space::kShared;
        shared.push_back({bytes, used.first, used.last});
        shared_values.push_back(static_cast<int>(id));
      }
    }
    for (size_t i = 0; i < schedule_.steps.size(); ++i) {
      const Step& step = schedule_.steps[i];
      shared.push_back({step.shared_bytes, step_times_[i].first, step_times_[i].last});
      own.push_back({step.thread_bytes, step_spans_[i].first, step_spans_[i].last});
    }
    const ArenaLayout shared_layout = lay_out(shared), own_layout = lay_out(own);
    schedule_.shared_bytes = shared_layout.bytes;
    schedule_.thread_bytes = own_layout.bytes;
    set_offsets(shared_values, shared_layout);
    set_offsets(own_values, own_layout);
    for (size_t i = 0; i < schedule_.steps.size(); ++i) {
      Step& step = schedule_.steps[i];
      step.shared_offset = shared_layout.offsets[shared_values.size() + i];
      step.thread_offset = own_layout.offsets[own_values.size() + i];
      step.out = place_of(step.value);
      for (const int input : step_inputs_[i]) step.in.push_back(place_of(input));
    }
    for (size_t id = 0; id < values.size(); ++id) {
      if (values[id].storage != static_cast<int>(id)) {
        schedule_.places[id] = place_of(static_cast<int>(id));
      }
    }
  }

  // Outputs go straight to the caller's rows.
  void place_outputs() {
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      const int id = lowering_.outputs()[i];
      schedule_.places[static_cast<size_t>(id)] = {Place::Space::kOutput, 0, value(id).row_bytes,
                                                   static_cast<int>(i)};
    }
  }

  void set_offsets(const std::vector<int>& ids, const ArenaLayout& layout) {
    for (size_t i = 0; i < ids.size(); ++i) {
      schedule_.places[static_cast<size_t>(ids[i])].offset = layout.offsets[i];
    }
  }

  Place place_of(int id) const {
    Place place = schedule_.places[static_cast<size_t>(value(id).storage)];
    place.offset += value(id).offset_bytes;
    return place;
  }

  struct Times {
    int first, last;
  };

  const Graph& graph_;
  const Lowering& lowering_;
  const WeightStore& weights_;
  const ScheduleLimits& limits_;
  Schedule schedule_;
  int now_ = 0;  // barriers passed
  std::vector<Use> uses_;
  std::vector<Times> step_times_;
  std::vector<Times> step_spans_;  // in steps: of its chain
  std::vector<std::vector<int>> step_inputs_;
};

}  // namespace

Schedule make_schedule(const Graph& graph, const Lowering& lowering, const WeightStore& weights,
                       Regime regime, const ScheduleLimits& limits) {
  return Builder(graph, lowering, weights, regime, limits).build();
}

}  // namespace edgelm
