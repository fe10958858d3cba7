#pragma once

#include <string>
#include <vector>

#include "core/arena.h"
#include "plan/lowering.h"
#include "plan/weight_store.h"

namespace edgelm {

// Where a step finds the rows of a value.
struct Place {
  enum class Space : uint8_t { kNone, kShared, kThread, kOutput };
  Space space = Space::kNone;
  size_t offset = 0;  // in the space; kOutput: in a row of the output
  size_t stride_bytes = 0;
  int output = 0;  // kOutput: which
};

struct Step {
  std::shared_ptr<const Op> op;
  std::vector<const LoadedWeight*> weights;
  Partition partition;
  int n_phases;
  bool barrier;  // before it
  std::vector<Place> in;
  Place out;
  Axis axis;                           // of its result
  int row_width;                       // of its result, in floats
  int value;                           // its result
  size_t shared_offset, shared_bytes;  // its memory
  size_t thread_offset, thread_bytes;
};

// What threads do in a phase, one item after the other, each taking what is left of it.
struct Item {
  enum class Kind : uint8_t {
    kOwn,    // a replicated step, by each thread that has not run it in this run
    kChain,  // steps that need only each other's same rows or columns: taken together, in chunks
    kOp,     // one phase of a step that deals out its work itself
  };
  Kind kind;
  std::vector<int> steps;
  int op_phase = 0;
  int counter = 0;  // of the units taken
  int n_units = 0;  // of columns; 0: the units are rows
  int unit = 0;     // in floats
  int least = 1;    // units of the smallest chunks
};

// What lies between two barriers.
struct Phase {
  int first_step = 0;  // the one that waits for what was before
  std::vector<Item> items;
};

// The steps of one regime, their phases, and the places of all values.
struct Schedule {
  Regime regime;
  int max_tokens, max_rows;
  std::vector<Step> steps;
  std::vector<Phase> phases;
  std::vector<Place> places;  // of every lowered value
  int n_counters = 0;
  size_t shared_bytes = 0;  // the arena that all threads share
  size_t thread_bytes = 0;  // and each thread's own
};

struct ScheduleLimits {
  int max_tokens, max_rows, n_threads;
};

Schedule make_schedule(const Graph& graph, const Lowering& lowering, const WeightStore& weights,
                       Regime regime, const ScheduleLimits& limits);

}  // namespace edgelm
