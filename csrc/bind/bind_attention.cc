// The attention kernel of one ISA over pages made for the call, for tests and benches.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "bind/bind.h"
#include "core/arena.h"
#include "core/error.h"
#include "kernels/attention.h"
#include "kernels/dispatch.h"
#include "plan/state.h"

namespace py = pybind11;

namespace edgelm::bind {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;
using Ids = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

// The pages of one K/V head, 64-byte aligned. What no token was stored in reads as NaN.
class Pages {
 public:
  Pages(KvType type, int head_width, int n_slots)
      : tile_bytes_(kv_tile_bytes(type, head_width)),
        pages_(static_cast<size_t>(n_slots + kPageTokens - 1) / kPageTokens),
        bytes_(2 * tile_bytes_ * pages_.size() + 64) {
    std::memset(bytes_.data(), 0xff, bytes_.size());
    uint8_t* base = bytes_.data() + (64 - reinterpret_cast<uintptr_t>(bytes_.data()) % 64);
    for (size_t i = 0; i < pages_.size(); ++i) pages_[i] = base + i * 2 * tile_bytes_;
  }
  uint8_t* k_tile(int slot) { return pages_[static_cast<size_t>(slot / kPageTokens)]; }
  uint8_t* v_tile(int slot) { return k_tile(slot) + tile_bytes_; }
  const uint8_t* const* pages() const { return pages_.data(); }
  size_t tile_bytes() const { return tile_bytes_; }

 private:
  size_t tile_bytes_;
  std::vector<uint8_t*> pages_;
  std::vector<uint8_t> bytes_;
};

const float* per_head(const std::optional<Floats>& x, int n_heads, const char* name) {
  if (!x) return nullptr;
  check(x->ndim() == 1 && x->shape(0) == n_heads, name, " must be (", n_heads, ",) floats");
  return x->data();
}

// Sums blocks [first, end) of a group of queries as the plan may: whole, or a block a call.
void run(const KernelTable& table, AttentionArgs& a, bool split, std::vector<float>& partials) {
  int first = a.end_block, end = 0;
  for (int t = 0; t < a.n_tokens; ++t) {
    const Visible see = visible(a, a.position[t]);
    first = std::min(first, see.begin / kAttentionBlock);
    end = std::max(end, (see.end + kAttentionBlock - 1) / kAttentionBlock);
  }
  a.first_block = first;
  a.end_block = end;
  if (!split) return table.attention(a);
  const size_t block_floats = static_cast<size_t>(a.n_tokens * a.n_heads * (a.head_width + 2));
  partials.resize(block_floats * static_cast<size_t>(end - first));
  for (int b = end - 1; b >= first; --b) {
    a.first_block = b;
    a.end_block = b + 1;
    a.partials = partials.data() + block_floats * static_cast<size_t>(b - first);
    table.attention(a);
  }
  a.first_block = first;
  a.end_block = end;
  a.partials = partials.data();
  table.merge_attention(a);
  a.partials = nullptr;
}

Floats attend(const std::string& isa, const Floats& q, const Floats& k, const Floats& v,
              const Ids& positions, const std::string& kv_type, bool causal, int window,
              float scale, float softcap, const std::optional<Floats>& sinks,
              const std::optional<Floats>& alibi, int chunk, bool split) {
  check(q.ndim() == 3 && k.ndim() == 2 && v.ndim() == 2,
        "attention: q is (T, H, C), k and v (S, C)");
  const int n_tokens = static_cast<int>(q.shape(0)), n_heads = static_cast<int>(q.shape(1));
  const int c = static_cast<int>(q.shape(2)), length = static_cast<int>(k.shape(0));
  check(c > 0 && c % kHeadWidthUnit == 0 && k.shape(1) == c && v.shape(1) == c &&
            v.shape(0) == length && n_tokens > 0 && n_heads > 0 && length > 0,
        "attention: the shapes of q, k and v do not fit together, or C is no multiple of 8");
  check(positions.ndim() == 1 && positions.shape(0) == n_tokens, "attention: a position a query");
  for (int t = 0; t < n_tokens; ++t) {
    check(positions.at(t) >= 0 && positions.at(t) < length &&
              (t == 0 || positions.at(t) > positions.at(t - 1)),
          "attention: positions must rise and lie within the ", length, " slots");
  }
  check(chunk > 0 && window >= 0, "attention: chunk must be positive, window not negative");
  const KernelTable& table = kernels(isa);
  const KvType type = kv_type_named(kv_type);

  Pages pages(type, c, length);
  for (int s = 0; s < length; ++s) {
    table.store_kv({type, c, k.data() + s * c, v.data() + s * c, pages.k_tile(s), pages.v_tile(s),
                    s % kPageTokens});
  }
  Floats out({n_tokens, n_heads, c});
  const size_t stride = static_cast<size_t>(n_heads * c);
  const size_t scratch_floats = attention_scratch_floats(chunk * n_heads, c);
  const Memory scratch(scratch_floats * sizeof(float));
  std::vector<float> partials;
  for (int t = 0; t < n_tokens; t += chunk) {
    AttentionArgs a = {};
    a.q = q.data() + t * stride;
    a.out = out.mutable_data() + t * stride;
    a.q_stride = a.out_stride = stride;
    a.position = positions.data() + t;
    a.n_tokens = std::min(chunk, n_tokens - t);
    a.n_heads = n_heads;
    a.head_width = c;
    a.pages = pages.pages();
    a.v_offset = pages.tile_bytes();
    a.type = type;
    a.length = length;
    a.window = window;
    a.causal = causal;
    a.scale = scale;
    a.softcap = softcap;
    a.sinks = per_head(sinks, n_heads, "sinks");
    a.alibi = per_head(alibi, n_heads, "alibi");
    a.end_block = (length + kAttentionBlock - 1) / kAttentionBlock;
    a.scratch = reinterpret_cast<float*>(scratch.data());
    run(table, a, split, partials);
  }
  return out;
}

}  // namespace

void attention(py::module_& m) {
  m.def("attention", &attend, py::arg("isa"), py::arg("q"), py::arg("k"), py::arg("v"),
        py::arg("positions"), py::kw_only(), py::arg("kv_type") = "f16", py::arg("causal") = true,
        py::arg("window") = 0, py::arg("scale") = 1.0f, py::arg("softcap") = 0.0f,
        py::arg("sinks") = py::none(), py::arg("alibi") = py::none(), py::arg("chunk") = 1,
        py::arg("split") = false);
}

}  // namespace edgelm::bind
