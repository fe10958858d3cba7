#include "select/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <numeric>

#include "core/error.h"

namespace edgelm {
namespace {

constexpr size_t kBlock = 128;
constexpr size_t kAhead = 8 * kBlock;  // what is fetched while a block is read
constexpr double kSlack = 1e-6;        // of a share, for what a sum of floats may lack
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Four lanes of any processor, in the vector types that GCC and clang share.
using Float4 = float __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));

inline Float4 load(const float* x) {
  Float4 v;
  std::memcpy(&v, x, sizeof v);
  return v;
}

inline Float4 all(float x) { return Float4{x, x, x, x}; }

// The largest of a block; +infinity if it holds NaN. Four vectors at once, as each max has to wait
// for the one before it.
inline float max_of(const float* x) {
  Float4 max[4] = {all(-kInfinity), all(-kInfinity), all(-kInfinity), all(-kInfinity)};
  Int4 nan = {};
  for (size_t i = 0; i < kBlock; i += 16) {
    for (size_t j = 0; j < 4; ++j) {
      const Float4 v = load(x + i + 4 * j);
      max[j] = v > max[j] ? v : max[j];
      nan |= v != v;
    }
  }
  if (nan[0] | nan[1] | nan[2] | nan[3]) return kInfinity;
  max[0] = max[0] > max[1] ? max[0] : max[1];
  max[2] = max[2] > max[3] ? max[2] : max[3];
  max[0] = max[0] > max[2] ? max[0] : max[2];
  return std::max(std::max(max[0][0], max[0][1]), std::max(max[0][2], max[0][3]));
}

// Calls visit(first, block) for every block of the row; the last is filled up with -infinity.
template <class Visit>
void for_each_block(std::span<const float> row, Visit visit) {
  const size_t whole = row.size() / kBlock * kBlock;
  for (size_t first = 0; first < whole; first += kBlock) {
    for (size_t i = 0; i < kBlock; i += 16) __builtin_prefetch(row.data() + first + kAhead + i);
    visit(first, &row[first]);
  }
  if (whole < row.size()) {
    float last[kBlock];
    std::fill_n(last, kBlock, -kInfinity);
    std::copy(row.begin() + ptrdiff_t(whole), row.end(), last);
    visit(whole, last);
  }
}

[[noreturn]] void fail_broken(std::span<const float> row, size_t first) {
  while (!(row[first] != row[first] || row[first] == kInfinity)) ++first;
  fail(ErrorKind::kLogits, "the logit of token ", first, " is ", row[first],
       ": the model's weights or a logits processor are broken");
}

// Calls visit(first, max) for every block of the row, and checks all of it.
template <class Visit>
void for_each_max(std::span<const float> row, Visit visit) {
  check(!row.empty(), "logits: the row is empty");
  float largest = -kInfinity;
  for_each_block(row, [&](size_t first, const float* block) {
    const float max = max_of(block);
    if (max == kInfinity) fail_broken(row, first);
    largest = std::max(largest, max);
    visit(first, max);
  });
  if (largest == -kInfinity) {
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

// Sorts ranks whose ids ascend: three stable passes over the bits of the logit, the lowest first.
void sort_descending(std::vector<uint64_t>& ranks) {
  constexpr size_t kBits = 11, kDigits = size_t(1) << kBits;
  if (ranks.size() < kDigits) {
    std::sort(ranks.begin(), ranks.end(), std::greater<>());
    return;
  }
  std::vector<uint64_t> sorted(ranks.size());
  for (size_t shift = 32; shift < 64; shift += kBits) {
    std::vector<size_t> place(kDigits + 1);  // of each digit's first rank, the highest digit first
    const auto digit = [&](uint64_t rank) { return kDigits - 1 - (rank >> shift) % kDigits; };
    for (const uint64_t rank : ranks) ++place[digit(rank) + 1];
    std::partial_sum(place.begin(), place.end(), place.begin());
    for (const uint64_t rank : ranks) sorted[place[digit(rank)]++] = rank;
    ranks.swap(sorted);
  }
}

// Of each block.
std::vector<float> block_maxima(std::span<const float> row) {
  std::vector<float> maxima;
  maxima.reserve(row.size() / kBlock + 1);
  for_each_max(row, [&](size_t, float max) { maxima.push_back(max); });
  return maxima;
}

// Of the tokens from `bound` upwards, without banned ones.
std::vector<uint64_t> ranks_of(std::span<const float> row, const std::vector<float>& maxima,
                               float bound) {
  std::vector<uint64_t> ranks;
  for (size_t block = 0; block < maxima.size(); ++block) {
    if (maxima[block] < bound) continue;
    const size_t first = block * kBlock, end = std::min(first + kBlock, row.size());
    for (size_t i = first; i < end; ++i) {
      if (row[i] >= bound && row[i] > -kInfinity) ranks.push_back(rank(row[i], i));
    }
  }
  return ranks;
}

// The first n, at most.
std::vector<Candidate> sorted_ranks(std::vector<uint64_t> ranks, size_t n) {
  n = std::min(n, ranks.size());
  if (n == ranks.size()) {
    sort_descending(ranks);
  } else {
    std::partial_sort(ranks.begin(), ranks.begin() + ptrdiff_t(n), ranks.end(), std::greater<>());
  }
  std::vector<Candidate> out(n);
  std::transform(ranks.begin(), ranks.begin() + ptrdiff_t(n), out.begin(), from_rank);
  return out;
}

// exp(x) for x <= 0, relative error 2e-7. Below -87, where exp leaves the normal floats, it stays
// at exp(-87). Coefficients: Cephes' expf.
inline Float4 exp_nonpositive(Float4 x) {
  x = x < -87.0f ? all(-87.0f) : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const Float4 shifted = x * 1.44269504f + kRound;
  const Float4 n = shifted - kRound;
  const Float4 f = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // x - n ln 2, in two parts
  Float4 p = all(1.9875691500e-4f);
  p = p * f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.0f;
  const Int4 exponent = (std::bit_cast<Int4>(shifted) - 0x4b400000 + 127) << 23;
  return p * std::bit_cast<Float4>(exponent);
}

}  // namespace

int32_t argmax(std::span<const float> row) {
  float best = -kInfinity;
  size_t block = 0;
  for_each_max(row, [&](size_t first, float max) {
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
  const std::vector<float> maxima = block_maxima(row);
  // The k-th largest block maximum bounds the k-th largest logit from below, so only the blocks
  // that reach it are read again.
  float bound = -kInfinity;
  if (k <= maxima.size()) {
    std::vector<float> sorted = maxima;
    std::nth_element(sorted.begin(), sorted.begin() + ptrdiff_t(k) - 1, sorted.end(),
                     std::greater<>());
    bound = sorted[k - 1];
  }
  return sorted_ranks(ranks_of(row, maxima, bound), k);
}

Spread::Spread(std::span<const float> row, float scale)
    : row_(row),
      maxima_(block_maxima(row)),
      scale_(scale),
      largest_(*std::max_element(maxima_.begin(), maxima_.end())) {
  // A histogram for each lane: neighbours often fall into one bin, and would wait for each other.
  std::array<std::array<double, 4>, kBins> odds{};
  for_each_block(row, [&](size_t, const float* block) {
    Float4 weighted = {};
    for (size_t i = 0; i < kBlock; i += 4) {
      Float4 x = (load(block + i) - largest_) * scale_;
      x = x < -87.0f ? all(-87.0f) : x;
      const Float4 e = exp_nonpositive(x);
      weighted += e * x;
      const Int4 bin = __builtin_convertvector(x * -float(kBinsPerNat), Int4);
      for (size_t lane = 0; lane < 4; ++lane) {
        odds[size_t(std::min(bin[lane], kBins - 1))][lane] += double(e[lane]);
      }
    }
    weighted_ +=
        double(weighted[0]) + double(weighted[1]) + double(weighted[2]) + double(weighted[3]);
  });
  for (size_t bin = 0; bin < kBins; ++bin) {
    cumulated_[bin + 1] =
        cumulated_[bin] + odds[bin][0] + odds[bin][1] + odds[bin][2] + odds[bin][3];
  }
}

std::vector<Candidate> Spread::at_least(float bound) const {
  return sorted_ranks(ranks_of(row_, maxima_, bound), row_.size());
}

float Spread::bound(int bins) const {
  if (bins >= kBins) return -kInfinity;
  return largest_ - (float(bins) + 0.5f) / (float(kBinsPerNat) * scale_);  // 0.5: for rounding
}

float Spread::bound_of_share(double share) const {
  const double least = share * odds() * (1 + kSlack);
  const auto reached = std::lower_bound(cumulated_.begin(), cumulated_.end(), least);
  return bound(static_cast<int>(reached - cumulated_.begin()));
}

float Spread::bound_of_typical(double p) const {
  const double least = p * odds() * (1 + kSlack);
  const double centre = -weighted_ / odds() * kBinsPerNat;  // in bins below the largest
  for (int radius = 1;; ++radius) {
    const int first = std::max(0, static_cast<int>(std::ceil(centre - radius)));
    const int end = static_cast<int>(centre + radius);
    if (end >= kBins) return -kInfinity;
    const auto at = [&](int bin) { return cumulated_[static_cast<size_t>(bin)]; };
    if (end > first && at(end) - at(first) > least) return bound(end);
  }
}

double log_sum_exp(std::span<const float> row) {
  float max = -kInfinity;
  for_each_max(row, [&](size_t, float block_max) { max = std::max(max, block_max); });
  double sum = 0;
  for_each_block(row, [&](size_t, const float* block) {
    Float4 odds = {};
    for (size_t i = 0; i < kBlock; i += 4) odds += exp_nonpositive(load(block + i) - max);
    sum += double(odds[0]) + double(odds[1]) + double(odds[2]) + double(odds[3]);
  });
  return double(max) + std::log(sum);
}

}  // namespace edgelm
