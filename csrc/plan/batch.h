#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace edgelm {

// The tokens of one run, grouped by sequence: each goes on from what the cache holds of its own.
struct Batch {
  std::span<const int32_t> token;       // T ids; -1 stands for the next row of embeddings
  std::span<const int32_t> sequence;    // T handles of the KV cache
  std::span<const int32_t> wanted{};    // R rising indices into the batch: the rows of Axis::kRows
  std::span<const int32_t> position{};  // (T, P); empty: the slots of the cache, P = 1
  std::span<const float> embeddings{};  // a row for each token of id -1
  int embedding_width = 0;              // of a row; 0: there are none
  std::span<const int32_t> adapter{};   // one a sequence, in their order, 0 being none; empty: none

  int n_tokens() const { return static_cast<int>(token.size()); }
  int n_rows() const { return static_cast<int>(wanted.size()); }
  int n_positions() const { return static_cast<int>(position.size() / token.size()); }  // P
};

// Calls f(handle, first, end) for each run of equal sequences in the batch.
template <class F>
void each_sequence(const Batch& batch, F f) {
  const size_t n = batch.sequence.size();
  for (size_t first = 0, end = 0; first < n; first = end) {
    const int32_t handle = batch.sequence[first];
    while (end < n && batch.sequence[end] == handle) ++end;
    f(handle, first, end);
  }
}

}  // namespace edgelm
