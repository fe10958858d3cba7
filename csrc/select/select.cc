#include "select/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "core/error.h"

namespace edgelm {
namespace {

// Floats as integers of the same order, so that the compiler can vectorize min and max exactly and
// NaN cannot hide: a NaN lies above +infinity or below -infinity. Adding 0 makes -0 equal to +0.
inline int32_t order(float x) {
  const int32_t bits = std::bit_cast<int32_t>(x + 0.0f);
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

inline float from_order(int32_t key) {
  return std::bit_cast<float>(key ^ ((key >> 31) & 0x7fffffff));
}

constexpr int32_t kInfinity = 0x7f800000;                     // order(+infinity)
constexpr int32_t kMinusInfinity = kInfinity ^ int32_t(~0u);  // order(-infinity)
constexpr size_t kBlock = 64;

struct Range {
  int32_t min = std::numeric_limits<int32_t>::max();
  int32_t max = std::numeric_limits<int32_t>::min();
};

inline Range range_of(const float* x, size_t n) {
  Range r;
  for (size_t i = 0; i < n; ++i) {
    const int32_t key = order(x[i]);
    r.min = key < r.min ? key : r.min;
    r.max = key > r.max ? key : r.max;
  }
  return r;
}

// Calls visit(first, n, range) for every block of the row, then checks the whole.
template <class Visit>
void scan(std::span<const float> row, Visit visit) {
  check(!row.empty(), "logits: the row is empty");
  Range all;
  for (size_t first = 0; first < row.size(); first += kBlock) {
    const size_t n = std::min(kBlock, row.size() - first);
    const Range r = n == kBlock ? range_of(&row[first], kBlock) : range_of(&row[first], n);
    if (r.max >= kInfinity || r.min < kMinusInfinity) {
      for (size_t i = first; i < first + n; ++i) {
        const int32_t key = order(row[i]);
        if (key >= kInfinity || key < kMinusInfinity) {
          fail(ErrorKind::kLogits, "the logit of token ", i, " is ", row[i],
               ": the model's weights or a logits processor are broken");
        }
      }
    }
    all.max = std::max(all.max, r.max);
    visit(first, n, r);
  }
  if (all.max == kMinusInfinity) {
    fail(ErrorKind::kLogits, "no token is left: every one of the ", row.size(),
         " logits is -inf; logit_bias or a logits processor bans all of them");
  }
}

// One number to sort by: larger logits first, then lower ids.
inline uint64_t rank(int32_t key, size_t id) {
  return uint64_t(uint32_t(key) ^ 0x80000000u) << 32 | (0xffffffffu - uint32_t(id));
}

inline Candidate from_rank(uint64_t rank) {
  return {int32_t(0xffffffffu - uint32_t(rank)),
          from_order(int32_t(uint32_t(rank >> 32) ^ 0x80000000u))};
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
  int32_t best = std::numeric_limits<int32_t>::min();
  size_t block = 0;
  scan(row, [&](size_t first, size_t, Range r) {
    if (r.max > best) {
      best = r.max;
      block = first;
    }
  });
  size_t id = block;
  while (order(row[id]) != best) ++id;
  return int32_t(id);
}

std::vector<Candidate> top(std::span<const float> row, size_t k) {
  check(k > 0, "top: k must be at least 1");
  k = std::min(k, row.size());
  // Ranks above the threshold gather here; when it is full the best k stay and raise the threshold.
  const size_t capacity = std::min(2 * k + 4 * kBlock, row.size() + kBlock);
  std::vector<uint64_t> best;
  best.reserve(capacity);
  int32_t threshold = kMinusInfinity;
  scan(row, [&](size_t first, size_t n, Range r) {
    if (r.max <= threshold) return;  // an equal logit further on has a higher id, and loses
    for (size_t i = first; i < first + n; ++i) {
      const int32_t key = order(row[i]);
      if (key > threshold) best.push_back(rank(key, i));
    }
    if (best.size() + kBlock > capacity && best.size() > k) {
      std::nth_element(best.begin(), best.begin() + ptrdiff_t(k) - 1, best.end(), std::greater<>());
      best.resize(k);
      threshold = order(from_rank(best[k - 1]).logit);
    }
  });
  const size_t n = std::min(k, best.size());
  std::partial_sort(best.begin(), best.begin() + ptrdiff_t(n), best.end(), std::greater<>());
  std::vector<Candidate> out(n);
  std::transform(best.begin(), best.begin() + ptrdiff_t(n), out.begin(), from_rank);
  return out;
}

double log_sum_exp(std::span<const float> row) {
  int32_t largest = std::numeric_limits<int32_t>::min();
  scan(row, [&](size_t, size_t, Range r) { largest = std::max(largest, r.max); });
  const float max = from_order(largest);
  double sum = 0;
  for (size_t first = 0; first < row.size(); first += kBlock) {
    const size_t n = std::min(kBlock, row.size() - first);
    float lanes[8] = {};
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
      for (size_t j = 0; j < 8; ++j) lanes[j] += exp_nonpositive(row[first + i + j] - max);
    }
    for (; i < n; ++i) lanes[i % 8] += exp_nonpositive(row[first + i] - max);
    for (const float lane : lanes) sum += double(lane);
  }
  return double(max) + std::log(sum);
}

}  // namespace edgelm
