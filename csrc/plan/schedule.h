#pragma once

#include <string>
#include <vector>

#include "core/arena.h"
#include "plan/loader.h"
#include "plan/lowering.h"

namespace edgelm {

// Where a step finds the rows of a value.
struct Place {
  enum class Space : uint8_t { kNone, kShared, kThread, kOutput };
  Space space = Space::kNone;
  size_t offset = 0;  // in the space; kOutput: in a row of the output
  size_t stride_bytes = 0;
  int output = 0;  // kOutput: which
};

// Steps that threads run together, chunk of columns by chunk: matmuls and what reads their results
// float by float. A part is cut into ever smaller chunks; a thread takes those of its own part,
// then what is left of the others', so that none waits long for one that was held up.
struct Chain {
  int n_steps = 0;  // 0: none begins here
  int n_units = 0;  // of a row
  int unit = 0;     // in floats
  int least = 0;    // units of the smallest chunks
};

struct Step {
  std::shared_ptr<const Op> op;
  std::vector<const LoadedWeight*> weights;
  Partition partition;
  int n_phases;
  int first_counter;  // of its phases, or of its chain's chunks, one a thread
  bool barrier;       // before it
  Chain chain;        // that begins with it
  std::vector<Place> in;
  Place out;
  Axis axis;                           // of its result
  int row_width;                       // of its result, in floats
  int value;                           // its result
  size_t shared_offset, shared_bytes;  // its memory
  size_t thread_offset, thread_bytes;
};

// The steps of one regime, with their barriers and the places of all values.
struct Schedule {
  Regime regime;
  int max_tokens, max_rows;
  std::vector<Step> steps;
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
