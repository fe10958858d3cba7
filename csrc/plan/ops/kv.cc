#include "plan/ops/kv.h"

#include "core/error.h"

namespace edgelm {

ValueType Kv::infer(const OpArgs& args) {
  args.expect(2, 0);
  const Shape& k = args.floats(0);
  const Shape& v = args.floats(1);
  check(k.axis == Axis::kTokens && k.widths.size() == 2, "k must have the shape (T, G, C), got ",
        k);
  check(v == k, "v ", v, " must have the shape of k ", k);
  check(k.last() % kHeadWidthUnit == 0, "the head width of k ", k, " must be a multiple of ",
        kHeadWidthUnit);
  layer_.layer = args.attrs.integer("layer", 0, KvCache::kMaxLayers - 1);
  layer_.n_kv_heads = k.widths[0];
  layer_.head_width = k.last();
  layer_.window = args.attrs.integer("window", 0, 1 << 30, 0);
  return {ValueKind::kKv, k};
}

Partition Kv::partition(Regime regime) const {
  return {regime == Regime::kSmall ? Split::kColumns : Split::kTokens, layer_.head_width};
}

void Kv::run(const StepContext& c) const {
  const int width = layer_.head_width;
  const Range rows = c.rows, columns = c.columns;
  // Head by head, since a tile's keys of neighbouring tokens share cache lines.
  for (int column = columns.begin; column < columns.end; column += width) {
    for (int t = rows.begin; t < rows.end; ++t) {
      const auto token = static_cast<size_t>(t);
      const KvCache::Tiles to = c.cache->tiles(c.batch.sequence[token], layer_.layer);
      const int32_t position = c.batch.position[token];
      const size_t tile = static_cast<size_t>(column / width) * to.tile_bytes;
      uint8_t* page = to.pages[position / kPageTokens];
      c.kernels.store_kv({c.cache->type(), width, c.in[0][t] + column, c.in[1][t] + column,
                          page + to.k_offset + tile, page + to.v_offset + tile,
                          position % kPageTokens});
    }
  }
}

std::vector<KvLayer> kv_layers(const Graph& graph) {
  std::vector<KvLayer> layers;
  for (const Node& node : graph.nodes()) {
    const auto* kv = dynamic_cast<const Kv*>(node.op.get());
    if (kv != nullptr) layers.push_back(kv->layer());
  }
  return layers;
}

EDGELM_OP(kv, Kv)

}  // namespace edgelm
