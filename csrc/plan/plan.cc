#include "plan/plan.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"

namespace edgelm {
namespace {

constexpr size_t kMaxInputs = 8;

// What a multiply-add costs beside reading a byte of weights, roughly.
constexpr double kMacCost = 0.08;

int64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

const Limits& checked(const Limits& limits) {
  check(limits.n_batch >= 1, "n_batch is ", limits.n_batch, ", expected at least 1");
  check(limits.max_rows >= 1, "max_rows is ", limits.max_rows, ", expected at least 1");
  check(limits.n_threads >= 1 && limits.n_threads <= 1024, "n_threads is ", limits.n_threads,
        ", expected 1 to 1024");
  return limits;
}

// The embeddings are as many as tokens want them, and finite.
void check_embeddings(const Batch& batch) {
  if (batch.embedding_width == 0) return;
  const auto n_wanted = std::count(batch.token.begin(), batch.token.end(), -1);
  const auto width = static_cast<size_t>(batch.embedding_width);
  check(batch.embeddings.size() == static_cast<size_t>(n_wanted) * width, "got ",
        batch.embeddings.size() / width, " rows of embeddings for ", n_wanted, " tokens of id -1");
  const auto bad = std::find_if_not(batch.embeddings.begin(), batch.embeddings.end(),
                                    [](float x) { return std::isfinite(x); });
  check(bad == batch.embeddings.end(), "row ",
        static_cast<size_t>(bad - batch.embeddings.begin()) / width,
        " of the embeddings is not finite");
}

// Holds the flag that a plan is running.
class Running {
 public:
  explicit Running(std::atomic<bool>& flag) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire)) {
      fail(ErrorKind::kBusy, "this plan is running on another thread; run it once at a time");
    }
  }
  ~Running() { flag_.store(false, std::memory_order_release); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace

// The run in progress.
struct Plan::Active {
  const Batch& batch;
  std::span<const int32_t> slots;
  Program& program;
  KvCache* cache;
  std::span<float* const> outputs;
  std::vector<Traced>* trace;

  int rows(Axis axis) const { return axis == Axis::kTokens ? batch.n_tokens() : batch.n_rows(); }
};

Plan::Plan(std::shared_ptr<const Graph> graph, const Limits& limits, const Poll& poll)
    : graph_(std::move(graph)),
      limits_(checked(limits)),
      kernels_(active_kernels()),
      lowering_(*graph_, kernels_),
      weights_(lowering_, limits.n_threads, poll),
      states_(graph_->states()),
      slots_(static_cast<size_t>(limits.n_batch)) {
  check(!graph_->outputs().empty(), "the graph has no output; name one with Graph.output");
  const auto add_program = [&](Regime regime, int max_tokens) {
    programs_.emplace_back(make_schedule(*graph_, lowering_, weights_, regime,
                                         {max_tokens, limits.max_rows, limits.n_threads}));
  };
  add_program(Regime::kSmall, std::min(limits.n_batch, kSmallTokens));
  if (limits.n_batch > kSmallTokens) add_program(Regime::kLarge, limits.n_batch);

  int n_counters = 1;
  for (const Program& program : programs_) {
    const Schedule& schedule = program.schedule;
    thread_arenas_ = std::max(thread_arenas_, schedule.shared_bytes);
    thread_bytes_ = std::max(thread_bytes_, schedule.thread_bytes);
    n_counters = std::max(n_counters, schedule.n_counters);
  }
  const size_t n_steps = programs_[0].schedule.steps.size();
  made_in_.assign(static_cast<size_t>(limits.n_threads), std::vector<uint32_t>(n_steps));
  arena_ = Memory(thread_arenas_ + thread_bytes_ * static_cast<size_t>(limits.n_threads));
  state_ = std::make_unique<RunState>(n_counters);
}

int Plan::output_rows(int output, const Batch& batch) const {
  const int value = graph_->outputs()[static_cast<size_t>(output)].value;
  return graph_->type(value).shape.axis == Axis::kTokens ? batch.n_tokens() : batch.n_rows();
}

void Plan::check_batch(const Batch& batch) const {
  const int n = batch.n_tokens();
  check(n >= 1 && n <= limits_.n_batch, "a batch of ", n, " tokens, expected 1 to ",
        limits_.n_batch);
  check(batch.position.size() % batch.token.size() == 0, "got ", batch.position.size(),
        " positions for ", n, " tokens");
  check(batch.sequence.size() == batch.token.size(), "got ", batch.sequence.size(),
        " sequences for ", n, " tokens");
  check(batch.n_rows() <= limits_.max_rows, "got ", batch.n_rows(),
        " wanted rows, expected at most ", limits_.max_rows);
  for (size_t i = 0; i < batch.wanted.size(); ++i) {
    check(batch.wanted[i] >= 0 && batch.wanted[i] < n, "wanted index ", batch.wanted[i],
          " is outside the batch of ", n, " tokens");
    check(i == 0 || batch.wanted[i - 1] < batch.wanted[i], "wanted indices must rise, got ",
          batch.wanted[i], " after ", i == 0 ? 0 : batch.wanted[i - 1]);
  }
  for (const int32_t position : batch.position) {
    check(position >= 0, "position ", position, " is negative");
  }
  check_embeddings(batch);
  size_t n_sequences = 0;
  each_sequence(batch, [&](int32_t, size_t, size_t) { ++n_sequences; });
  check(batch.adapter.empty() || batch.adapter.size() == n_sequences, "got ", batch.adapter.size(),
        " adapters for ", n_sequences, " sequences");
  for (const int32_t adapter : batch.adapter) {
    check(adapter == 0, "there is no adapter ", adapter, "; 0 stands for none");
  }
}

Plan::Status Plan::run(const Batch& batch, KvCache* cache, std::span<float* const> outputs,
                       const Poll& poll) {
  const Running running(running_);
  return execute(batch, cache, outputs, poll, nullptr);
}

std::vector<Traced> Plan::trace(const Batch& batch, KvCache* cache) {
  const Running running(running_);
  std::vector<std::vector<float>> buffers;
  std::vector<float*> outputs;
  for (size_t i = 0; i < graph_->outputs().size(); ++i) {
    const Shape& shape = graph_->type(graph_->outputs()[i].value).shape;
    buffers.emplace_back(static_cast<size_t>(output_rows(static_cast<int>(i), batch)) *
                         static_cast<size_t>(shape.row_width()));
    outputs.push_back(buffers.back().data());
  }
  std::vector<Traced> results(static_cast<size_t>(graph_->n_values()));
  execute(batch, cache, outputs, {}, &results);
  return results;
}

Plan::Status Plan::execute(const Batch& given, KvCache* cache, std::span<float* const> outputs,
                           const Poll& poll, std::vector<Traced>* trace) {
  check_batch(given);
  check(states_.empty() || (cache != nullptr && cache->states() == states_),
        "the plan needs a KV cache of its own layers; make one with Plan.kv_cache");
  const auto slots = std::span(slots_).first(given.token.size());
  std::optional<KvCache::Reservation> tokens;
  if (states_.empty()) {
    each_sequence(given, [&](int32_t, size_t first, size_t end) {
      std::iota(slots.begin() + first, slots.begin() + end, 0);
    });
  } else {
    tokens.emplace(*cache, given, slots);
  }
  Batch batch = given;
  if (batch.position.empty()) batch.position = slots;
  for (const Step& step : programs_[0].schedule.steps) step.op->check_batch(batch, step.weights);
  const size_t i = batch.n_tokens() <= programs_[0].schedule.max_tokens ? 0 : 1;
  Program& program = programs_[i];
  const Active active{batch, slots, program, cache, outputs, trace};
  estimate(program, batch);
  state_->begin(&poll);
  caller_left_ns_ = 0;
  ++run_;
  const std::function<int(int)> forced = [&](int phase) {
    return forced_[(static_cast<size_t>(phase) + run_) % forced_.size()];
  };
  const PhasedWork phases{trace == nullptr ? limits_.n_threads : 1, program.phase_costs,
                          static_cast<int>(i), forced_.empty() ? nullptr : &forced};
  ThreadPool::instance().run(phases, [&](Turn& turn) { work(active, turn); });
  if (state_->finish()) return Status::kCancelled;
  if (tokens) tokens->commit();
  if (profiling_) count(active);
  return Status::kDone;
}

void Plan::force_threads(std::vector<int> n_threads) {
  const Running running(running_);
  for (const int n : n_threads) {
    check(n >= 1 && n <= limits_.n_threads, "threads: got ", n, ", expected 1 to the plan's ",
          limits_.n_threads);
  }
  forced_ = std::move(n_threads);
}

// Costs are in bytes of weights, for steps that have some: those that take the time.
void Plan::estimate(Program& program, const Batch& batch) {
  if (program.n_tokens == batch.n_tokens() && program.n_rows == batch.n_rows()) return;
  program.n_tokens = batch.n_tokens();
  program.n_rows = batch.n_rows();
  program.step_costs.clear();
  for (const Step& step : program.schedule.steps) {
    const int n_rows = step.axis == Axis::kTokens ? batch.n_tokens() : batch.n_rows();
    const double macs = n_rows > 0 ? step.op->macs(step.weights, n_rows) : 0;
    const double bytes = macs > 0 ? step.op->bytes(step.weights, n_rows) : 0;
    program.step_costs.push_back((bytes + kMacCost * macs) / step.n_phases);
  }
  program.phase_costs.clear();
  for (const Phase& phase : program.schedule.phases) {
    double& cost = program.phase_costs.emplace_back(0);
    for (const Item& item : phase.items) {
      for (const int step : item.steps) cost += program.step_costs[static_cast<size_t>(step)];
    }
  }
}

Rows Plan::locate(const Place& place, const Active& active, int thread) const {
  switch (place.space) {
    case Place::Space::kNone:
      return {};
    case Place::Space::kShared:
      return {arena_.data() + place.offset, place.stride_bytes};
    case Place::Space::kThread:
      return {arena_.data() + thread_arenas_ + thread_bytes_ * static_cast<size_t>(thread) +
                  place.offset,
              place.stride_bytes};
    case Place::Space::kOutput:
      return {reinterpret_cast<std::byte*>(active.outputs[static_cast<size_t>(place.output)]) +
                  place.offset,
              place.stride_bytes};
  }
  return {};
}

// One thread's part of one phase. After a stop nothing is left of any.
void Plan::work(const Active& active, Turn& turn) {
  const Schedule& schedule = active.program.schedule;
  const Phase& phase = schedule.phases[static_cast<size_t>(turn.phase)];
  const bool timed = profiling_ && turn.thread == 0;
  if (timed && caller_left_ns_ > 0) {
    auto& timing = active.program.timings[static_cast<size_t>(phase.first_step)];
    timing.wait_ns += now_ns() - caller_left_ns_;
  }
  for (const Item& item : phase.items) {
    const auto head = static_cast<size_t>(item.steps[0]);
    const Step& step = schedule.steps[head];
    const int n_rows = active.rows(step.axis);
    if (n_rows == 0) continue;
    if (item.kind == Item::Kind::kChain) {
      work_chain(active, item, turn);
      continue;
    }
    if (item.kind == Item::Kind::kOwn) {
      uint32_t& made_in = made_in_[static_cast<size_t>(turn.thread)][head];
      if (std::exchange(made_in, run_) == run_) continue;
    }
    run_step(active, item.steps[0], item, turn, {0, n_rows}, {0, step.row_width});
    if (active.trace != nullptr && item.op_phase == step.n_phases - 1) keep(step.value, active);
  }
  if (timed) caller_left_ns_ = now_ns();
}

void Plan::work_chain(const Active& active, const Item& item, Turn& turn) {
  const Step& head = active.program.schedule.steps[static_cast<size_t>(item.steps[0])];
  const Range all_rows{0, active.rows(head.axis)};
  const bool by_rows = item.n_units == 0;
  const int n_units = by_rows ? all_rows.end : item.n_units;
  std::atomic<int>& taken = state_->counter(item.counter);
  while (!state_->stopped(turn.thread)) {
    const Range units = take(taken, n_units, item.least, n_units, turn);
    if (units.size() == 0) break;
    for (const int i : item.steps) {
      const Step& step = active.program.schedule.steps[static_cast<size_t>(i)];
      const Range columns{units.begin * item.unit, std::min(units.end * item.unit, step.row_width)};
      run_step(active, i, item, turn, by_rows ? units : all_rows,
               by_rows ? Range{0, step.row_width} : columns);
      turn.done += active.program.step_costs[static_cast<size_t>(i)] * units.size() / n_units;
      if (active.trace != nullptr) keep(step.value, active);
    }
  }
}

void Plan::count(const Active& active) {
  for (size_t i = 0; i < active.program.timings.size(); ++i) {
    const Step& step = active.program.schedule.steps[i];
    Timing& timing = active.program.timings[i];
    const int n_rows = active.rows(step.axis);
    timing.macs += step.op->macs(step.weights, n_rows);
    timing.bytes += step.op->bytes(step.weights, n_rows);
    ++timing.runs;
  }
}

void Plan::run_step(const Active& active, int index, const Item& item, Turn& turn, Range rows,
                    Range columns) {
  if (state_->stopped(turn.thread)) return;
  const bool timed = profiling_ && turn.thread == 0;
  const int64_t start = timed ? now_ns() : 0;
  const Step& step = active.program.schedule.steps[static_cast<size_t>(index)];
  std::array<Rows, kMaxInputs> in;
  for (size_t i = 0; i < step.in.size(); ++i) in[i] = locate(step.in[i], active, turn.thread);
  std::byte* const own =
      arena_.data() + thread_arenas_ + thread_bytes_ * static_cast<size_t>(turn.thread);
  const StepContext context{*state_,
                            active.batch,
                            active.slots,
                            active.cache,
                            kernels_,
                            active.program.schedule.regime,
                            step.partition,
                            turn,
                            limits_.n_threads,
                            item.op_phase,
                            state_->counter(item.counter),
                            active.program.step_costs[static_cast<size_t>(index)],
                            active.rows(step.axis),
                            step.row_width,
                            rows,
                            columns,
                            {in.data(), step.in.size()},
                            locate(step.out, active, turn.thread),
                            step.weights,
                            {arena_.data() + step.shared_offset, step.shared_bytes},
                            {own + step.thread_offset, step.thread_bytes}};
  try {
    step.op->run(context);
  } catch (...) {
    state_->fail(std::current_exception());
  }
  if (timed) active.program.timings[static_cast<size_t>(index)].ns += now_ns() - start;
}

// Copies a value, and the views of it, before a later step takes its place.
void Plan::keep(int value, const Active& active) const {
  for (size_t id = 0; id < active.trace->size(); ++id) {
    const LoweredValue& lowered = lowering_.values()[id];
    if (lowered.storage != value) continue;
    Traced& traced = (*active.trace)[id];
    traced.shape = lowered.type.shape;
    if (lowered.type.kind != ValueKind::kFloats) continue;
    traced.n_rows =
        traced.shape.axis == Axis::kTokens ? active.batch.n_tokens() : active.batch.n_rows();
    const Rows rows = locate(active.program.schedule.places[id], active, 0);
    const auto width = static_cast<size_t>(traced.shape.row_width());
    traced.values.resize(static_cast<size_t>(traced.n_rows) * width);
    for (int r = 0; r < traced.n_rows; ++r) {
      std::copy_n(rows[r], width, traced.values.data() + static_cast<size_t>(r) * width);
    }
  }
}

int Plan::node_of(int value) const {
  for (size_t i = 0; i < graph_->nodes().size(); ++i) {
    if (graph_->nodes()[i].result == value) return static_cast<int>(i);
  }
  return -1;
}

std::vector<StepProfile> Plan::profile() {
  const Running running(running_);
  profiling_ = true;
  std::vector<StepProfile> profiles;
  for (Program& program : programs_) {
    for (size_t s = 0; s < program.schedule.steps.size(); ++s) {
      const Step& step = program.schedule.steps[s];
      Timing& timing = program.timings[s];
      if (timing.runs == 0) continue;
      StepProfile profile;
      profile.name = step.op->kernel(step.weights, program.schedule.regime) + "-" + kernels_.isa;
      profile.node = node_of(step.value);
      profile.ns = timing.ns;
      profile.wait_ns = timing.wait_ns;
      profile.runs = timing.runs;
      profile.barrier = step.barrier;
      profile.macs = timing.macs;
      profile.bytes = timing.bytes;
      profiles.push_back(std::move(profile));
      timing = {};
    }
  }
  return profiles;
}

}  // namespace edgelm
