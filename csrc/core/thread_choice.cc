#include "core/thread_choice.h"

#include <algorithm>

namespace edgelm {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kWindow = 25 * kMs;  // some of a scheduler's time slices
constexpr int64_t kTrial = 100 * kMs;
constexpr int64_t kPatience = 20 * kMs;  // by which a trial may fall behind
constexpr int64_t kFirstPause = 50 * kMs, kLongestPause = 1600 * kMs;
constexpr int64_t kCalm = 5000 * kMs;  // since a pause ended: then the next is short again
// What fewer threads must bring: where both do as well, more are better when the machine calms.
constexpr double kGain = 1.1;
// Losses that cost as much as this part of a thread say that fewer may do as well.
constexpr double kLostThreads = 0.8;
constexpr double kMemory = 0.85;  // of a window's rate in the next's

}  // namespace

void ThreadChoice::Pause::lengthen(int64_t now) {
  length = length == 0 || now - end > kCalm ? kFirstPause : std::min(2 * length, kLongestPause);
  end = now + length;
}

int ThreadChoice::begin(int limit) {
  if (limit != limit_) {
    use(threads_ == limit_ ? limit : std::min(threads_, limit));
    limit_ = limit;
    rate_ = 0;
    before_trial_ = 0;
  }
  return threads_;
}

void ThreadChoice::use(int threads) {
  threads_ = threads;
  cost_ = 0;
  ns_ = lost_ns_ = 0;
}

void ThreadChoice::try_out(int threads) {
  before_trial_ = threads_;
  use(threads);
}

void ThreadChoice::judge_trial(int64_t now) {
  // The time that the work would have taken before.
  const double before = cost_ / rate_;
  const auto spent = static_cast<double>(ns_);
  const bool more = threads_ > before_trial_, over = ns_ >= kTrial;
  const double needed = more ? spent : kGain * spent;
  if (before + static_cast<double>(kPatience) < spent || (over && before < needed)) {
    (more ? more_ : fewer_).lengthen(now);
    step_ = 1;
    use(before_trial_);
  } else if (over) {
    rate_ = cost_ / spent;
    if (more) {
      step_ *= 2;
    } else {
      more_.lengthen(now);
    }
    use(threads_);
  } else {
    return;
  }
  before_trial_ = 0;
}

int ThreadChoice::phase(double cost, int64_t ns, int64_t lost_ns, int64_t now) {
  cost_ += cost;
  ns_ += ns;
  lost_ns_ += lost_ns;
  if (before_trial_ > 0) {
    judge_trial(now);
    return threads_;
  }
  if (ns_ < kWindow) return threads_;
  const double rate = cost_ / static_cast<double>(ns_);
  const double lost_threads = threads_ * static_cast<double>(lost_ns_) / static_cast<double>(ns_);
  rate_ = rate_ == 0 ? rate : kMemory * rate_ + (1 - kMemory) * rate;
  use(threads_);
  if (rate_ == 0) return threads_;  // nothing that costs in all that time
  if (threads_ > 1 && lost_threads > kLostThreads && now >= fewer_.end) {
    // As many as the work done would have taken, or all but the one that is late, in turns.
    const int did = static_cast<int>(threads_ - lost_threads + 1 - kLostThreads);
    one_less_ = !one_less_;
    try_out(one_less_ ? threads_ - 1 : std::clamp(did, 1, threads_ - 1));
  } else if (threads_ < limit_ && now >= more_.end) {
    try_out(std::min(limit_, threads_ + step_));
  }
  return threads_;
}

}  // namespace edgelm
