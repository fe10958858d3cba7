#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "core/tensor.h"
#include "core/thread_pool.h"

namespace edgelm {

// Called on the caller's thread at least every 50 ms of a run; true cancels it. It may throw.
using Poll = std::function<bool()>;

inline constexpr std::chrono::milliseconds kPollInterval{10};

// One thread's next chunk of what is left of n units, `most` at most: half of its share, in
// multiples of `least`. Empty if nothing is left, or if faster threads will have done it all before
// this one could finish the smallest chunk.
inline Range take(std::atomic<int>& taken, int n, int least, int most, Turn& turn) {
  const int left = n - taken.load(std::memory_order_relaxed);
  if (left <= 0) return {};
  const auto chunk = static_cast<float>(std::min(least, left));
  if (chunk / turn.share > chunk / turn.fastest + static_cast<float>(left)) {
    turn.declined = true;
    return {};
  }
  int size = left;
  if (turn.share < 1) {
    const auto half = static_cast<int>(static_cast<float>(left) * turn.share / 2);
    size = std::min(left, std::max(1, half / least) * least);
  }
  const int begin = taken.fetch_add(std::min(size, most), std::memory_order_relaxed);
  return {std::min(begin, n), std::min(begin + std::min(size, most), n)};
}

// What the threads of one run share: whether to go on, and who takes which chunk.
class RunState {
 public:
  explicit RunState(int n_counters)
      : counters_(std::make_unique<Counter[]>(static_cast<size_t>(n_counters))),
        n_counters_(n_counters) {}

  void begin(const Poll* poll) {
    for (int i = 0; i < n_counters_; ++i) counter(i).store(0, std::memory_order_relaxed);
    stopped_.store(false, std::memory_order_relaxed);
    error_ = nullptr;
    poll_ = poll;
    last_poll_ = {};
  }

  // Whether the run was cancelled or failed. Thread 0, the caller's, polls here when it is time.
  bool stopped(int thread) {
    if (thread == 0 && poll_ != nullptr && *poll_ && Clock::now() - last_poll_ >= kPollInterval) {
      poll_now();
    }
    return stopped_.load(std::memory_order_relaxed);
  }

  std::atomic<int>& counter(int i) { return counters_[static_cast<size_t>(i)].value; }

  void fail(std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    stopped_.store(true, std::memory_order_relaxed);
  }

  // After the run: throws its error if there was one; true if it was cancelled.
  bool finish() {
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return stopped_.load(std::memory_order_relaxed);
  }

 private:
  using Clock = std::chrono::steady_clock;

  void poll_now() {
    try {
      if ((*poll_)()) stopped_.store(true, std::memory_order_relaxed);
    } catch (...) {
      fail(std::current_exception());
    }
    last_poll_ = Clock::now();
  }

  struct alignas(64) Counter {  // a cache line each: threads do not disturb each other's
    std::atomic<int> value{0};
  };
  std::unique_ptr<Counter[]> counters_;
  int n_counters_;
  std::atomic<bool> stopped_{false};
  const Poll* poll_ = nullptr;
  Clock::time_point last_poll_;
  std::mutex mutex_;
  std::exception_ptr error_;
};

}  // namespace edgelm
