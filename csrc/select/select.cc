#include "select/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"

namespace edgelm {
namespace {

constexpr size_t kBlock = 128;
constexpr size_t kLanes = 16;  // independent maxima, so that the loop over them is vector code
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The block's largest value; +infinity if it holds NaN.
inline float max_of(const float* x, size_t n) {
  float max[kLanes];
  int32_t nan[kLanes] = {};
  std::fill_n(max, kLanes, -kInfinity);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) {
      max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
      nan[j] |= x[i + j] != x[i + j];
    }
  }
  for (size_t j = 0; i + j < n; ++j) {
    max[j] = x[i + j] > max[j] ? x[i + j] : max[j];
    nan[j] |= x[i + j] != x[i + j];
  }
  for (size_t j = 1; j < kLanes; ++j) {
    max[0] = max[j] > max[0] ? max[j] : max[0];
    nan[0] |= nan[j];
  }
  return nan[0] ? kInfinity : max[0];
}

[[noreturn]] void fail_broken(std::span<const float> row, size_t first) {
  while (!(row[first] != row[first] || row[first] == kInfinity)) ++first;
  fail(ErrorKind::kLogits, "the logit of token ", first, " is ", row[first],
       ": the model's weights or a logits processor are broken");
}

// Calls visit(first, n, max) for every block of the row, and checks all of it.
template <class Visit>
void scan(std::span<const float> row, Visit visit) {
  check(!row.empty(), "logits: the row is empty");
  float all = -kInfinity;
  for (size_t first = 0; first < row.size(); first += kBlock) {
    const size_t n = std::min(kBlock, row.size() - first);
    const float max = n == kBlock ? max_of(&row[first], kBlock) : max_of(&row[first], n);
    if (max == kInfinity) fail_broken(row, first);
    all = std::max(all, max);
    visit(first, n, max);
  }
  if (all == -kInfinity) {
    fail(ErrorKind::kLogits, "no token is left: every one of the ", row.size(),
         " logits is -inf; logit_bias or a logits processor bans all of them");
  }
}

// Floats as integers of the same order. Adding 0 makes -0 equal to +0.
inline uint32_t order(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x + 0.0f);
  return bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
}

inline float from_order(uint32_t key) {
  return std::bit_cast<float>(key ^ (key >> 31 ? 0x80000000u : 0xffffffffu));
}

// One number to sort by: larger logits first, then lower ids.
inline uint64_t rank(float logit, size_t id) {
  return uint64_t(order(logit)) << 32 | (0xffffffffu - uint32_t(id));
}

inline Candidate from_rank(uint64_t rank) {
  return {int32_t(0xffffffffu - uint32_t(rank)), from_order(uint32_t(rank >> 32))};
}

// exp(x) for x <= 0, relative error 2e-7; written so that loops over it vectorize. Below -87, where
// exp leaves the normal floats, it stays at exp(-87). Coefficients: Cephes' expf.
inline float exp_nonpositive(float x) {
  x = x < -87.0f ? -87.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = x * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float f = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n ln 2, in two parts
  float p = 1.9875691500e-4f;
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  return p * std::bit_cast<float>((std::bit_cast<int32_t>(shifted) - 0x4b400000 + 127) << 23);
}

}  // namespace

int32_t argmax(std::span<const float> row) {
  float best = -kInfinity;
  size_t block = 0;
  scan(row, [&](size_t first, size_t, float max) {
    if (max > best) {
      best = max;
      block = first;
    }
  });
  size_t id = block;
  while (row[id] != best) ++id;
  return int32_t(id);
}

std::vector<Candidate> top(std::span<const float> row, size_t k) {
  check(k > 0, "top: k must be at least 1");
  k = std::min(k, row.size());
  std::vector<float> maxima;
  maxima.reserve(row.size() / kBlock + 1);
  scan(row, [&](size_t, size_t, float max) { maxima.push_back(max); });
  // The k-th largest block maximum bounds the k-th largest logit from below, so only the blocks
  // that reach it are read again.
  float bound = -kInfinity;
  if (k <= maxima.size()) {
    std::vector<float> sorted = maxima;
    std::nth_element(sorted.begin(), sorted.begin() + ptrdiff_t(k) - 1, sorted.end(),
                     std::greater<>());
    bound = sorted[k - 1];
  }
  std::vector<uint64_t> best;
  best.reserve(k <= maxima.size() ? 4 * k : row.size());
  for (size_t block = 0; block < maxima.size(); ++block) {
    if (maxima[block] < bound) continue;
    const size_t first = block * kBlock, end = std::min(first + kBlock, row.size());
    for (size_t i = first; i < end; ++i) {
      if (row[i] >= bound && row[i] > -kInfinity) best.push_back(rank(row[i], i));
    }
  }
  const size_t n = std::min(k, best.size());
  std::partial_sort(best.begin(), best.begin() + ptrdiff_t(n), best.end(), std::greater<>());
  std::vector<Candidate> out(n);
  std::transform(best.begin(), best.begin() + ptrdiff_t(n), out.begin(), from_rank);
  return out;
}

double log_sum_exp(std::span<const float> row) {
  float max = -kInfinity;
  scan(row, [&](size_t, size_t, float block_max) { max = std::max(max, block_max); });
  double sum = 0;
  for (size_t first = 0; first < row.size(); first += kBlock) {
    const size_t n = std::min(kBlock, row.size() - first);
    float odds[kBlock] = {};
    for (size_t i = 0; i < n; ++i) odds[i] = exp_nonpositive(row[first + i] - max);
    float lanes[kLanes] = {};
    for (size_t i = 0; i < kBlock; ++i) lanes[i % kLanes] += odds[i];
    for (const float lane : lanes) sum += double(lane);
  }
  return double(max) + std::log(sum);
}

}  // namespace edgelm
