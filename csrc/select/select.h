#pragma once

#include <array>
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

// How a row's odds exp(scale * (logit - the largest)) are spread, in two passes over it: which
// tokens matter is known before any is sorted. Relative error about 1e-7; odds below exp(-87) count
// as that. The row must outlive it.
class Spread {
 public:
  explicit Spread(std::span<const float> row, float scale = 1);  // scale > 0

  // All tokens whose logits are at least `bound`, in top()'s order.
  std::vector<Candidate> at_least(float bound) const;

  float largest() const { return largest_; }  // logit
  double odds() const { return cumulated_[kBins]; }
  double weighted() const { return weighted_; }  // the sum of odds * log(odds)

  // A logit such that the tokens from it upwards have at least that share of the odds.
  float bound_of_share(double share) const;
  // A logit such that from it upwards are the most typical tokens, to a share above p. A token's
  // surprise is then near the entropy.
  float bound_of_typical(double p) const;

 private:
  static constexpr int kBins = 1024, kBinsPerNat = 32;

  float bound(int bins) const;  // below the first so many

  std::span<const float> row_;
  std::vector<float> maxima_;  // of its blocks
  float scale_, largest_;
  double weighted_ = 0;
  std::array<double, kBins + 1> cumulated_{};  // odds within i / kBinsPerNat of the largest
};

// log(sum(exp(row))), with an error of about 1e-7.
double log_sum_exp(std::span<const float> row);

}  // namespace edgelm
