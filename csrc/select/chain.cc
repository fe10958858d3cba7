#include "select/chain.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/error.h"
#include "select/select.h"

namespace edgelm {
namespace {

// The odds exp(logit - the largest), summed in order.
double total(std::span<const double> logits) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit - logits[0]);
  return sum;
}

// The first of the odds' cumulative sums for which `passes`; at most the last.
template <class Passes>
size_t first_sum(std::span<const double> logits, Passes passes) {
  double sum = 0;
  for (size_t i = 0; i + 1 < logits.size(); ++i) {
    sum += std::exp(logits[i] - logits[0]);
    if (passes(sum)) return i;
  }
  return logits.size() - 1;
}

void keep_first(Candidates& c, size_t n) {
  c.ids.resize(n);
  c.logits.resize(n);
}

// Keeps the most typical tokens, to a mass above p; typical is a surprise -log(prob) near the
// entropy. Source: arXiv:2202.00666.
void typical_p(Candidates& c, double p) {
  if (p >= 1) return;
  const size_t n = c.ids.size();
  const double sum = total(c.logits);
  std::vector<double> prob(n), distance(n);
  double entropy = 0;
  for (size_t i = 0; i < n; ++i) {
    prob[i] = std::exp(c.logits[i] - c.logits[0]) / sum;
    distance[i] = -std::log(std::max(prob[i], std::numeric_limits<double>::min()));
    entropy += prob[i] * distance[i];
  }
  for (double& d : distance) d = std::abs(d - entropy);
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return distance[a] != distance[b] ? distance[a] < distance[b] : a < b;
  });
  double mass = 0;
  size_t kept = 0;
  do mass += prob[order[kept++]];
  while (kept < n && mass <= p);
  order.resize(kept);
  std::sort(order.begin(), order.end());
  for (size_t i = 0; i < kept; ++i) {
    c.ids[i] = c.ids[order[i]];
    c.logits[i] = c.logits[order[i]];
  }
  keep_first(c, kept);
}

// Keeps the fewest likeliest tokens whose mass is at least p. Source: arXiv:1904.09751.
void top_p(Candidates& c, double p) {
  if (p >= 1) return;
  const double mass = p * total(c.logits);
  keep_first(c, first_sum(c.logits, [&](double sum) { return sum >= mass; }) + 1);
}

// Keeps tokens at least p times as likely as the best. Source: arXiv:2407.01082.
void min_p(Candidates& c, double p) {
  if (p <= 0) return;
  const double least = c.logits[0] + std::log(p);
  const auto below = std::partition_point(c.logits.begin() + 1, c.logits.end(),
                                          [&](double logit) { return logit >= least; });
  keep_first(c, static_cast<size_t>(below - c.logits.begin()));
}

// Divides the logits by t > 0: below 1 the likely get likelier. The largest becomes 0, so that a
// tiny t makes no NaN.
void temperature(Candidates& c, double t) {
  const double largest = c.logits[0];
  for (double& logit : c.logits) logit = (logit - largest) / t;
}

struct Sampler {
  const char* name;
  void (*apply)(Candidates& candidates, double value);
};

constexpr Sampler kSamplers[] = {
    {"typical_p", typical_p}, {"top_p", top_p}, {"min_p", min_p}, {"temperature", temperature}};

const Sampler& sampler_named(const std::string& name) {
  for (const Sampler& sampler : kSamplers) {
    if (name == sampler.name) return sampler;
  }
  fail(ErrorKind::kArgument, "unknown sampler ", name);
}

}  // namespace

std::vector<std::string> chain_names() {
  std::vector<std::string> names;
  for (const Sampler& sampler : kSamplers) names.emplace_back(sampler.name);
  return names;
}

Chain::Chain(size_t top_k, std::span<const std::pair<std::string, double>> samplers)
    : top_k_(top_k) {
  for (const auto& [name, value] : samplers) steps_.emplace_back(sampler_named(name).apply, value);
}

Candidates Chain::candidates(std::span<const float> row) const {
  Candidates c;
  for (const Candidate& best : top(row, top_k_ == 0 ? row.size() : top_k_)) {
    c.ids.push_back(best.id);
    c.logits.push_back(static_cast<double>(best.logit));
  }
  for (const auto& [apply, value] : steps_) apply(c, value);
  return c;
}

int32_t Chain::choose(std::span<const float> row, double u) const {
  if (top_k_ == 1) return argmax(row);  // whatever the samplers do, they keep one
  const Candidates c = candidates(row);
  const double mass = u * total(c.logits);
  return c.ids[first_sum(c.logits, [&](double sum) { return sum > mass; })];
}

std::vector<int32_t> choose(std::span<const Asked> asked) {
  std::vector<int32_t> tokens;
  std::vector<float> edited;
  for (const Asked& one : asked) {
    std::span<const float> row = one.row;
    if (!one.edits->empty()) {
      edited.assign(row.begin(), row.end());
      one.edits->apply(edited, one.recent);
      row = edited;
    }
    try {
      tokens.push_back(one.chain->choose(row, one.u));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kLogits) throw;
      tokens.push_back(-1);
    }
  }
  return tokens;
}

}  // namespace edgelm
