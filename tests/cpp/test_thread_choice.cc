// The choice of threads on fake machines, in fake time: what it reaches of the best fixed number.
#include "core/thread_choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "testing.h"

using namespace edgelm;

namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int kMost = 8;

// With n threads a phase of cost 1 takes 1 / speed[n] ms, give or take, of which lost[n] is
// waiting.
struct Machine {
  std::array<double, kMost + 1> speed{}, lost{};
  double noise = 0;  // the largest factor by which a phase takes more or less time, less 1
};

class Run {
 public:
  explicit Run(int limit) : limit_(limit) { threads_ = choice_.begin(limit); }

  // For so long; what was done of what the best fixed number would have done.
  double on(const Machine& machine, int64_t ms) {
    std::uniform_real_distribution<double> exponent(-1, 1);
    double done = 0, best_could = 0;
    const int64_t end = now_ + ms * kMs;
    const double best =
        *std::max_element(machine.speed.begin() + 1, machine.speed.begin() + 1 + limit_);
    while (now_ < end) {
      const auto n = static_cast<size_t>(threads_);
      const double factor = std::pow(1 + machine.noise, exponent(random_));
      const auto ns = static_cast<int64_t>(factor * kMs / machine.speed[n]);
      now_ += ns;
      done += 1;
      best_could += best * static_cast<double>(ns) / factor / kMs;
      threads_ = choice_.phase(
          1, ns, static_cast<int64_t>(static_cast<double>(ns) * machine.lost[n]), now_);
    }
    return done / best_could;
  }
  int threads() const { return threads_; }

 private:
  ThreadChoice choice_;
  int limit_, threads_;
  int64_t now_ = 1000 * kMs;
  std::mt19937 random_{3};
};

// n threads do n times as much, and wait a little.
Machine calm() {
  Machine machine;
  for (size_t n = 1; n <= kMost; ++n) {
    machine.speed[n] = static_cast<double>(n);
    machine.lost[n] = n > 1 ? 0.05 : 0;
  }
  return machine;
}

// Every core has a neighbour: more threads do less than one, in waits and spurts.
Machine crowded() {
  Machine machine = calm();
  for (size_t n = 2; n <= kMost; ++n) {
    machine.speed[n] = 0.4 / static_cast<double>(n);
    machine.lost[n] = 0.8;
  }
  machine.noise = 3;
  return machine;
}

}  // namespace

TEST(thread_choice_keeps_all_on_a_calm_machine) {
  Run run(kMost);
  EXPECT(run.on(calm(), 5000) == 1) << "something was tried";
  EXPECT(run.threads() == kMost);
}

TEST(thread_choice_leaves_crowded_cores_and_comes_back) {
  for (const int limit : {2, 4, 8}) {
    Run run(limit);
    run.on(calm(), 500);
    run.on(crowded(), 500);  // learns it
    const double crowded_part = run.on(crowded(), 10000);
    EXPECT(crowded_part > 0.85) << crowded_part << " of one thread's speed, limit " << limit;
    run.on(calm(), 2500);
    const double calm_part = run.on(calm(), 3000);
    EXPECT(calm_part > 0.99) << calm_part << " of all threads' speed, limit " << limit;
  }
}

TEST(thread_choice_finds_the_cores_that_are_free) {
  // One of eight cores is another's: the eighth thread only makes others wait.
  Machine machine = calm();
  machine.speed[8] = 4.5;
  machine.lost[8] = 0.45;
  machine.noise = 0.5;
  Run run(kMost);
  run.on(machine, 2000);
  const double part = run.on(machine, 10000);
  EXPECT(part > 0.9) << part << " of seven threads' speed, with " << run.threads();
}

TEST(thread_choice_loses_little_where_waits_are_no_loss) {
  // They wait for each other much, and are faster than fewer all the same.
  Machine machine = calm();
  for (size_t n = 2; n <= kMost; ++n) machine.lost[n] = 0.5;
  for (const int limit : {2, 8}) {
    Run run(limit);
    run.on(machine, 2000);
    const double part = run.on(machine, 10000);
    EXPECT(part > 0.96) << part << ", limit " << limit;
    EXPECT(run.threads() == limit || part > 0.98);
  }
}

TEST(thread_choice_follows_the_limit) {
  ThreadChoice choice;
  EXPECT(choice.begin(4) == 4);
  EXPECT(choice.begin(2) == 2);
  EXPECT(choice.begin(8) == 8);
  EXPECT(choice.begin(1) == 1);
  EXPECT(choice.phase(0, 100 * kMs, 0, 100 * kMs) == 1);  // work that costs nothing says nothing
}
