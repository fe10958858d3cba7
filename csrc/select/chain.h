#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace edgelm {

// Tokens that may be chosen and their logits, highest first; n >= 1. Probabilities are
// softmax(logits).
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<double> logits;
};

// What narrows or bends candidates by one number.
struct Narrower {
  const char* name;
  void (*apply)(Candidates& candidates, double value);
};

// All of them, in llama.cpp's order.
std::span<const Narrower> narrowers();

// The k tokens with the highest logits; all if k is 0. Throws as top() does.
Candidates candidates_of(std::span<const float> row, size_t k);

// The token at which the cumulative probability passes u, 0 <= u < 1.
int32_t draw(const Candidates& candidates, double u);

}  // namespace edgelm
