#include "core/error.h"
#include "plan/kv_cache.h"
#include "plan/op.h"

namespace edgelm {
namespace {

// Appends k and v (T, G, C) to the cache of their sequences; the result is a handle to that layer.
class Kv final : public Op {
 public:
  ValueType infer(const OpArgs& args) override {
    args.expect(2, 0);
    const Shape& k = args.floats(0);
    const Shape& v = args.floats(1);
    check(k.axis == Axis::kTokens && k.widths.size() == 2, "k must have the shape (T, G, C), got ",
          k);
    check(v == k, "v ", v, " must have the shape of k ", k);
    state_.layer = args.attrs.integer("layer", 0, kMaxLayers - 1);
    state_.n_heads = k.widths[0];
    state_.k_width = state_.v_width = k.last();
    state_.window = args.attrs.integer("window", 0, 1 << 30, 0);
    check_state(state_);
    return {ValueKind::kKv, k};
  }

  std::optional<StateSpec> state() const override { return state_; }

  Partition partition(Regime regime) const override {
    return {regime == Regime::kSmall ? Split::kColumns : Split::kTokens, state_.k_width};
  }

  void run(const StepContext& c) const override {
    const int width = state_.k_width;
    const Range rows = c.rows, columns = c.columns;
    // Head by head, since a tile's keys of neighbouring tokens share cache lines.
    for (int column = columns.begin; column < columns.end; column += width) {
      const auto head = static_cast<size_t>(column / width);
      for (int t = rows.begin; t < rows.end; ++t) {
        const auto token = static_cast<size_t>(t);
        const KvCache::LayerPages to = c.cache->pages(c.batch.sequence[token], state_.layer);
        const int32_t slot = c.slot[token];
        uint8_t* page = to.table[slot / kPageTokens];
        c.kernels.store_kv({c.cache->type(), width, c.in[0][t] + column, c.in[1][t] + column,
                            page + to.k_offset + head * to.k_tile_bytes,
                            page + to.v_offset + head * to.v_tile_bytes, slot % kPageTokens});
      }
    }
  }

 private:
  StateSpec state_;
};

}  // namespace

EDGELM_OP(kv, Kv)

}  // namespace edgelm
