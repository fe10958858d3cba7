#include "core/thread_pool.h"

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

using edgelm::Barrier;
using edgelm::ThreadPool;

TEST(pool_calls_every_index_once) {
  for (int n = 1; n <= 4; ++n) {
    ThreadPool pool;
    std::vector<int> calls(static_cast<size_t>(n));
    for (int round = 0; round < 200; ++round) {
      pool.run(n, [&](int i) { ++calls[static_cast<size_t>(i)]; });
    }
    for (const int count : calls) EXPECT(count == 200) << count << " calls";
    EXPECT(pool.n_workers() == n - 1);
  }
}

TEST(pool_runs_index_zero_on_the_caller) {
  ThreadPool pool;
  std::thread::id first;
  pool.run(3, [&](int i) {
    if (i == 0) first = std::this_thread::get_id();
  });
  EXPECT(first == std::this_thread::get_id());
}

// Plain ints on purpose: the thread sanitizer sees a race if the barrier does not order them.
TEST(barrier_makes_writes_visible) {
  constexpr int kRounds = 500;
  for (int n = 1; n <= 4; ++n) {
    ThreadPool pool;
    Barrier barrier(n);
    std::vector<int> values(static_cast<size_t>(n));
    std::atomic<int> wrong{0};
    pool.run(n, [&](int i) {
      for (int round = 1; round <= kRounds; ++round) {
        values[static_cast<size_t>(i)] = round;
        barrier.wait();
        if (std::accumulate(values.begin(), values.end(), 0) != n * round) ++wrong;
        barrier.wait();
      }
    });
    EXPECT(wrong == 0) << wrong.load() << " stale sums with " << n << " threads";
  }
}

TEST(barrier_wakes_sleepers) {
  ThreadPool pool;
  Barrier barrier(3);
  std::atomic<int> passed{0};
  pool.run(3, [&](int i) {
    // Far longer than the spin, so that the others are asleep.
    if (i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    barrier.wait();
    ++passed;
  });
  EXPECT(passed == 3);
}

TEST(pool_throws_what_a_body_threw_and_goes_on) {
  ThreadPool pool;
  for (int thrower = 0; thrower < 3; ++thrower) {
    bool caught = false;
    try {
      pool.run(3, [&](int i) {
        if (i == thrower) throw std::out_of_range("seeded");
      });
    } catch (const std::out_of_range&) {
      caught = true;
    }
    EXPECT(caught) << "of thread " << thrower;
  }
  int calls = 0;
  pool.run(1, [&](int) { ++calls; });
  EXPECT(calls == 1);
}

TEST(pool_serves_several_callers_at_once) {
  ThreadPool pool;
  std::atomic<int> calls{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        Barrier barrier(2);  // passes only if both threads of this run are alive
        pool.run(2, [&](int) {
          barrier.wait();
          ++calls;
        });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT(calls == 3 * 50 * 2) << calls.load();
  EXPECT(pool.n_workers() <= 3);
}

#if defined(__unix__) && !defined(EDGELM_TSAN)  // TSan cannot start threads after a fork
TEST(pool_works_in_a_forked_child) {
  std::atomic<int> calls{0};
  ThreadPool::instance().run(3, [&](int) { ++calls; });
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a hang must not outlive the test
    ThreadPool::instance().run(3, [&](int) { ++calls; });
    _exit(calls == 6 ? 0 : 1);
  }
  int status = -1;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}
#endif
