#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/arena.h"
#include "plan/batch.h"
#include "plan/graph.h"
#include "plan/kv_cache.h"
#include "plan/run_state.h"
#include "plan/schedule.h"
#include "plan/weight_store.h"

namespace edgelm {

struct Limits {
  int n_batch = 512;   // tokens of a run
  int max_rows = 512;  // wanted rows of a run
  int n_threads = 1;
};

// A value of a run: n_rows rows of the shape's widths; none for ids and handles of states.
struct Traced {
  Shape shape;
  int n_rows = 0;
  std::vector<float> values;
};

// Since profile() was last called.
struct StepProfile {
  std::string name;     // of the kernel: matvec-q4_1-avx2
  int node = -1;        // in the order of Graph::add; -1 for a derived step
  int64_t ns = 0;       // on the caller's thread
  int64_t wait_ns = 0;  // at the barrier before it
  double bytes = 0;     // of weights
  double macs = 0;
  int64_t runs = 0;
  bool barrier = false;
};

// A compiled graph: loaded weights, one arena, and the flat steps of its two regimes.
class Plan {
 public:
  enum class Status { kDone, kCancelled };

  // Loads the weights. Throws kArgument, kIo, kUnsupportedModel, kMemory, or what `poll` throws.
  Plan(std::shared_ptr<const Graph> graph, const Limits& limits, const Poll& poll);

  // Throws kArgument unless T, R, wanted rows and the lengths of all arrays are in range.
  void check_batch(const Batch& batch) const;

  // Runs a batch; outputs[i] gets the rows of output i. Nothing is allocated. Throws kBusy if the
  // plan is running, kArgument and kCacheFull before any compute, and what a step or poll throws;
  // then, and if it is cancelled, the cache's lengths are as before.
  Status run(const Batch& batch, KvCache* cache, std::span<float* const> outputs, const Poll& poll);

  // Runs a batch and keeps every value of the graph, its inputs included, in their order.
  std::vector<Traced> trace(const Batch& batch, KvCache* cache);

  // For tests and measurements: phase by phase as many threads as the list says, again and again;
  // empty: as the work itself shows, the default.
  void force_threads(std::vector<int> n_threads);

  // Per step since the last call; the first call only starts the recording.
  std::vector<StepProfile> profile();

  const Graph& graph() const { return *graph_; }
  const std::vector<StateSpec>& states() const { return states_; }
  const Limits& limits() const { return limits_; }
  const char* isa() const { return kernels_.isa; }
  size_t weight_bytes() const { return weights_.n_bytes(); }
  size_t arena_bytes() const { return arena_.size(); }
  int output_rows(int output, const Batch& batch) const;

 private:
  struct Timing {
    int64_t ns = 0, wait_ns = 0, runs = 0;
    double bytes = 0, macs = 0;
  };
  struct Active;
  // A regime's schedule, and what is known of its runs.
  struct Program {
    explicit Program(Schedule made) : schedule(std::move(made)), timings(schedule.steps.size()) {}
    Schedule schedule;
    std::vector<Timing> timings;                  // of its steps
    std::vector<double> step_costs, phase_costs;  // for the last run's number of tokens and rows
    int n_tokens = -1, n_rows = -1;
  };

  Status execute(const Batch& given, KvCache* cache, std::span<float* const> outputs,
                 const Poll& poll, std::vector<Traced>* trace);
  static void estimate(Program& program, const Batch& batch);
  void work(const Active& active, Turn& turn);
  void work_chain(const Active& active, const Item& item, Turn& turn);
  void run_step(const Active& active, int step, const Item& item, Turn& turn, Range rows,
                Range columns);
  static void count(const Active& active);
  void keep(int value, const Active& active) const;
  int node_of(int value) const;
  Rows locate(const Place& place, const Active& active, int thread) const;

  std::shared_ptr<const Graph> graph_;
  Limits limits_;
  const KernelTable& kernels_;
  Lowering lowering_;
  WeightStore weights_;
  std::vector<Program> programs_;  // small, and large if n_batch reaches it
  Memory arena_;
  size_t thread_arenas_ = 0;  // where they begin, and the bytes of each
  size_t thread_bytes_ = 0;
  std::unique_ptr<RunState> state_;
  std::vector<StateSpec> states_;               // that a cache must have
  std::vector<int32_t> slots_;                  // of the run's tokens
  uint32_t run_ = 0;                            // this run's number
  std::vector<std::vector<uint32_t>> made_in_;  // the run in which a thread made a step for itself
  std::vector<int> forced_;
  bool profiling_ = false;
  int64_t caller_left_ns_ = 0;  // the caller's thread, the last phase
  std::atomic<bool> running_{false};
};

}  // namespace edgelm
