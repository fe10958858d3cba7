#pragma once

#include <cstdint>
#include <span>

namespace edgelm {

// The tokens of one run: grouped by sequence, positions rising and continuing each sequence's
// cache.
struct Batch {
  std::span<const int32_t> token;     // T ids
  std::span<const int32_t> position;  // T
  std::span<const int32_t> sequence;  // T handles of the KV cache
  std::span<const int32_t> wanted;    // R rising indices into the batch: the rows of Axis::kRows

  int n_tokens() const { return static_cast<int>(token.size()); }
  int n_rows() const { return static_cast<int>(wanted.size()); }
};

}  // namespace edgelm
