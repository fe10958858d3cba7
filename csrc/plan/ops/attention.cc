#include <algorithm>
#include <array>
#include <string>

#include "core/arena.h"
#include "core/error.h"
#include "kernels/attention.h"
#include "plan/kv_cache.h"
#include "plan/op.h"

namespace edgelm {
namespace {

constexpr int kCallRows = 64;       // rows (queries x heads) that share the conversion of k and v
constexpr int kCallsPerThread = 4;  // fewer than these are split into blocks
constexpr int kPartialBlocks = 32;  // of kSmallTokens queries; room for the parts of a split

// The queries of one sequence, or a few of them, and one K/V head: what one kernel call may do.
struct Call {
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
    state_ = args.state(1);
    width_ = state_.k_width;
    check(state_.n_heads > 0 && state_.v_width == width_,
          "input 1 must hold keys and values of one width");
    check(q.widths.size() == 2 && q.last() == width_, "q must have the shape (T, H, ", width_,
          "), as k has, got ", q);
    check(q.widths[0] % state_.n_heads == 0, "the ", q.widths[0],
          " heads of q must be a multiple of the ", state_.n_heads, " heads of k");
    axis_ = q.axis;
    n_heads_ = q.widths[0];
    heads_each_ = n_heads_ / state_.n_heads;
    queries_ = std::max(1, kCallRows / heads_each_);
    scale_ = args.attrs.number("scale");
    softcap_ = args.attrs.number("softcap", 0);
    check(softcap_ >= 0, "softcap is ", softcap_, ", expected 0 for none, or more");
    window_ = args.attrs.integer("window", 0, 1 << 30, 0);
    causal_ = args.attrs.boolean("causal", true);
    check(state_.window == 0 || (window_ > 0 && window_ <= state_.window), "window ", window_,
          " sees more than the ", state_.window, " tokens that kv keeps");
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
    const size_t scratch = attention_scratch_floats(queries_ * heads_each_, width_);
    return {partial_floats() * sizeof(float),
            aligned(scratch * sizeof(float)) + static_cast<size_t>(queries_) * sizeof(int32_t)};
  }

  void run(const StepContext& c) const override {
    // All threads see the same calls, and so come to the same split.
    int n_calls = 0, n_parts = 0;
    size_t n_floats = 0;
    each_call(c, [&](const Call& call) {
      const int blocks = call.end_block - call.first_block;
      ++n_calls;
      n_parts += blocks;
      n_floats += static_cast<size_t>(blocks) * part_floats(call);
    });
    const bool split = n_calls < kCallsPerThread * c.n_threads && n_parts > n_calls &&
                       n_floats <= partial_floats();
    if (c.phase == 1 && !split) return;
    const bool parts = split && c.phase == 0;
    const int n_chunks = parts ? n_parts : n_calls;
    auto* partials = reinterpret_cast<float*>(c.shared.data());
    int first = 0, next = c.next_chunk(n_chunks);
    each_call(c, [&](const Call& call) {
      const int blocks = call.end_block - call.first_block;
      const int n = parts ? blocks : 1;
      for (; next >= 0 && next < first + n; next = c.next_chunk(n_chunks)) {
        AttentionArgs args = arguments(c, call);
        if (parts) {
          const int block = next - first;
          args.first_block += block;
          args.end_block = args.first_block + 1;
          args.partials = partials + static_cast<size_t>(block) * part_floats(call);
        } else if (split) {
          args.partials = partials;
        }
        (c.phase == 0 ? c.kernels.attention : c.kernels.merge_attention)(args);
      }
      first += n;
      partials += static_cast<size_t>(blocks) * part_floats(call);
    });
  }

 private:
  size_t part_floats(const Call& call) const {
    return static_cast<size_t>(call.n_rows) * static_cast<size_t>(heads_each_) *
           static_cast<size_t>(width_ + 2);
  }
  size_t partial_floats() const {
    return static_cast<size_t>(kPartialBlocks * kSmallTokens) * static_cast<size_t>(n_heads_) *
           static_cast<size_t>(width_ + 2);
  }
  int token_of(const StepContext& c, int row) const {
    return axis_ == Axis::kTokens ? row : c.batch.wanted[static_cast<size_t>(row)];
  }

  // Calls f for every call, in the same order on every thread; a sequence's last queries, which see
  // most, come first.
  template <class F>
  void each_call(const StepContext& c, F f) const {
    const Batch& batch = c.batch;
    const auto sequence_of = [&](int token) { return batch.sequence[static_cast<size_t>(token)]; };
    const auto slot_of = [&](int token) { return c.slot[static_cast<size_t>(token)]; };
    for (int begin = 0, end = 0; begin < c.n_rows; begin = end) {
      const int32_t sequence = sequence_of(token_of(c, begin));
      while (end < c.n_rows && sequence_of(token_of(c, end)) == sequence) ++end;
      int last = token_of(c, end - 1);
      if (!causal_) {
        while (last + 1 < batch.n_tokens() && sequence_of(last + 1) == sequence) ++last;
      }
      const int n_tiles = (end - begin + queries_ - 1) / queries_;
      for (int tile = n_tiles - 1; tile >= 0; --tile) {
        Call call{};
        call.row = begin + tile * queries_;
        call.n_rows = std::min(queries_, end - call.row);
        call.token = token_of(c, call.row);
        call.length = slot_of(last) + 1;
        const int first_slot = slot_of(call.token);
        const int last_slot = slot_of(token_of(c, call.row + call.n_rows - 1));
        const int seen_from = window_ == 0 ? 0 : std::max(0, first_slot + 1 - window_);
        const int seen_to = causal_ ? last_slot + 1 : call.length;
        call.first_block = seen_from / kAttentionBlock;
        call.end_block = (seen_to + kAttentionBlock - 1) / kAttentionBlock;
        for (call.kv_head = 0; call.kv_head < state_.n_heads; ++call.kv_head) f(call);
      }
    }
  }

  AttentionArgs arguments(const StepContext& c, const Call& call) const {
    const int first_head = call.kv_head * heads_each_;
    const size_t column = static_cast<size_t>(first_head) * static_cast<size_t>(width_);
    const KvCache::LayerPages pages =
        c.cache->pages(c.batch.sequence[static_cast<size_t>(call.token)], state_.layer);
    const auto head = static_cast<size_t>(call.kv_head);
    const size_t scratch =
        aligned(attention_scratch_floats(queries_ * heads_each_, width_) * sizeof(float));
    auto* slots = reinterpret_cast<int32_t*>(c.thread_memory.data() + scratch);
    for (int i = 0; i < call.n_rows; ++i) {
      slots[i] = c.slot[static_cast<size_t>(token_of(c, call.row + i))];
    }
    AttentionArgs args{};
    args.q = c.in[0][call.row] + column;
    args.q_stride = c.in[0].stride_bytes / sizeof(float);
    args.out = c.out[call.row] + column;
    args.out_stride = c.out.stride_bytes / sizeof(float);
    args.position = slots;
    args.n_tokens = call.n_rows;
    args.n_heads = heads_each_;
    args.head_width = width_;
    args.pages = pages.table;
    args.k_offset = pages.k_offset + head * pages.k_tile_bytes;
    args.v_offset = pages.v_offset + head * pages.v_tile_bytes;
    args.type = c.cache->type();
    args.length = call.length;
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
    args.first_block = call.first_block;
    args.end_block = call.end_block;
    args.scratch = reinterpret_cast<float*>(c.thread_memory.data());
    return args;
  }

  StateSpec state_;
  int width_ = 0;  // of a head
  Axis axis_ = Axis::kTokens;
  int n_heads_ = 0;
  int heads_each_ = 0;  // of q, for each of k
  int queries_ = 1;     // of a call, at most
  float scale_ = 1, softcap_ = 0;
  int window_ = 0;
  bool causal_ = true;
};

}  // namespace

EDGELM_OP(attention, Attention)

}  // namespace edgelm
