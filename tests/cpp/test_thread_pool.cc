#include "core/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <stdexcept>
#include <thread>
#include <vector>

#include "testing.h"

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_THREAD__)
#define EDGELM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define EDGELM_TSAN 1
#endif
#endif

using namespace edgelm;

namespace {

// In phase p every unit of one row becomes p + 1, after a look at all of the row that the phase
// before wrote. Plain ints on purpose: the thread sanitizer sees a race if phases do not order
// them.
class Relay {
 public:
  Relay(int n_phases, bool slow) : costs_(static_cast<size_t>(n_phases), 1.0), slow_(slow) {
    taken_ = std::vector<std::atomic<int>>(costs_.size());
  }

  void operator()(Turn& turn) {
    if (turn.thread > 0) ++helped;
    const std::vector<int>& from = rows_[turn.phase % 2];
    std::vector<int>& to = rows_[(turn.phase + 1) % 2];
    std::atomic<int>& taken = taken_[static_cast<size_t>(turn.phase)];
    for (size_t i = static_cast<size_t>(taken++); i < to.size(); i = static_cast<size_t>(taken++)) {
      if (slow_) std::this_thread::sleep_for(std::chrono::microseconds(50));
      if (std::accumulate(from.begin(), from.end(), 0) != turn.phase * kUnits) ++wrong;
      to[i] = turn.phase + 1;
      turn.done += 1.0 / kUnits;
    }
  }

  std::span<const double> costs() const { return costs_; }
  bool arrived() const {
    const auto n = costs_.size();
    return std::all_of(rows_[n % 2].begin(), rows_[n % 2].end(),
                       [&](int unit) { return unit == static_cast<int>(n); });
  }

  std::atomic<int> wrong{0}, helped{0};

 private:
  static constexpr int kUnits = 8;
  std::vector<double> costs_;
  bool slow_;
  std::vector<std::atomic<int>> taken_;
  std::vector<int> rows_[2] = {std::vector<int>(kUnits), std::vector<int>(kUnits)};
};

}  // namespace

TEST(pool_phases_follow_each_other) {
  ThreadPool pool;
  for (int n = 1; n <= 4; ++n) {
    Relay relay(2000, false);
    pool.run({n, relay.costs()}, std::ref(relay));
    EXPECT(relay.wrong == 0) << relay.wrong.load() << " stale rows with " << n << " threads";
    EXPECT(relay.arrived()) << n << " threads";
  }
}

TEST(pool_changes_its_threads_between_phases) {
  ThreadPool pool;
  for (const int period : {1, 7}) {
    const std::function<int(int)> changing = [&](int phase) { return 1 + phase / period % 4; };
    for (const bool slow :
         {false, true}) {  // slow: so that helpers have the time to wake and sleep
      Relay relay(slow ? 60 : 20000, slow);
      pool.run({4, relay.costs(), 0, &changing}, std::ref(relay));
      EXPECT(relay.wrong == 0 && relay.arrived()) << relay.wrong.load() << " stale rows";
    }
  }
}

TEST(pool_ends_while_its_threads_begin) {
  for (int round = 0; round < 300; ++round) {
    ThreadPool pool;
    pool.run(3, [](int) {});
  }
}

TEST(pool_waits_for_what_a_helper_has_in_hand) {
  ThreadPool pool;
  for (int round = 0; round < 3; ++round) {
    std::atomic<bool> came{false};
    int written = 0;
    pool.run(2, [&](int thread) {
      if (thread == 0) {
        for (int i = 0; i < 2000 && !came; ++i) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
      } else {
        came = true;  // sleeps far longer than the caller spins
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        written = 7;
      }
    });
    EXPECT(came && written == 7) << "in round " << round;
  }
}

TEST(pool_calls_again_who_is_left_with_what_all_declined) {
  ThreadPool pool;
  const double costs[] = {1, 1, 1};
  std::atomic<int> done{0};
  std::atomic<bool> taken[3] = {};  // as one who declined late is called again, too
  pool.run({3, costs}, [&](Turn& turn) {
    if (turn.share < turn.fastest || turn.share == 1) {
      if (!taken[turn.phase].exchange(true)) ++done;
    } else {
      turn.declined = true;
    }
  });
  EXPECT(done == 3) << done.load();
}

TEST(pool_learns_who_is_slow) {
  ThreadPool pool;
  const double cost = 1;
  const std::function<int(int)> both = [](int) { return 2; };
  float share[2] = {1, 1};
  // Some runs, since a helper comes only when the system lets it.
  for (int run = 0; run < 200 && share[1] > 0.5F * share[0]; ++run) {
    std::atomic<int> left{20};
    pool.run({2, {&cost, 1}, 0, &both}, [&](Turn& turn) {
      share[turn.thread] = turn.share;
      while (left-- > 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(turn.thread == 0 ? 1 : 20));
        turn.done += 0.05;
      }
    });
  }
  EXPECT(share[1] < 0.5F * share[0]) << share[0] << " and " << share[1];
}

TEST(pool_throws_what_a_body_threw_and_goes_on) {
  ThreadPool pool;
  for (int n = 1; n <= 3; ++n) {
    bool caught = false;
    try {
      pool.run(n, [](int) { throw std::out_of_range("seeded"); });
    } catch (const std::out_of_range&) {
      caught = true;
    }
    EXPECT(caught) << "of " << n << " threads";
  }
  int calls = 0;
  pool.run(1, [&](int) { ++calls; });
  EXPECT(calls == 1);
}

TEST(pool_serves_several_callers_at_once) {
  ThreadPool pool;
  std::atomic<int> arrived{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        Relay relay(50, false);
        pool.run({2, relay.costs(), 1}, std::ref(relay));
        if (relay.wrong == 0 && relay.arrived()) ++arrived;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(arrived == 3 * 20) << arrived.load();
}

#if defined(__unix__) && !defined(EDGELM_TSAN)  // TSan cannot start threads after a fork
TEST(pool_works_in_a_forked_child) {
  const auto runs = [] {
    Relay relay(50, true);
    ThreadPool::instance().run({3, relay.costs()}, std::ref(relay));
    return relay.wrong == 0 && relay.arrived();
  };
  EXPECT(runs());
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a hang must not outlive the test
    _exit(runs() ? 0 : 1);
  }
  int status = -1;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}
#endif
