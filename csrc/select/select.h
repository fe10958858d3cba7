#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace edgelm {

// Reading one row of logits, (V,). Every function throws kLogits if the row holds NaN or +infinity,
// or nothing above -infinity (a token at -infinity is banned): there is no sound choice then.

struct Candidate {
  int32_t id;
  float logit;
};

// The largest logit's id; the lowest id of equal ones.
int32_t argmax(std::span<const float> row);

// The min(k, V) largest logits, largest first and lower ids first among equals, without banned
// tokens. Reads the row once, and the blocks that hold them again: O(V + k log k).
std::vector<Candidate> top(std::span<const float> row, size_t k);

// log(sum(exp(row))), with an error of about 1e-7.
double log_sum_exp(std::span<const float> row);

}  // namespace edgelm
