#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "select/edits.h"

namespace edgelm {

// Tokens that may be chosen and their logits, highest first; n >= 1. Probabilities are
// softmax(logits).
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<double> logits;
  // The sums of odds = exp(logit - the largest), and of odds * log(odds).
  struct Sums {
    double odds = 0, weighted = 0;
  };
  Sums rest{};  // of what is not listed: it cannot be chosen, but counts in the shares of what can
};

struct Sampler;

// The samplers that a Chain may hold, in llama.cpp's order.
std::vector<std::string> chain_names();

// A request's way from a row of logits (V,) to a token. Its functions throw as top() does.
class Chain {
 public:
  // Takes the top_k candidates, all if it is 0, and applies each named sampler with its number.
  // Throws kArgument for a name that is none of chain_names().
  Chain(size_t top_k, std::span<const std::pair<std::string, double>> samplers);

  // What is left of the row.
  Candidates candidates(std::span<const float> row) const;

  // The candidate at which the cumulative probability passes u, 0 <= u < 1.
  int32_t choose(std::span<const float> row, double u) const;

 private:
  // What is left of the row, of which only a cumulative probability up to u need be listed.
  Candidates left_for(std::span<const float> row, double u) const;
  Candidates applied(Candidates c) const;

  size_t top_k_;
  std::vector<std::pair<const Sampler*, double>> steps_;
};

// A row of logits (V,) that a token is to be chosen from, by one request's rules.
struct Asked {
  std::span<const float> row;
  const Edits* edits;
  const Chain* chain;
  std::span<const int32_t> recent;  // tokens that the penalties look at
  double u;                         // of the request's own randomness, 0 <= u < 1
};

// The token of each row, which stays as it is; -1 for a row that has no sound choice.
std::vector<int32_t> choose(std::span<const Asked> asked);

}  // namespace edgelm
