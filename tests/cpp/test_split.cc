// How the work between two barriers is dealt out to fast and slow cores, in fake time.
#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "plan/run_state.h"
#include "testing.h"

using namespace edgelm;

namespace {

struct Matrix {
  int n_units, least;
  double unit_time;  // on a core of speed 1
};

// A layer of Llama 3.2 1B in Q4_K: q; k and v; output; gate and up; down. Groups of 16 rows.
const std::vector<Matrix> kLayer = {{128, 1, 1}, {64, 1, 1}, {128, 1, 1}, {512, 1, 2}, {128, 1, 4}};

// When the last thread is through, each asking for more as soon as it is done.
double finish(const Matrix& matrix, const std::vector<double>& speeds,
              const std::vector<double>& believed) {
  const double sum = std::accumulate(believed.begin(), believed.end(), 0.0);
  const double fastest = *std::max_element(believed.begin(), believed.end());
  std::atomic<int> taken{0};
  std::vector<double> clock(speeds.size(), 0.0);
  std::vector<bool> left(speeds.size(), false);
  int done = 0;
  for (;;) {
    size_t next = speeds.size();
    for (size_t i = 0; i < speeds.size(); ++i) {
      if (!left[i] && (next == speeds.size() || clock[i] < clock[next])) next = i;
    }
    if (next == speeds.size()) break;
    Turn turn{static_cast<int>(next), 0, static_cast<float>(believed[next] / sum),
              static_cast<float>(fastest / sum)};
    const Range units = take(taken, matrix.n_units, matrix.least, matrix.n_units, turn);
    left[next] = units.size() == 0;
    done += units.size();
    clock[next] += units.size() * matrix.unit_time / speeds[next];
  }
  EXPECT(done == matrix.n_units) << done << " of " << matrix.n_units << " units";
  return *std::max_element(clock.begin(), clock.end());
}

// The layer's time over that of all cores together without a wait.
double over_ideal(const std::vector<double>& speeds, const std::vector<double>& believed) {
  double took = 0, work = 0;
  for (const Matrix& matrix : kLayer) {
    took += finish(matrix, speeds, believed);
    work += matrix.n_units * matrix.unit_time;
  }
  return took * std::accumulate(speeds.begin(), speeds.end(), 0.0) / work;
}

}  // namespace

TEST(split_follows_each_cores_speed) {
  const std::vector<std::vector<double>> machines = {
      {1, 0.2},
      {1, 0.05},
      {1, 1, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3},
      {1, 1, 1, 1, 0.25, 0.25, 0.25, 0.25},
      {1, 0.8, 0.8, 0.8, 0.25, 0.25, 0.25, 0.25},
  };
  for (const std::vector<double>& speeds : machines) {
    const double over = over_ideal(speeds, speeds);
    EXPECT(over < 1.03) << over << " of the ideal with " << speeds.size() << " cores, the last "
                        << speeds.back();
  }
  // The seeded fault: all cores are taken for equal.
  const double blind = over_ideal({1, 0.05}, {1, 1});
  EXPECT(blind > 1.5) << blind << " of the ideal";
}

TEST(split_of_equal_cores_is_even) {
  for (const size_t n : {size_t{1}, size_t{2}, size_t{4}, size_t{8}}) {
    const std::vector<double> speeds(n, 1.0);
    const double over = over_ideal(speeds, speeds);
    EXPECT(over < 1.01) << over << " of the ideal with " << n << " cores";
  }
}

TEST(split_takes_every_unit_once) {
  std::atomic<int> taken{0};
  Turn fast{0, 0, 0.75F, 0.75F}, slow{1, 0, 0.25F, 0.75F}, alone{0, 0, 1, 1};
  EXPECT(take(taken, 100, 4, 8, fast).size() == 8);     // the most
  EXPECT(take(taken, 100, 4, 100, fast).size() == 32);  // 92 * 0.75 / 2 in fours
  EXPECT(take(taken, 100, 4, 100, slow).size() == 4);
  EXPECT(take(taken, 100, 4, 100, alone).size() == 56);
  EXPECT(take(taken, 100, 4, 100, alone).size() == 0 && !alone.declined);
  // Three units are left: the fast thread will have done them before the slow one its first.
  taken = 97;
  slow.share = 0.05F;
  EXPECT(take(taken, 100, 1, 100, slow).size() == 0 && slow.declined);
  EXPECT(take(taken, 100, 1, 100, fast).size() == 1 && !fast.declined);
}
