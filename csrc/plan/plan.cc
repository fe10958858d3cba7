#include "plan/plan.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/thread_pool.h"
#include "kernels/dispatch.h"
#include "plan/ops/kv.h"

namespace edgelm {
namespace {

constexpr size_t kMaxInputs = 8;

using Clock = std::chrono::steady_clock;

int64_t ns_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(to - from).count();
}

const Limits& checked(const Limits& limits) {
  check(limits.n_batch >= 1, "n_batch is ", limits.n_batch, ", expected at least 1");
  check(limits.max_rows >= 1, "max_rows is ", limits.max_rows, ", expected at least 1");
  check(limits.n_threads >= 1 && limits.n_threads <= 1024, "n_threads is ", limits.n_threads,
        ", expected 1 to 1024");
  return limits;
}

// Piece i of a part that is cut in halves, the first half being piece 0, down to pieces of `least`.
Range halving_part(Range part, int least, int i) {
  for (;; --i) {
    const int left = part.size();
    const int size = left / 2 >= least ? left - left / 2 : std::min(least, left);
    if (i == 0 || left == 0) return {part.begin, part.begin + size};
    part.begin += size;
  }
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
  Regime regime;
  KvCache* cache;
  std::span<float* const> outputs;
  std::vector<Timing>& timings;
  std::vector<Traced>* trace;

  int rows(Axis axis) const { return axis == Axis::kTokens ? batch.n_tokens() : batch.n_rows(); }
};

Plan::Plan(std::shared_ptr<const Graph> graph, const Limits& limits, const Poll& poll)
    : graph_(std::move(graph)),
      limits_(checked(limits)),
      kernels_(active_kernels()),
      lowering_(*graph_, kernels_),
      weights_(lowering_, limits.n_threads, poll),
      kv_layers_(edgelm::kv_layers(*graph_)),
      barrier_(limits.n_threads) {
  check(!graph_->outputs().empty(), "the graph has no output; name one with Graph.output");
  const auto add_schedule = [&](Regime regime, int max_tokens) {
    schedules_.push_back(make_schedule(*graph_, lowering_, weights_, regime,
                                       {max_tokens, limits.max_rows, limits.n_threads}));
  };
  add_schedule(Regime::kSmall, std::min(limits.n_batch, kSmallTokens));
  if (limits.n_batch > kSmallTokens) add_schedule(Regime::kLarge, limits.n_batch);

  int n_counters = 1;
  for (const Schedule& schedule : schedules_) {
    thread_arenas_ = std::max(thread_arenas_, schedule.shared_bytes);
    thread_bytes_ = std::max(thread_bytes_, schedule.thread_bytes);
    n_counters = std::max(n_counters, schedule.n_counters);
    timings_.emplace_back(schedule.steps.size());
  }
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
  check(batch.position.size() == batch.token.size(), "got ", batch.position.size(),
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
  for (const Step& step : schedules_[0].steps) step.op->check_batch(batch, step.weights);
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

Plan::Status Plan::execute(const Batch& batch, KvCache* cache, std::span<float* const> outputs,
                           const Poll& poll, std::vector<Traced>* trace) {
  check_batch(batch);
  check(kv_layers_.empty() || (cache != nullptr && cache->layers() == kv_layers_),
        "the plan needs a KV cache of its own layers; make one with Plan.kv_cache");
  std::optional<KvCache::Reservation> tokens;
  if (!kv_layers_.empty()) tokens.emplace(*cache, batch);
  const size_t i = batch.n_tokens() <= schedules_[0].max_tokens ? 0 : 1;
  const Active active{batch, schedules_[i].regime, cache, outputs, timings_[i], trace};
  state_->begin(&poll);
  ThreadPool::instance().run(limits_.n_threads,
                             [&](int thread) { walk(schedules_[i], active, thread); });
  if (state_->finish()) return Status::kCancelled;
  if (tokens) tokens->commit();
  return Status::kDone;
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

// One thread's way through all steps. Every thread passes every barrier, also after a stop, and a
// stop that one thread saw before a barrier is seen by all after it.
void Plan::walk(const Schedule& schedule, const Active& active, int thread) {
  const bool timed = profiling_ && thread == 0;
  for (size_t s = 0; s < schedule.steps.size(); ++s) {
    const Step& step = schedule.steps[s];
    Timing* timing = timed ? &active.timings[s] : nullptr;
    if (step.barrier) wait(timing);
    if (step.chain.n_steps > 0 && active.trace == nullptr) {
      walk_chain(schedule, active, thread, s);
      s += static_cast<size_t>(step.chain.n_steps) - 1;
      continue;
    }
    const Range columns = column_part(step.partition, step.row_width, thread, limits_.n_threads);
    for (int phase = 0; phase < step.n_phases; ++phase) {
      if (phase > 0) barrier_.wait();
      run_step(step, active, thread, phase, columns, timing);
    }
    if (timed) count(step, active, *timing);
    if (active.trace != nullptr) {
      barrier_.wait();
      if (thread == 0 && !state_->stopped(thread)) keep(step.value, schedule, active);
      barrier_.wait();
    }
  }
}

// Chunk by chunk: a part's owner takes its chunks in their order, as do those who help it.
void Plan::walk_chain(const Schedule& schedule, const Active& active, int thread, size_t first) {
  const bool timed = profiling_ && thread == 0;
  const Step& head = schedule.steps[first];
  const Chain& chain = head.chain;
  for (int i = 0; i < limits_.n_threads; ++i) {
    const int owner = (thread + i) % limits_.n_threads;
    const Range part = even_part(chain.n_units, owner, limits_.n_threads);
    std::atomic<int>& taken = state_->counter(head.first_counter + owner);
    for (;;) {
      const Range units =
          halving_part(part, chain.least, taken.fetch_add(1, std::memory_order_relaxed));
      if (units.size() == 0) break;
      const Range columns{units.begin * chain.unit,
                          std::min(units.end * chain.unit, head.row_width)};
      for (size_t s = first; s < first + static_cast<size_t>(chain.n_steps); ++s) {
        run_step(schedule.steps[s], active, thread, 0, columns,
                 timed ? &active.timings[s] : nullptr);
      }
    }
  }
  for (size_t s = first; timed && s < first + static_cast<size_t>(chain.n_steps); ++s) {
    count(schedule.steps[s], active, active.timings[s]);
  }
}

void Plan::wait(Timing* timing) {
  if (timing == nullptr) return barrier_.wait();
  const auto start = Clock::now();
  barrier_.wait();
  timing->wait_ns += ns_between(start, Clock::now());
}

void Plan::count(const Step& step, const Active& active, Timing& timing) {
  const int n_rows = active.rows(step.axis);
  timing.macs += step.op->macs(step.weights, n_rows);
  timing.bytes += step.op->bytes(step.weights, n_rows);
  ++timing.runs;
}

void Plan::run_step(const Step& step, const Active& active, int thread, int phase, Range columns,
                    Timing* timing) {
  const auto start = timing != nullptr ? Clock::now() : Clock::time_point{};
  const int n_rows = active.rows(step.axis);
  if (n_rows == 0 || state_->stopped(thread)) return;
  std::array<Rows, kMaxInputs> in;
  for (size_t i = 0; i < step.in.size(); ++i) in[i] = locate(step.in[i], active, thread);
  std::byte* const own =
      arena_.data() + thread_arenas_ + thread_bytes_ * static_cast<size_t>(thread);
  const StepContext context{*state_,
                            active.batch,
                            active.cache,
                            kernels_,
                            active.regime,
                            step.partition,
                            thread,
                            limits_.n_threads,
                            phase,
                            &state_->counter(step.first_counter + phase),
                            n_rows,
                            step.row_width,
                            columns,
                            {in.data(), step.in.size()},
                            locate(step.out, active, thread),
                            step.weights,
                            {arena_.data() + step.shared_offset, step.shared_bytes},
                            {own + step.thread_offset, step.thread_bytes}};
  try {
    step.op->run(context);
  } catch (...) {
    state_->fail(std::current_exception());
  }
  if (timing != nullptr) timing->ns += ns_between(start, Clock::now());
}

// Copies a value, and the views of it, before a later step takes its place.
void Plan::keep(int value, const Schedule& schedule, const Active& active) const {
  for (size_t id = 0; id < active.trace->size(); ++id) {
    const LoweredValue& lowered = lowering_.values()[id];
    if (lowered.storage != value) continue;
    Traced& traced = (*active.trace)[id];
    traced.shape = lowered.type.shape;
    if (lowered.type.kind != ValueKind::kFloats) continue;
    traced.n_rows =
        traced.shape.axis == Axis::kTokens ? active.batch.n_tokens() : active.batch.n_rows();
    const Rows rows = locate(schedule.places[id], active, 0);
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
  for (size_t i = 0; i < schedules_.size(); ++i) {
    for (size_t s = 0; s < schedules_[i].steps.size(); ++s) {
      const Step& step = schedules_[i].steps[s];
      Timing& timing = timings_[i][s];
      if (timing.runs == 0) continue;
      StepProfile profile;
      profile.name = step.op->kernel(step.weights, schedules_[i].regime) + "-" + kernels_.isa;
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
