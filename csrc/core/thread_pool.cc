#include "core/thread_pool.h"

#include <unistd.h>

#include <chrono>
#include <system_error>

#include "core/error.h"

namespace edgelm {
namespace {

constexpr std::chrono::microseconds kMaxSpin{50};

inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or for that long; whether it was done.
template <class Done>
bool spin(std::chrono::microseconds longest, const Done& done) noexcept {
  using Clock = std::chrono::steady_clock;
  Clock::time_point end{};
  for (int i = 0;; ++i) {
    if (done()) return true;
    pause();
    if (i % 64 != 63) continue;
    const auto now = Clock::now();
    if (end == Clock::time_point{}) {
      end = now + longest;
    } else if (now >= end) {
      return false;
    }
  }
}

}  // namespace

void Barrier::wait() noexcept {
  const int phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == n_threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
    return;
  }
  const int spin_us = spin_us_.load(std::memory_order_relaxed);
  const auto passed = [&] { return phase_.load(std::memory_order_acquire) != phase; };
  if (spin(std::chrono::microseconds(spin_us), passed)) {
    if (spin_us < kMaxSpin.count()) spin_us_.store(spin_us + 1, std::memory_order_relaxed);
    return;
  }
  spin_us_.store(spin_us / 2, std::memory_order_relaxed);
  while (!passed()) phase_.wait(phase, std::memory_order_acquire);
}

// What one run shares with the workers that it borrowed.
struct ThreadPool::Job {
  const std::function<void(int)>& body;
  std::mutex mutex{};
  std::exception_ptr error{};

  void call(int thread) noexcept {
    try {
      body(thread);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }
};

class ThreadPool::Worker {
 public:
  Worker() : thread_([this] { loop(); }) {}
  ~Worker() {
    job_ = nullptr;
    wake();
    thread_.join();
  }

  void start(Job& job, int thread) {
    job_ = &job;
    index_ = thread;
    wake();
  }

  void join() {
    const int calls = calls_.load(std::memory_order_relaxed);
    spin(kMaxSpin, [&] { return done_.load(std::memory_order_acquire) == calls; });
    for (int done = done_.load(std::memory_order_acquire); done != calls;
         done = done_.load(std::memory_order_acquire)) {
      done_.wait(done, std::memory_order_acquire);
    }
  }

 private:
  void wake() {
    calls_.fetch_add(1, std::memory_order_release);
    calls_.notify_one();
  }

  void loop() {
    for (int seen = 0;; ++seen) {
      calls_.wait(seen, std::memory_order_acquire);
      if (job_ == nullptr) return;
      job_->call(index_);
      done_.store(seen + 1, std::memory_order_release);
      done_.notify_one();
    }
  }

  std::atomic<int> calls_{0}, done_{0};
  Job* job_ = nullptr;
  int index_ = 0;
  std::thread thread_;
};

ThreadPool::ThreadPool() = default;
ThreadPool::~ThreadPool() = default;

ThreadPool& ThreadPool::instance() {
  struct Owned {
    pid_t process;
    ThreadPool pool;
  };
  static std::atomic<Owned*> current{nullptr};
  Owned* owned = current.load(std::memory_order_acquire);
  const pid_t process = getpid();
  while (owned == nullptr || owned->process != process) {
    // Neither pool is ever destroyed: the old one's threads, and perhaps a held lock, belong to the
    // parent; the new one may be in use while the process exits.
    auto* fresh = new Owned{process, {}};
    if (current.compare_exchange_strong(owned, fresh)) return fresh->pool;
    delete fresh;
  }
  return owned->pool;
}

int ThreadPool::n_workers() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(workers_.size());
}

std::vector<ThreadPool::Worker*> ThreadPool::borrow(int n) {
  const std::lock_guard lock(mutex_);
  try {
    while (static_cast<int>(idle_.size()) < n) {
      workers_.push_back(std::make_unique<Worker>());
      idle_.reserve(workers_.size());
      idle_.push_back(workers_.back().get());
    }
  } catch (const std::system_error& error) {
    fail(ErrorKind::kMemory, "cannot start thread ", workers_.size() + 1, ": ", error.what(),
         "; use fewer threads");
  }
  const std::vector<Worker*> workers(idle_.end() - n, idle_.end());
  idle_.resize(idle_.size() - static_cast<size_t>(n));
  return workers;
}

void ThreadPool::give_back(const std::vector<Worker*>& workers) {
  const std::lock_guard lock(mutex_);
  idle_.insert(idle_.end(), workers.begin(), workers.end());
}

void ThreadPool::run(int n_threads, const std::function<void(int)>& body) {
  check(n_threads >= 1, "a run on ", n_threads, " threads");
  const std::vector<Worker*> workers = borrow(n_threads - 1);
  Job job{body};
  for (int i = 1; i < n_threads; ++i) workers[static_cast<size_t>(i - 1)]->start(job, i);
  job.call(0);
  for (Worker* worker : workers) worker->join();
  give_back(workers);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace edgelm
