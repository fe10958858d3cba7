#include "core/thread_pool.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/os.h"
#include "core/thread_choice.h"

namespace edgelm {
namespace {

constexpr int kMaxSpinUs = 50;

inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t now_ns() noexcept {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(now).count();
}

// Spins until done() or for that long; whether it was done.
template <class Done>
bool spin(int64_t longest_us, const Done& done) noexcept {
  int64_t end = 0;
  for (int i = 0;; ++i) {
    if (done()) return true;
    pause();
    if (i % 64 != 63) continue;
    const int64_t now = now_ns();
    if (end == 0) {
      end = now + 1000 * longest_us;
    } else if (now >= end) {
      return false;
    }
  }
}

// The gate of a phase in one word: which phase, whether anybody has found nothing left in it, and
// how many threads are inside. Closed, between runs, is nothing left and nobody inside.
constexpr uint32_t kInside = (1U << 11) - 1, kNothingLeft = 1U << 11;
constexpr int kSequenceShift = 12;
constexpr uint32_t sequence_of(uint32_t gate) { return gate >> kSequenceShift; }
constexpr uint32_t gate_of(uint32_t sequence, uint32_t rest) {
  return sequence << kSequenceShift | rest;
}
constexpr bool is_closed(uint32_t gate) {
  return (gate & (kNothingLeft | kInside)) == kNothingLeft;
}

}  // namespace

// Some threads and the gate that they pass with their caller. What a thread does inside the gate is
// the only time for which others wait, so one that the system does not run, and that has nothing in
// hand, delays nobody: it finds the phases further on when it comes.
class ThreadPool::Team {
 public:
  Team() { members_.push_back(std::make_unique<Member>()); }
  ~Team() {
    crew_.store(-1, std::memory_order_release);
    crew_.notify_all();
    gate_.store(gate_of(sequence_of(gate_.load()) + 1, kNothingLeft), std::memory_order_release);
    gate_.notify_all();
    for (const auto& member : members_) {
      if (member->thread.joinable()) member->thread.join();
    }
  }
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  void grow(int n_threads) {
    try {
      while (static_cast<int>(members_.size()) < n_threads) {
        members_.push_back(std::make_unique<Member>());
        const int index = static_cast<int>(members_.size()) - 1;
        members_.back()->thread = std::thread([this, index] { serve(index); });
      }
    } catch (const std::system_error& error) {
      members_.pop_back();
      fail(ErrorKind::kMemory, "cannot start thread ", members_.size(), ": ", error.what(),
           "; use fewer threads");
    }
  }

  void run(const PhasedWork& work, const std::function<void(Turn&)>& body) {
    uint32_t sequence = sequence_of(gate_.load(std::memory_order_acquire)) + 1;
    Job job{work, body, gate_of(sequence, 0)};
    job_ = &job;
    opened_ = now_ns();
    const bool forced = work.forced != nullptr;
    set_crew(forced ? (*work.forced)(0) : choices_[work.kind].begin(work.n_threads));
    gate_.store(gate_of(sequence, 1), std::memory_order_release);
    if (crew_.load(std::memory_order_relaxed) > 1) gate_.notify_all();
    for (Left left = inside(0, sequence, opened_); left != Left::kClosed;) {
      if (left == Left::kLast) {
        left = inside(0, ++sequence, opened_);
        continue;
      }
      const uint32_t gate = wait(sequence);
      sequence = sequence_of(gate);
      if (is_closed(gate)) break;
      if (join(sequence)) left = inside(0, sequence, now_ns());
    }
    learn_speeds();
    if (job.error) std::rethrow_exception(job.error);
  }

 private:
  struct Job {
    const PhasedWork& work;
    const std::function<void(Turn&)>& body;
    uint32_t first_gate;
    std::mutex mutex{};
    std::exception_ptr error{};

    int phase(uint32_t sequence) const {
      return static_cast<int>((gate_of(sequence, 0) - first_gate) >> kSequenceShift);
    }
    void call(Turn& turn) noexcept {
      try {
        body(turn);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
    }
  };

  struct alignas(64) Member {
    std::thread thread;  // none for the caller's
    float speed = 0;     // 0: not measured yet
    float share = 1;
    double done = 0;  // in this run, and the time it took
    int64_t ns = 0;
  };

  enum class Left { kEarly, kLast, kClosed };  // kLast: and is inside the next phase

  // Whether the thread is inside now: not if the phase is over or nothing is left in it.
  bool join(uint32_t sequence) noexcept {
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while (sequence_of(gate) == sequence && (gate & kNothingLeft) == 0) {
      if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }

  // What a thread does inside, where it came at that time.
  Left inside(int thread, uint32_t sequence, int64_t came) noexcept {
    Job& job = *job_;
    Member& me = *members_[static_cast<size_t>(thread)];
    Turn turn{thread, job.phase(sequence), me.share, fastest_};
    for (;;) {
      job.call(turn);
      const int64_t now = now_ns();
      if (job.work.costs[static_cast<size_t>(turn.phase)] > 0) {
        me.done += std::exchange(turn.done, 0);
        me.ns += now - std::exchange(came, now);
      }
      uint32_t gate = gate_.load(std::memory_order_acquire);
      while ((gate & kInside) > 1) {
        uint32_t left = gate - 1;
        if (!turn.declined) {
          int64_t nobody = 0;
          if ((gate & kNothingLeft) == 0) first_left_.compare_exchange_strong(nobody, now);
          left |= kNothingLeft;
        }
        if (gate_.compare_exchange_weak(gate, left, std::memory_order_acq_rel)) return Left::kEarly;
      }
      if (turn.declined) {
        turn.declined = false;
        turn.share = turn.fastest = 1;
      } else if ((gate & kNothingLeft) != 0 ||
                 gate_.compare_exchange_strong(gate, gate | kNothingLeft,
                                               std::memory_order_acq_rel)) {
        return next_phase(job, turn.phase, sequence, now);
      }
    }
  }

  // By the last thread inside, alone.
  Left next_phase(const Job& job, int phase, uint32_t sequence, int64_t now) noexcept {
    const int64_t first_left = first_left_.exchange(0, std::memory_order_relaxed);
    const int64_t lost = first_left == 0 ? 0 : std::max<int64_t>(0, now - first_left);
    const int64_t ns = now - std::exchange(opened_, now);
    const auto next = static_cast<size_t>(phase) + 1;
    const bool last = next == job.work.costs.size();
    if (job.work.forced == nullptr) {
      ThreadChoice& choice = choices_[job.work.kind];
      set_crew(choice.phase(job.work.costs[next - 1], ns, lost, now));
    } else if (!last) {
      set_crew((*job.work.forced)(static_cast<int>(next)));
    }
    gate_.store(gate_of(sequence + 1, last ? kNothingLeft : 1), std::memory_order_release);
    gate_.notify_all();
    return last ? Left::kClosed : Left::kLast;
  }

  // Until the phase is another.
  uint32_t wait(uint32_t sequence) noexcept {
    uint32_t gate = 0;
    const auto passed = [&] {
      gate = gate_.load(std::memory_order_acquire);
      return sequence_of(gate) != sequence;
    };
    const int spin_us = spin_us_.load(std::memory_order_relaxed);
    if (spin(spin_us, passed)) {
      if (spin_us < kMaxSpinUs) spin_us_.store(spin_us + 1, std::memory_order_relaxed);
      return gate;
    }
    spin_us_.store(spin_us / 2, std::memory_order_relaxed);
    while (!passed()) gate_.wait(gate, std::memory_order_acquire);
    return gate;
  }

  // A helper's life.
  void serve(int thread) noexcept {
    for (;;) {
      // The gate first: whoever sees the destructor's sees its crew, too.
      const uint32_t gate = gate_.load(std::memory_order_acquire);
      const int crew = crew_.load(std::memory_order_acquire);
      if (crew < 0) return;
      if (thread >= crew) {
        crew_.wait(crew, std::memory_order_acquire);
        continue;
      }
      if (is_closed(gate)) {
        gate_.wait(gate, std::memory_order_acquire);
        continue;
      }
      uint32_t sequence = sequence_of(gate);
      if (join(sequence)) {
        Left left = inside(thread, sequence, now_ns());
        while (left == Left::kLast) {
          ++sequence;
          if (thread >= crew_.load(std::memory_order_relaxed)) {
            // Leaves it to others, unless one has come already and counts on this one.
            uint32_t alone = gate_of(sequence, 1);
            if (gate_.compare_exchange_strong(alone, gate_of(sequence, 0))) break;
          }
          left = inside(thread, sequence, opened_);
        }
        if (left != Left::kEarly) continue;
      }
      wait(sequence);
    }
  }

  // Inside alone, or between runs.
  void set_crew(int n_threads) noexcept {
    const int before = crew_.load(std::memory_order_relaxed);
    const int n = std::clamp(n_threads, 1, job_->work.n_threads);
    if (n != before) {
      crew_.store(n, std::memory_order_release);
      if (n > before) crew_.notify_all();
    }
    if (n != before || shares_are_old_) share_out(n);
  }

  void share_out(int n) noexcept {
    float sum = 0, known = 0;
    for (int i = 0; i < n; ++i) {
      const float speed = members_[static_cast<size_t>(i)]->speed;
      sum += speed;
      known += speed > 0 ? 1 : 0;
    }
    const float mean = known > 0 ? sum / known : 1;
    sum += mean * (static_cast<float>(n) - known);
    fastest_ = 0;
    for (int i = 0; i < n; ++i) {
      Member& member = *members_[static_cast<size_t>(i)];
      member.share = (member.speed > 0 ? member.speed : mean) / sum;
      fastest_ = std::max(fastest_, member.share);
    }
    shares_are_old_ = false;
  }

  void learn_speeds() noexcept {
    constexpr float kMemoryNs = 50e6F;
    for (const auto& member : members_) {
      if (member->ns > 0) {
        const auto ns = static_cast<float>(member->ns);
        const float speed = static_cast<float>(member->done) / ns;
        const float weight = member->speed > 0 ? ns / (ns + kMemoryNs) : 1;
        member->speed += weight * (speed - member->speed);
      }
      member->done = 0;
      member->ns = 0;
    }
    shares_are_old_ = true;
  }

  alignas(64) std::atomic<uint32_t> gate_{kNothingLeft};
  alignas(64) std::atomic<int64_t> first_left_{0};
  int64_t opened_ = 0;
  alignas(64) std::atomic<int> crew_{
      1};  // threads with a smaller index than this come; -1: the end
  std::atomic<int> spin_us_{kMaxSpinUs};
  Job* job_ = nullptr;
  float fastest_ = 1;
  bool shares_are_old_ = true;
  std::array<ThreadChoice, PhasedWork::kKinds> choices_;
  std::vector<std::unique_ptr<Member>> members_;  // by index; the first is the caller's
};

ThreadPool::ThreadPool() = default;
ThreadPool::~ThreadPool() = default;

ThreadPool& ThreadPool::instance() {
  struct Owned {
    int64_t process;
    ThreadPool pool;
  };
  static std::atomic<Owned*> current{nullptr};
  Owned* owned = current.load(std::memory_order_acquire);
  const int64_t process = os::process_id();
  while (owned == nullptr || owned->process != process) {
    // Neither pool is ever destroyed: the old one's threads, and perhaps a held lock, belong to the
    // parent; the new one may be in use while the process exits.
    auto* fresh = new Owned{process, {}};
    if (current.compare_exchange_strong(owned, fresh)) return fresh->pool;
    delete fresh;
  }
  return owned->pool;
}

std::unique_ptr<ThreadPool::Team> ThreadPool::borrow() {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) return std::make_unique<Team>();
  std::unique_ptr<Team> team = std::move(idle_.back());
  idle_.pop_back();
  return team;
}

void ThreadPool::give_back(std::unique_ptr<Team> team) {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(team));
}

void ThreadPool::run(const PhasedWork& work, const std::function<void(Turn&)>& body) {
  check(work.n_threads >= 1 && work.n_threads <= kMaxThreads, "a run on ", work.n_threads,
        " threads, expected 1 to ", kMaxThreads);
  if (work.n_threads == 1) {
    for (size_t phase = 0; phase < work.costs.size(); ++phase) {
      Turn turn{0, static_cast<int>(phase)};
      body(turn);
    }
    return;
  }
  struct Borrowed {
    ThreadPool& pool;
    std::unique_ptr<Team> team;
    ~Borrowed() { pool.give_back(std::move(team)); }
  } borrowed{*this, borrow()};
  borrowed.team->grow(work.n_threads);
  borrowed.team->run(work, body);
}

void ThreadPool::run(int n_threads, const std::function<void(int)>& body) {
  const double cost = 1;
  const std::function<int(int)> all = [&](int) { return n_threads; };
  run({n_threads, {&cost, 1}, 0, &all}, [&](Turn& turn) { body(turn.thread); });
}

}  // namespace edgelm
