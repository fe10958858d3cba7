// Attention at exact buffer sizes, so that a sanitizer sees any step outside. Results are checked
// against NumPy in tests/kernels/test_attention.py.
#include <cmath>
#include <memory>
#include <new>
#include <vector>

#include "kernels/attention.h"
#include "kernels/dispatch.h"
#include "testing.h"

using edgelm::AttentionArgs;
using edgelm::KvType;

namespace {

struct Free {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t{64}); }
};
template <class T>
using Aligned = std::unique_ptr<T[], Free>;

template <class T>
Aligned<T> aligned(size_t n) {
  return Aligned<T>(static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})));
}

struct Case {
  KvType type;
  int head_width, n_heads, n_tokens, length, window;
  bool split;
};

// Every key and value is 0.5, so every result must be.
bool attends(const edgelm::KernelTable& table, const Case& c) {
  const size_t tile = edgelm::kv_tile_bytes(c.type, c.head_width);
  const auto n_pages =
      static_cast<size_t>((c.length + edgelm::kPageTokens - 1) / edgelm::kPageTokens);
  std::vector<Aligned<uint8_t>> owners;
  std::vector<const uint8_t*> pages;
  const std::vector<float> half(static_cast<size_t>(c.head_width), 0.5f);
  for (size_t i = 0; i < n_pages; ++i) {
    owners.push_back(aligned<uint8_t>(2 * tile));
    pages.push_back(owners.back().get());
  }
  for (int s = 0; s < c.length; ++s) {
    uint8_t* page = owners[static_cast<size_t>(s / edgelm::kPageTokens)].get();
    table.store_kv({c.type, c.head_width, half.data(), half.data(), page, page + tile,
                    s % edgelm::kPageTokens});
  }
  const int rows = c.n_tokens * c.n_heads;
  const size_t stride = static_cast<size_t>(c.n_heads * c.head_width);
  const std::vector<float> q(stride * static_cast<size_t>(c.n_tokens), 0.1f);
  std::vector<float> out(q.size());
  std::vector<int32_t> position;
  for (int t = c.length - c.n_tokens; t < c.length; ++t) position.push_back(t);
  const auto scratch = aligned<float>(edgelm::attention_scratch_floats(rows, c.head_width));

  AttentionArgs a{};
  a.q = q.data();
  a.out = out.data();
  a.q_stride = a.out_stride = stride;
  a.position = position.data();
  a.n_tokens = c.n_tokens;
  a.n_heads = c.n_heads;
  a.head_width = c.head_width;
  a.pages = pages.data();
  a.v_offset = tile;
  a.type = c.type;
  a.length = c.length;
  a.window = c.window;
  a.causal = true;
  a.scale = 0.1f;
  a.first_block = edgelm::visible(a, position[0]).begin / edgelm::kAttentionBlock;
  a.end_block = (c.length + edgelm::kAttentionBlock - 1) / edgelm::kAttentionBlock;
  a.scratch = scratch.get();
  std::vector<float> partials;
  if (c.split) {
    partials.resize(static_cast<size_t>((a.end_block - a.first_block) * rows * (c.head_width + 2)));
    a.partials = partials.data();
  }
  table.attention(a);
  if (c.split) table.merge_attention(a);
  for (const float x : out) {
    if (!(std::fabs(x - 0.5f) < 1e-3f)) return false;
  }
  return true;
}

}  // namespace

TEST(attention_stays_within_its_buffers) {
  for (const std::string& isa : edgelm::usable_isas()) {
    const edgelm::KernelTable& table = edgelm::kernels(isa);
    for (const KvType type : {KvType::kF16, KvType::kQ8_0}) {
      for (const int head_width : {8, 24, 80}) {
        for (const int n_heads : {1, 3, 16}) {
          for (const int n_tokens : {1, 5, 23}) {
            for (const int length : {23, 64, 300}) {
              for (const int window : {0, 1, 100}) {
                for (const bool split : {false, true}) {
                  EXPECT(
                      attends(table, {type, head_width, n_heads, n_tokens, length, window, split}))
                      << isa << " C " << head_width << " H " << n_heads << " T " << n_tokens
                      << " length " << length << " window " << window << " split " << split;
                }
              }
            }
          }
        }
      }
    }
  }
}
