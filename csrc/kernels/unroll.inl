#pragma once

// Loops whose counter is a constant in every turn.
namespace edgelm {
namespace {

template <int kValue>
struct Int {
  static constexpr int value = kValue;
};

template <int kEnd, int kBegin = 0, class Body>
EDGELM_INLINE void unroll(const Body& body) {
  if constexpr (kBegin < kEnd) {
    body(Int<kBegin>{});
    unroll<kEnd, kBegin + 1>(body);
  }
}

}  // namespace
}  // namespace edgelm
