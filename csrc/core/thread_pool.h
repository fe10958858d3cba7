#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace edgelm {

// Lets n threads pass only together. Spins for at most about 50 us, then sleeps; any number of
// threads may share any number of cores: where spinning was in vain, the next waits sleep sooner.
class Barrier {
 public:
  explicit Barrier(int n_threads) : n_threads_(n_threads) {}
  Barrier(const Barrier&) = delete;
  Barrier& operator=(const Barrier&) = delete;

  // What a thread did before wait() is visible to every thread after it.
  void wait() noexcept;

 private:
  const int n_threads_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<int> phase_{0};
  std::atomic<int> spin_us_{50};
};

// The process's threads. A run borrows idle ones, starting more if there are too few, so runs of
// different plans do not wait for each other. Between runs the threads sleep.
class ThreadPool {
 public:
  // The pool of this process; a child of fork() gets a new one, since threads do not survive a
  // fork.
  static ThreadPool& instance();

  ThreadPool();
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls body(i) for each i in [0, n_threads), at the same time, body(0) on the calling thread,
  // and returns when all have returned. The first exception that a body throws is thrown here;
  // bodies that wait for each other must not throw. Throws kMemory if a thread cannot be started.
  void run(int n_threads, const std::function<void(int)>& body);

  int n_workers() const;  // started so far

 private:
  class Worker;
  struct Job;
  std::vector<Worker*> borrow(int n);
  void give_back(const std::vector<Worker*>& workers);

  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
};

}  // namespace edgelm
