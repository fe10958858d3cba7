#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace edgelm {

// What a request does to the row of logits before its chain reads it. Its tokens must be below V.
struct Edits {
  std::vector<int32_t> biased;  // tokens, and what is added to the logit of each
  std::vector<float> bias;
  double repeat = 1, presence = 0, frequency = 0;

  bool penalizes() const { return repeat != 1 || presence != 0 || frequency != 0; }
  bool empty() const { return biased.empty() && !penalizes(); }

  // Adds the bias, then makes the tokens of `recent` less likely, in place. `repeat` divides a
  // positive logit and multiplies a negative one (arXiv:1909.05858); `presence` is subtracted once
  // and `frequency` for every occurrence (OpenAI's definitions).
  void apply(std::span<float> row, std::span<const int32_t> recent) const;
};

}  // namespace edgelm
