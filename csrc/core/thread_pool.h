#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

namespace edgelm {

// One thread's call for one phase.
struct Turn {
  int thread = 0;  // 0 is the caller's
  int phase = 0;
  // By measured speeds: what this thread does of what all do, and what the fastest does.
  float share = 1, fastest = 1;
  double done = 0;        // to add to: the cost of what it did
  bool declined = false;  // to set: it left work to faster threads
};

// Work in phases. Each costs something, in any unit that stays the same for a kind of work.
struct PhasedWork {
  static constexpr int kKinds = 2;
  int n_threads = 1;  // at most
  std::span<const double> costs;
  int kind = 0;  // 0 to kKinds - 1: the number of threads is learnt for each
  const std::function<int(int phase)>* forced = nullptr;  // the number of threads instead
};

// The process's threads. A run borrows a team of them, and starts one if all are taken, so runs of
// different plans do not wait for each other. Between runs the threads sleep.
class ThreadPool {
 public:
  static constexpr int kMaxThreads = 1024;

  // The pool of this process; a child of fork() gets a new one, since threads do not survive a
  // fork.
  static ThreadPool& instance();

  ThreadPool();
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Calls body for phase after phase, on the caller's thread and on those helpers that come while
  // there is something left: each takes what is left until nothing is, or declines it. A phase ends
  // when all that came to it have returned, and what they wrote is visible in the next; nobody
  // waits for a thread that did not come. The first exception of a body is thrown in the end.
  // Throws kMemory if a thread cannot be started.
  void run(const PhasedWork& work, const std::function<void(Turn&)>& body);

  // One phase.
  void run(int n_threads, const std::function<void(int thread)>& body);

 private:
  class Team;
  std::unique_ptr<Team> borrow();
  void give_back(std::unique_ptr<Team> team);

  std::mutex mutex_;
  std::vector<std::unique_ptr<Team>> idle_;
};

}  // namespace edgelm
