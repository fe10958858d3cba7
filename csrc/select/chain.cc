#include "select/chain.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "select/select.h"

namespace edgelm {
namespace {

// Of what is listed, in order.
Candidates::Sums sums_of(std::span<const double> logits) {
  Candidates::Sums sums;
  for (const double logit : logits) {
    const double x = logit - logits[0], odds = std::exp(x);
    sums.odds += odds;
    sums.weighted += odds * x;
  }
  return sums;
}

double odds(const Candidates& c) { return sums_of(c.logits).odds + c.rest.odds; }

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

void keep(Candidates& c, size_t first, size_t end) {
  const auto cut = [&](auto& list) {
    list.erase(list.begin() + ptrdiff_t(end), list.end());
    list.erase(list.begin(), list.begin() + ptrdiff_t(first));
  };
  cut(c.ids);
  cut(c.logits);
  c.rest = {};
}

// Keeps the most typical tokens, to a mass above p; typical is a surprise -log(prob) near the
// entropy. They lie side by side. Source: arXiv:2202.00666.
void typical_p(Candidates& c, double p) {
  const size_t n = c.ids.size();
  const Candidates::Sums listed = sums_of(c.logits);
  const double sum = listed.odds + c.rest.odds;
  // surprise - entropy = log(sum) - x - (log(sum) - mean)
  const double mean = (listed.weighted + c.rest.weighted) / sum;
  const auto x = [&](size_t i) { return c.logits[i] - c.logits[0]; };
  const auto distance = [&](size_t i) { return std::abs(mean - x(i)); };
  const double centre = c.logits[0] + mean;
  size_t end = size_t(std::partition_point(c.logits.begin(), c.logits.end(),
                                           [&](double logit) { return logit >= centre; }) -
                      c.logits.begin());
  size_t first = end;
  double mass = 0;
  do {
    const bool up = end == n || (first > 0 && distance(first - 1) <= distance(end));
    mass += std::exp(x(up ? --first : end++));
  } while ((first > 0 || end < n) && mass <= p * sum);
  keep(c, first, end);
}

// Keeps the fewest likeliest tokens whose mass is at least p. Source: arXiv:1904.09751.
void top_p(Candidates& c, double p) {
  const double mass = p * odds(c);
  keep(c, 0, first_sum(c.logits, [&](double sum) { return sum >= mass; }) + 1);
}

// Keeps tokens at least p times as likely as the best. Source: arXiv:2407.01082.
void min_p(Candidates& c, double p) {
  const double least = c.logits[0] + std::log(p);
  const auto below = std::partition_point(c.logits.begin() + 1, c.logits.end(),
                                          [&](double logit) { return logit >= least; });
  keep(c, 0, static_cast<size_t>(below - c.logits.begin()));
}

// Divides the logits by t > 0: below 1 the likely get likelier. The largest becomes 0, so that a
// tiny t makes no NaN.
void temperature(Candidates& c, double t) {
  const double largest = c.logits[0];
  for (double& logit : c.logits) logit = (logit - largest) / t;
}

}  // namespace

struct Sampler {
  const char* name;
  bool (*idle)(double value);  // it changes nothing
  void (*apply)(Candidates& candidates, double value);
  // A logit from which upwards it needs the row's tokens; null: it needs no fewer than come.
  float (*bound)(const Spread& spread, double value);
};

namespace {

constexpr Sampler kSamplers[] = {
    {"typical_p", [](double p) { return p >= 1; }, typical_p,
     [](const Spread& spread, double p) { return spread.bound_of_typical(p); }},
    {"top_p", [](double p) { return p >= 1; }, top_p,
     [](const Spread& spread, double p) { return spread.bound_of_share(p); }},
    {"min_p", [](double p) { return p <= 0; }, min_p,
     [](const Spread& spread, double p) {
       const float largest = spread.largest();
       return std::min(largest, largest + std::log(static_cast<float>(p)) - 1e-3F);
     }},
    {"temperature", [](double t) { return t == 1; }, temperature, nullptr}};

const Sampler& sampler_named(const std::string& name) {
  for (const Sampler& sampler : kSamplers) {
    if (name == sampler.name) return sampler;
  }
  fail(ErrorKind::kArgument, "unknown sampler ", name);
}

Candidates listed(const std::vector<Candidate>& best) {
  Candidates c;
  for (const Candidate& one : best) {
    c.ids.push_back(one.id);
    c.logits.push_back(static_cast<double>(one.logit));
  }
  return c;
}

// The tokens from a bound upwards, and what the others count.
Candidates listed(std::span<const float> row, const Spread& spread, float bound) {
  Candidates c = listed(spread.at_least(bound));
  if (c.ids.size() == row.size()) return c;
  const Candidates::Sums sums = sums_of(c.logits);
  c.rest = {std::max(0.0, spread.odds() - sums.odds),
            std::min(0.0, spread.weighted() - sums.weighted)};
  return c;
}

}  // namespace

std::vector<std::string> chain_names() {
  std::vector<std::string> names;
  for (const Sampler& sampler : kSamplers) names.emplace_back(sampler.name);
  return names;
}

Chain::Chain(size_t top_k, std::span<const std::pair<std::string, double>> samplers)
    : top_k_(top_k) {
  for (const auto& [name, value] : samplers) {
    const Sampler& sampler = sampler_named(name);
    if (!sampler.idle(value)) steps_.emplace_back(&sampler, value);
  }
}

Candidates Chain::candidates(std::span<const float> row) const { return left_for(row, 1); }

Candidates Chain::left_for(std::span<const float> row, double u) const {
  if (top_k_ != 0) return applied(listed(top(row, top_k_)));
  if (!steps_.empty() && steps_[0].first->bound != nullptr) {
    const auto [sampler, value] = steps_[0];
    const Spread spread(row);
    return applied(listed(row, spread, sampler->bound(spread, value)));
  }
  if (u >= 1) return applied(listed(top(row, row.size())));
  const double t = steps_.empty() ? 1 : steps_[0].second;  // a temperature
  const Spread spread(row, t > 0 ? static_cast<float>(std::clamp(1 / t, 1e-6, 1e6)) : 1);
  Candidates c = applied(listed(spread.at_least(spread.bound_of_share(u))));
  if (c.ids.size() < row.size()) c.rest.odds = std::max(0.0, spread.odds() - odds(c));
  return c;
}

Candidates Chain::applied(Candidates c) const {
  for (const auto& [sampler, value] : steps_) sampler->apply(c, value);
  return c;
}

int32_t Chain::choose(std::span<const float> row, double u) const {
  if (top_k_ == 1) return argmax(row);  // whatever the samplers do, they keep one
  const Candidates c = left_for(row, u);
  const double mass = u * odds(c);
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
