#include "select/chain.h"
#include "select/select.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/error.h"
#include "testing.h"

using namespace edgelm;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_row(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> row(n);
  for (float& x : row) x = float(random() % 2001) / 100 - 10;  // with many equal ones
  return row;
}

}  // namespace

TEST(top_sorts_any_size_lowest_id_first) {
  for (const size_t n : {1u, 3u, 127u, 128u, 129u, 1000u, 5000u}) {
    const std::vector<float> row = random_row(n, uint32_t(n));
    std::vector<int32_t> ids(n);
    for (size_t i = 0; i < n; ++i) ids[i] = int32_t(i);
    std::sort(ids.begin(), ids.end(),
              [&](int a, int b) { return row[a] != row[b] ? row[a] > row[b] : a < b; });
    for (const size_t k : {size_t(1), size_t(7), size_t(40), n, n + 1}) {
      const std::vector<Candidate> best = top(row, k);
      EXPECT(best.size() == std::min(k, n)) << "n " << n << ", k " << k;
      for (size_t i = 0; i < best.size(); ++i) {
        EXPECT(best[i].id == ids[i] && best[i].logit == row[ids[i]])
            << "n " << n << ", place " << i;
      }
    }
    EXPECT(argmax(row) == ids[0]) << "n " << n;
  }
}

TEST(log_sum_exp_of_equal_logits) {
  for (const size_t n : {1u, 100u, 128u, 300u}) {
    const std::vector<float> row(n, -3.0f);
    EXPECT(std::abs(log_sum_exp(row) - (std::log(double(n)) - 3)) < 5e-7) << "n " << n;
  }
}

TEST(broken_rows_throw) {
  for (const size_t place : {0u, 127u, 128u, 299u}) {
    for (const float bad : {kInfinity, std::nanf(""), -std::nanf("")}) {
      std::vector<float> row = random_row(300, 1);
      row[place] = bad;
      EXPECT_ERROR(ErrorKind::kLogits, argmax(row));
      EXPECT_ERROR(ErrorKind::kLogits, top(row, 5));
      EXPECT_ERROR(ErrorKind::kLogits, log_sum_exp(row));
    }
  }
  const std::vector<float> banned(300, -kInfinity);
  EXPECT_ERROR(ErrorKind::kLogits, argmax(banned));
  EXPECT_ERROR(ErrorKind::kArgument, argmax({}));
  EXPECT_ERROR(ErrorKind::kArgument, top(random_row(3, 1), 0));
}

TEST(a_batch_of_rows_is_each_alone_and_says_which_has_no_choice) {
  const std::vector<float> row = random_row(300, 5);
  std::vector<float> broken = row;
  broken[7] = kInfinity;
  const std::pair<std::string, double> hot{"temperature", 1.5};
  const Chain greedy(1, {}), chain(40, std::span(&hot, 1));
  const Edits none, edits{{3}, {50.f}, 1.3, 0.5, 0.25};
  const std::vector<int32_t> recent{3, 9, 9, 120};
  std::vector<float> edited = row;
  edits.apply(edited, recent);
  const Asked asked[] = {{row, &none, &greedy, {}, 0},
                         {broken, &none, &chain, {}, 0.5},
                         {row, &edits, &chain, recent, 0.75},
                         {row, &none, &chain, recent, 0.75}};
  const std::vector<int32_t> tokens = choose(asked);
  EXPECT(tokens[0] == argmax(row));
  EXPECT(tokens[1] == -1);
  EXPECT(tokens[2] == chain.choose(edited, 0.75));
  EXPECT(tokens[3] == chain.choose(row, 0.75));
  const double nine = double(row[9]);
  EXPECT(edited[9] == float((nine > 0 ? nine / 1.3 : nine * 1.3) - 2 * 0.25 - 0.5));
}
