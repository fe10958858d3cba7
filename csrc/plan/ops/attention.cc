#include <algorithm>
#include <array>
#include <string>

#include "core/arena.h"
#include "core/error.h"
#include "kernels/attention.h"
#include "plan/kv_cache.h"
#include "plan/op.h"
#include "plan/ops/kv.h"

namespace edgelm {
namespace {

constexpr int kTaskRows = 64;       // rows (queries x heads) that share the conversion of k and v
constexpr int kTasksPerThread = 4;  // fewer than these are split into blocks
constexpr int kPartialBlocks = 32;  // of kSmallTokens queries; room for the parts of a split

// The queries of one sequence, or a few of them, and one K/V head: what one kernel call may do.
struct Task {
  int row, n_rows;  // of q
  int token;        // of the batch: the first row's
  int kv_head;
  int length;  // slots of the sequence, with the batch's
  int first_block, end_block;
};

// out(T, H * C): softmax attention of q(T, H, C) over the cache. With wanted rows q is (R, H, C).
class Attention final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(2, 2);
    const Shape& q = args.floats(0);
    const auto* kv = dynamic_cast<const Kv*>(args.input(1).op);
    check(kv != nullptr, "input 1 must be the result of kv");
    layer_ = kv->layer();
    check(q.widths.size() == 2 && q.last() == layer_.head_width, "q must have the shape (T, H, ",
          layer_.head_width, "), as k has, got ", q);
    check(q.widths[0] % layer_.n_kv_heads == 0, "the ", q.widths[0],
          " heads of q must be a multiple of the ", layer_.n_kv_heads, " heads of k");
    axis_ = q.axis;
    n_heads_ = q.widths[0];
    group_ = n_heads_ / layer_.n_kv_heads;
    queries_ = std::max(1, kTaskRows / group_);
    scale_ = args.attrs.number("scale");
    softcap_ = args.attrs.number("softcap", 0);
    check(softcap_ >= 0, "softcap is ", softcap_, ", expected 0 for none, or more");
    window_ = args.attrs.integer("window", 0, 1 << 30, 0);
    causal_ = args.attrs.boolean("causal", true);
    check(layer_.window == 0 || (window_ > 0 && window_ <= layer_.window), "window ", window_,
          " sees more than the ", layer_.window, " tokens that kv keeps");
    for (size_t i = 0; i < 2; ++i) {
      const Weight* weight = args.optional_weight(i);
      check(weight == nullptr || weight->shape == std::vector<int>{n_heads_},
            i == 0 ? "sinks" : "alibi", " must have the shape (", n_heads_, ")");
    }
    return {ValueKind::kFloats, {q.axis, {q.row_width()}}};
  }

  Partition partition(Regime) const override { return {Split::kDynamic}; }
  Access reads(int, Regime) const override { return Access::kAll; }
  int phases(Regime) const override { return 2; }  // sum, and merge what was split
  StepMemory memory(const StepSize&) const override {
    const size_t scratch = attention_scratch_floats(queries_ * group_, layer_.head_width);
    return {partial_floats() * sizeof(float),
            aligned(scratch * sizeof(float)) + static_cast<size_t>(queries_) * sizeof(int32_t)};
  }

  void run(const StepContext& c) const override {
    // All threads see the same tasks, and so come to the same split.
    int n_tasks = 0, n_parts = 0;
    size_t n_floats = 0;
    each_task(c, [&](const Task& task) {
      const int blocks = task.end_block - task.first_block;
      ++n_tasks;
      n_parts += blocks;
      n_floats += static_cast<size_t>(blocks) * part_floats(task);
    });
    const bool split = n_tasks < kTasksPerThread * c.n_threads && n_parts > n_tasks &&
                       n_floats <= partial_floats();
    if (c.phase == 1 && !split) return;
    const bool parts = split && c.phase == 0;
    const int n_chunks = parts ? n_parts : n_tasks;
    auto* partials = reinterpret_cast<float*>(c.shared.data());
    int first = 0, next = c.next_chunk(n_chunks);
    each_task(c, [&](const Task& task) {
      const int blocks = task.end_block - task.first_block;
      const int n = parts ? blocks : 1;
      for (; next >= 0 && next < first + n; next = c.next_chunk(n_chunks)) {
        AttentionArgs args = arguments(c, task);
        if (parts) {
          const int block = next - first;
          args.first_block += block;
          args.end_block = args.first_block + 1;
          args.partials = partials + static_cast<size_t>(block) * part_floats(task);
        } else if (split) {
          args.partials = partials;
        }
        (c.phase == 0 ? c.kernels.attention : c.kernels.merge_attention)(args);
      }
      first += n;
      partials += static_cast<size_t>(blocks) * part_floats(task);
    });
  }

 private:
  size_t part_floats(const Task& task) const {
    return static_cast<size_t>(task.n_rows) * static_cast<size_t>(group_) *
           static_cast<size_t>(layer_.head_width + 2);
  }
  size_t partial_floats() const {
    return static_cast<size_t>(kPartialBlocks * kSmallTokens) * static_cast<size_t>(n_heads_) *
           static_cast<size_t>(layer_.head_width + 2);
  }
  int token_of(const StepContext& c, int row) const {
    return axis_ == Axis::kTokens ? row : c.batch.wanted[static_cast<size_t>(row)];
  }

  // Calls f for every task, in the same order on every thread; a sequence's last queries, which see
  // most, come first.
  template <class F>
  void each_task(const StepContext& c, F f) const {
    const Batch& batch = c.batch;
    const auto sequence_of = [&](int token) { return batch.sequence[static_cast<size_t>(token)]; };
    const auto position_of = [&](int token) { return batch.position[static_cast<size_t>(token)]; };
    for (int begin = 0, end = 0; begin < c.n_rows; begin = end) {
      const int32_t sequence = sequence_of(token_of(c, begin));
      while (end < c.n_rows && sequence_of(token_of(c, end)) == sequence) ++end;
      int last = token_of(c, end - 1);
      if (!causal_) {
        while (last + 1 < batch.n_tokens() && sequence_of(last + 1) == sequence) ++last;
      }
      const int n_tiles = (end - begin + queries_ - 1) / queries_;
      for (int tile = n_tiles - 1; tile >= 0; --tile) {
        Task task{};
        task.row = begin + tile * queries_;
        task.n_rows = std::min(queries_, end - task.row);
        task.token = token_of(c, task.row);
        task.length = position_of(last) + 1;
        const int first_position = position_of(task.token);
        const int last_position = position_of(token_of(c, task.row + task.n_rows - 1));
        const int seen_from = window_ == 0 ? 0 : std::max(0, first_position + 1 - window_);
        const int seen_to = causal_ ? last_position + 1 : task.length;
        task.first_block = seen_from / kAttentionBlock;
        task.end_block = (seen_to + kAttentionBlock - 1) / kAttentionBlock;
        for (task.kv_head = 0; task.kv_head < layer_.n_kv_heads; ++task.kv_head) f(task);
      }
    }
  }

  AttentionArgs arguments(const StepContext& c, const Task& task) const {
    const int first_head = task.kv_head * group_;
    const size_t column = static_cast<size_t>(first_head) * static_cast<size_t>(layer_.head_width);
    const KvCache::Tiles tiles =
        c.cache->tiles(c.batch.sequence[static_cast<size_t>(task.token)], layer_.layer);
    const size_t tile = static_cast<size_t>(task.kv_head) * tiles.tile_bytes;
    const size_t scratch =
        aligned(attention_scratch_floats(queries_ * group_, layer_.head_width) * sizeof(float));
    auto* positions = reinterpret_cast<int32_t*>(c.thread_memory.data() + scratch);
    for (int i = 0; i < task.n_rows; ++i) {
      positions[i] = c.batch.position[static_cast<size_t>(token_of(c, task.row + i))];
    }
    AttentionArgs args{};
    args.q = c.in[0][task.row] + column;
    args.q_stride = c.in[0].stride_bytes / sizeof(float);
    args.out = c.out[task.row] + column;
    args.out_stride = c.out.stride_bytes / sizeof(float);
    args.position = positions;
    args.n_tokens = task.n_rows;
    args.n_heads = group_;
    args.head_width = layer_.head_width;
    args.pages = tiles.pages;
    args.k_offset = tiles.k_offset + tile;
    args.v_offset = tiles.v_offset + tile;
    args.type = c.cache->type();
    args.length = task.length;
    args.window = window_;
    args.causal = causal_;
    args.scale = scale_;
    args.softcap = softcap_;
    const auto per_head = [&](size_t i) -> const float* {
      return i < c.weights.size() && c.weights[i] != nullptr ? c.weights[i]->floats + first_head
                                                             : nullptr;
    };
    args.sinks = per_head(0);
    args.alibi = per_head(1);
    args.first_block = task.first_block;
    args.end_block = task.end_block;
    args.scratch = reinterpret_cast<float*>(c.thread_memory.data());
    return args;
  }

  KvLayer layer_{};
  Axis axis_ = Axis::kTokens;
  int n_heads_ = 0, group_ = 0;
  int queries_ = 1;  // of a task, at most
  float scale_ = 1, softcap_ = 0;
  int window_ = 0;
  bool causal_ = true;
};

}  // namespace

EDGELM_OP(attention, Attention)

}  // namespace edgelm
