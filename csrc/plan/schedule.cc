#include "plan/schedule.h"

#include <algorithm>
#include <climits>

#include "core/error.h"

namespace edgelm {
namespace {

// A chain's smallest chunks: some microseconds of reading weights, or of work on floats. The more
// threads there are, the smaller, for each is what all may wait for.
constexpr size_t kChunkBytes = 96 << 10;  // over the number of threads
constexpr int kChunkFloats = 8 << 10;

// When a value or a step's memory is in use. What threads share counts in phases, and what each
// has for itself in items, which it does in their order.
struct Span {
  int first = INT_MAX, last = -1;
  void add(int time) {
    first = std::min(first, time);
    last = std::max(last, time);
  }
  Lifetime holding(size_t bytes) const { return {bytes, std::min(first, last), last}; }
};

class Builder {
 public:
  Builder(const Graph& graph, const Lowering& lowering, const WeightStore& weights, Regime regime,
          const ScheduleLimits& limits)
      : graph_(graph), lowering_(lowering), weights_(weights), limits_(limits) {
    schedule_.regime = regime;
    schedule_.max_tokens = limits.max_tokens;
    schedule_.max_rows = std::min(limits.max_rows, limits.max_tokens);
    schedule_.phases.emplace_back();
    written_.resize(lowering.values().size());
  }

  Schedule build() {
    for (const LoweredStep& step : lowering_.steps()) append(step);
    for (Phase& phase : schedule_.phases) {
      for (Item& item : phase.items) {
        if (item.kind == Item::Kind::kChain) size_chunks(item);
      }
    }
    place_values();
    return std::move(schedule_);
  }

 private:
  // Who wrote a value last, and where: in which phase, and as which of its items.
  struct Written {
    int step = -1, phase = -1, item = -1;
  };

  const LoweredValue& value(int id) const { return lowering_.values()[static_cast<size_t>(id)]; }
  const Written& written(int id) const { return written_[static_cast<size_t>(value(id).storage)]; }
  Step& step(int i) { return schedule_.steps[static_cast<size_t>(i)]; }
  const std::vector<int>& inputs(int i) const { return step_inputs_[static_cast<size_t>(i)]; }
  Phase& now() { return schedule_.phases.back(); }
  int now_index() const { return static_cast<int>(schedule_.phases.size()) - 1; }
  bool replicated(int i) { return step(i).partition.split == Split::kReplicated; }
  int max_rows(Axis axis) const {
    return axis == Axis::kTokens ? schedule_.max_tokens : schedule_.max_rows;
  }

  void append(const LoweredStep& lowered) {
    const Op& op = *lowered.op;
    const Regime regime = schedule_.regime;
    Step made{};
    made.op = lowered.op;
    for (size_t i = 0; i < lowered.weights.size(); ++i) {
      const auto& weight = lowered.weights[i];
      made.weights.push_back(weight ? &weights_.get(*weight, op.weight_use(static_cast<int>(i)))
                                    : nullptr);
    }
    const LoweredValue& result = value(lowered.result);
    made.partition = op.partition(regime);
    if (made.partition.unit == Partition::kGroup) {
      made.partition.unit = lowering_.kernels().group_rows;
    }
    made.n_phases = op.phases(regime);
    made.axis = result.type.shape.axis;
    made.row_width = result.type.shape.row_width();
    made.value = lowered.result;
    const StepMemory memory = op.memory(
        {lowering_.kernels(), made.weights, regime, max_rows(made.axis), limits_.n_threads});
    made.shared_bytes = memory.shared_bytes;
    made.thread_bytes = memory.thread_bytes;
    schedule_.steps.push_back(std::move(made));
    step_inputs_.push_back(lowered.inputs);

    const int index = static_cast<int>(schedule_.steps.size()) - 1;
    int item = chain_for(index);
    if (item == kMustWait) {
      step(index).barrier = true;
      begin_phase(index);
      item = kNoChain;
    }
    const size_t before = now().items.size();
    make_own_inputs(index);  // in front of all chains
    if (item != kNoChain) item += static_cast<int>(now().items.size() - before);
    if (replicated(index)) {
      add_own(index);
    } else if (step(index).partition.split == Split::kDynamic) {
      for (int phase = 0; phase < step(index).n_phases; ++phase) {
        if (phase > 0) begin_phase(index);
        make_own_inputs(index);
        add(Item::Kind::kOp, index).op_phase = phase;
      }
    } else if (item != kNoChain) {
      now().items[static_cast<size_t>(item)].steps.push_back(index);
    } else {
      add(Item::Kind::kChain, index);
      item = static_cast<int>(now().items.size()) - 1;
    }
    written_[static_cast<size_t>(lowered.result)] = {index, now_index(), item};
  }

  void begin_phase(int first_step) {
    if (now().items.empty()) return;
    schedule_.phases.push_back({first_step, {}});
  }

  Item& add(Item::Kind kind, int index) {
    Item item{kind, {index}};
    if (kind != Item::Kind::kOwn) item.counter = schedule_.n_counters++;
    now().items.push_back(std::move(item));
    return now().items.back();
  }

  // The item of this phase whose chain the step joins.
  static constexpr int kNoChain = -1, kMustWait = -2;
  int chain_for(int index) {
    const Step& reader = step(index);
    const bool can_join =
        reader.partition.split == Split::kColumns || reader.partition.split == Split::kTokens;
    int chain = kNoChain;
    for (size_t i = 0; i < inputs(index).size(); ++i) {
      const int input = inputs(index)[i];
      const Written& from = written(input);
      if (from.step < 0) continue;  // the batch's ids
      if (replicated(from.step)) {
        if (made_now(from.step)) return kMustWait;
        continue;
      }
      if (from.phase < now_index()) continue;
      const bool own_part =
          reader.op->reads(static_cast<int>(i), schedule_.regime) == Access::kOwnPart &&
          (reader.partition.split == Split::kTokens || value(input).offset_bytes == 0);
      if (!can_join || !own_part || from.item < 0) return kMustWait;
      if (chain != kNoChain && chain != from.item) return kMustWait;
      chain = from.item;
    }
    if (chain != kNoChain) return fits(chain, reader) ? chain : kMustWait;
    const int last = static_cast<int>(now().items.size()) - 1;
    return can_join && last >= 0 && fits(last, reader) ? last : kNoChain;
  }

  // Whether a replicated step needs what threads still write in this phase.
  bool made_now(int index) {
    return std::any_of(inputs(index).begin(), inputs(index).end(), [&](int input) {
      const Written& from = written(input);
      if (from.step < 0) return false;
      return replicated(from.step) ? made_now(from.step) : from.phase == now_index();
    });
  }

  bool fits(int item, const Step& other) {
    const Item& chain = now().items[static_cast<size_t>(item)];
    if (chain.kind != Item::Kind::kChain) return false;
    const Step& head = step(chain.steps[0]);
    if (head.partition.split != other.partition.split || head.axis != other.axis) return false;
    return head.partition.split == Split::kTokens ||
           (head.row_width == other.row_width && head.partition.unit == other.partition.unit);
  }

  // A thread that came late to a phase makes for itself what it has not made before.
  void make_own_inputs(int index) {
    for (const int input : inputs(index)) {
      const Written& from = written(input);
      if (from.step >= 0 && replicated(from.step)) {
        make_own_inputs(from.step);
        add_own(from.step);
      }
    }
  }

  void add_own(int index) {
    std::vector<Item>& items = now().items;
    const auto is_shared = [](const Item& item) { return item.kind != Item::Kind::kOwn; };
    const auto end = std::find_if(items.begin(), items.end(), is_shared);
    const auto is_it = [&](const Item& item) { return item.steps[0] == index; };
    if (std::any_of(items.begin(), end, is_it)) return;
    const auto moved = static_cast<int>(end - items.begin());
    for (Written& from : written_) {
      if (from.phase == now_index() && from.item >= moved) ++from.item;
    }
    items.insert(end, {Item::Kind::kOwn, {index}});
  }

  void size_chunks(Item& item) {
    const Step& head = step(item.steps[0]);
    size_t unit_bytes = 0;  // of weights
    for (const int i : item.steps) {
      for (const LoadedWeight* weight : step(i).weights) {
        if (weight != nullptr) unit_bytes += weight->group_bytes;
      }
    }
    if (head.partition.split == Split::kTokens) {
      item.least = std::max(1, kChunkFloats / std::max(1, head.row_width));
      return;
    }
    item.unit = head.partition.unit;
    item.n_units = n_units(head.partition, head.row_width);
    const size_t chunk_bytes = kChunkBytes / static_cast<size_t>(limits_.n_threads);
    item.least = unit_bytes > 0 ? static_cast<int>(chunk_bytes / unit_bytes)
                                : kChunkFloats / std::max(1, item.unit);
    item.least = std::max(1, item.least);
  }

  void find_spans(std::vector<Span>& values, std::vector<Span>& shared, std::vector<Span>& own) {
    int time = 0;
    for (int p = 0; p < static_cast<int>(schedule_.phases.size()); ++p) {
      for (const Item& item : schedule_.phases[static_cast<size_t>(p)].items) {
        for (const int i : item.steps) {
          const auto use = [&](int storage) {
            const int writer = written_[static_cast<size_t>(storage)].step;
            if (writer < 0) return;
            values[static_cast<size_t>(storage)].add(replicated(writer) ? time : p);
          };
          use(step(i).value);
          for (const int input : inputs(i)) use(value(input).storage);
          shared[static_cast<size_t>(i)].add(p);
          own[static_cast<size_t>(i)].add(time);
        }
        ++time;
      }
    }
  }

  void place_values() {
    const std::vector<LoweredValue>& values = lowering_.values();
    const size_t n_steps = schedule_.steps.size();
    std::vector<Span> spans(values.size()), shared_spans(n_steps), own_spans(n_steps);
    find_spans(spans, shared_spans, own_spans);
    schedule_.places.resize(values.size());
    place_outputs();
    std::vector<Lifetime> shared, own;
    std::vector<int> shared_values, own_values;
    for (size_t id = 0; id < values.size(); ++id) {
      Place& place = schedule_.places[id];
      const LoweredValue& v = values[id];
      const int writer = written_[id].step;
      if (writer < 0 || v.row_bytes == 0 || place.space == Place::Space::kOutput) continue;
      place.stride_bytes = aligned(v.row_bytes);
      const Lifetime lifetime =
          spans[id].holding(place.stride_bytes * static_cast<size_t>(max_rows(v.type.shape.axis)));
      place.space = replicated(writer) ? Place::Space::kThread : Place::Space::kShared;
      (replicated(writer) ? own : shared).push_back(lifetime);
      (replicated(writer) ? own_values : shared_values).push_back(static_cast<int>(id));
    }
    for (size_t i = 0; i < n_steps; ++i) {
      shared.push_back(shared_spans[i].holding(schedule_.steps[i].shared_bytes));
      own.push_back(own_spans[i].holding(schedule_.steps[i].thread_bytes));
    }
    const ArenaLayout shared_layout = lay_out(shared), own_layout = lay_out(own);
    schedule_.shared_bytes = shared_layout.bytes;
    schedule_.thread_bytes = own_layout.bytes;
    set_offsets(shared_values, shared_layout);
    set_offsets(own_values, own_layout);
    for (size_t i = 0; i < n_steps; ++i) {
      Step& placed = schedule_.steps[i];
      placed.shared_offset = shared_layout.offsets[shared_values.size() + i];
      placed.thread_offset = own_layout.offsets[own_values.size() + i];
      placed.out = place_of(placed.value);
      for (const int input : step_inputs_[i]) placed.in.push_back(place_of(input));
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

  const Graph& graph_;
  const Lowering& lowering_;
  const WeightStore& weights_;
  const ScheduleLimits& limits_;
  Schedule schedule_;
  std::vector<Written> written_;  // by storage
  std::vector<std::vector<int>> step_inputs_;
};

}  // namespace

Schedule make_schedule(const Graph& graph, const Lowering& lowering, const WeightStore& weights,
                       Regime regime, const ScheduleLimits& limits) {
  return Builder(graph, lowering, weights, regime, limits).build();
}

}  // namespace edgelm
