#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "kernels/table.h"
#include "plan/attrs.h"
#include "plan/batch.h"
#include "plan/run_state.h"
#include "plan/state.h"
#include "plan/weights.h"

namespace edgelm {

class KvCache;
class Lowering;
class Op;

enum class ValueKind : uint8_t { kFloats, kBytes, kIds, kKv };

// What infer() says about an op's result.
struct ValueType {
  ValueKind kind = ValueKind::kFloats;
  Shape shape;
  int view_offset =
      -1;  // >= 0: a view of input 0's rows from this float on, with no step of its own
};

// An input as infer() sees it.
struct Input {
  ValueType type;
  const Op* op = nullptr;  // what made it; null for the graph's inputs
  std::string name{};      // of a graph's input: tokens or positions
};

// The arguments of one Graph::add.
struct OpArgs {
  std::span<const Input> inputs;
  std::span<const Weight* const> weights;  // null where an optional one is absent
  const Attrs& attrs;

  const Input& input(size_t i) const;             // throws kArgument if there is none
  const Shape& floats(size_t i) const;            // its shape; throws unless it holds floats
  const Weight& weight(size_t i) const;           // throws if it is absent
  const Weight* optional_weight(size_t i) const;  // null if it is absent
  StateSpec state(size_t i) const;                // that it is a handle to; throws unless it is one
  void expect_positions(size_t i) const;
  void expect(size_t n_inputs, size_t max_weights) const;
};

// T <= kSmallTokens runs the small regime: norms and quantization are done by every thread for
// itself, matmuls by a fixed split of the columns, so that few barriers remain. The large regime
// splits by tokens, and matmuls in chunks that threads take as they come.
enum class Regime : uint8_t { kSmall, kLarge };
inline constexpr int kSmallTokens = 8;

// How threads share an op's result: whoever comes takes a part of what is left. Between a writer
// and a reader of a value `compile` places a barrier, unless the reader needs only the same part:
// then both do it together.
enum class Split : uint8_t {
  kTokens,      // by rows
  kColumns,     // by the width, in units of `unit` floats
  kReplicated,  // each thread makes all of it, in a buffer of its own
  kDynamic,     // by next() or next_chunk(): always a barrier
};
struct Partition {
  static constexpr int kGroup = 0;  // a unit: as many floats as a packed weight has rows in a group
  Split split = Split::kTokens;
  int unit = kGroup;
};

int n_units(const Partition& partition, int row_width);  // of a row; the unit is a number here

// What a thread reads of an input.
enum class Access : uint8_t {
  kOwnPart,  // the same rows or columns that it writes
  kAll,
};

// The memory that a step needs beside its result.
struct StepMemory {
  size_t shared_bytes = 0;  // one block for all threads, alive through the step's phases
  size_t thread_bytes = 0;  // a block for each thread
};

// What a step's memory may depend on.
struct StepSize {
  const KernelTable& kernels;
  std::span<const LoadedWeight* const> weights;
  Regime regime;
  int max_rows;  // of its result
  int n_threads;
};

// What one thread sees of one phase of one step of a run.
struct StepContext {
  RunState& run;
  const Batch& batch;             // its positions are given
  std::span<const int32_t> slot;  // of each token: how many are before it in its sequence
  KvCache* cache;                 // null if no op has a state
  const KernelTable& kernels;
  Regime regime;
  Partition partition;
  Turn& turn;
  int n_threads;  // at most: the number changes as the work runs, and no result may depend on it
  int phase;
  std::atomic<int>& taken;  // units of this phase
  double cost;              // of them all
  int n_rows;               // of the result: T or R; never 0
  int row_width;            // of the result, in floats
  Range rows;               // of the result to make now: all unless the split is kTokens
  Range columns;            // likewise, in floats: all unless it is kColumns
  std::span<const Rows> in;
  Rows out;
  std::span<const LoadedWeight* const> weights;  // null where absent
  std::span<std::byte> shared;                   // 64-byte aligned, as is thread_memory
  std::span<std::byte> thread_memory;

  const LoadedWeight* optional_weight(size_t i) const;  // null if it is absent

  // Some of n units that no thread has taken in this phase, in a multiple of `least` and at most
  // `most`; empty when none are left for this thread or the run was cancelled. Call it between
  // pieces of at most a few ms: it is also where the caller polls.
  Range next(int n, int least, int most) const;
  int next_chunk(int n) const;  // one of them; -1 when none are left
  bool stopped() const;         // the run was cancelled or failed; polls on the caller's thread
};

// One op of the graph. After infer() it is immutable and shared by all plans that run it.
class Op {
 public:
  virtual ~Op() = default;

  // Checks inputs, weights and attributes, keeps what run() needs, and returns the result's type.
  // Throws kArgument that says what, got and expected.
  virtual ValueType infer(const OpArgs& args) = 0;

  // What it keeps of every sequence in the KV cache. Its result is a handle to that.
  virtual std::optional<StateSpec> state() const { return {}; }

  virtual WeightUse weight_use(int /*weight*/) const { return WeightUse::kFloats; }

  // Turns the node into steps. By default one step: this op, on the node's inputs. An op that
  // wants derived inputs, such as quantized rows, asks the lowering for them here.
  virtual void lower(Lowering& lowering) const;

  virtual Partition partition(Regime regime) const = 0;
  virtual Access reads(int /*input*/, Regime) const { return Access::kOwnPart; }
  virtual int phases(Regime) const { return 1; }  // a barrier stands between two phases
  virtual StepMemory memory(const StepSize&) const { return {}; }

  // Throws kArgument if a batch would make run() read outside the weights. Before any compute.
  virtual void check_batch(const Batch&, std::span<const LoadedWeight* const>) const {}

  // Does this thread's part of c.phase. It may throw: the run then ends with that exception.
  virtual void run(const StepContext& c) const = 0;

  // For profiles: the kernel's name without its ISA, as in "matvec-q4_1", and the multiply-adds and
  // the bytes of weights of a run on that many rows.
  virtual std::string kernel(std::span<const LoadedWeight* const>, Regime) const { return name_; }
  virtual double macs(std::span<const LoadedWeight* const>, int /*n_rows*/) const { return 0; }
  virtual double bytes(std::span<const LoadedWeight* const> weights, int n_rows) const;

  const std::string& name() const { return name_; }

 protected:
  friend std::unique_ptr<Op> make_op(std::string_view name);
  std::string name_;
};

// A step that has no node of its own: what a Lowering derives.
class DerivedOp : public Op {
 public:
  explicit DerivedOp(std::string_view name) { name_ = name; }
  ValueType infer(const OpArgs&) final { return {}; }
};

// The op of that name in ops.def; throws kArgument listing them all if there is none.
std::unique_ptr<Op> make_op(std::string_view name);

// In plan/ops/<name>.cc: defines what ops.def lists.
#define EDGELM_OP(name, Class) \
  std::unique_ptr<Op> make_##name() { return std::make_unique<Class>(); }

}  // namespace edgelm
