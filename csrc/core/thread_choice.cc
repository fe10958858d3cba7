#include "core/thread_choice.h"

#include <algorithm>

namespace edgelm {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kWindow = 25 * kMs;   // some of a scheduler's time slices
constexpr int64_t kTrial = 50 * kMs;    // that a trial lasts
constexpr int64_t kPatience = 4 * kMs;  // by which a trial may fall behind: one slice of another's
constexpr int64_t kFirstPause = 50 * kMs, kLongestPause = 1000 * kMs;
constexpr int64_t kCalm = 2000 * kMs;  // without a change: then a pause is short again
constexpr double kGain = 1.05;         // what more threads must bring
// Losses that cost as much as this part of a thread say that one thread less may do as well.
constexpr double kLostThreads = 0.8;

}  // namespace

int ThreadChoice::begin(int limit) {
  if (limit != limit_) {
    use(threads_ == limit_ ? limit : std::min(threads_, limit));
    limit_ = limit;
    rate_ = 0;
    trial_ = false;
  }
  return threads_;
}

void ThreadChoice::use(int threads) {
  threads_ = threads;
  cost_ = 0;
  ns_ = lost_ns_ = 0;
}

void ThreadChoice::fall_back(int threads, int64_t now) {
  use(threads);
  step_ = 1;
  pause_ = now - changed_at_ > kCalm ? kFirstPause : std::min(2 * pause_, kLongestPause);
  retry_at_ = now + pause_;
}

int ThreadChoice::phase(double cost, int64_t ns, int64_t lost_ns, int64_t now) {
  cost_ += cost;
  ns_ += ns;
  lost_ns_ += lost_ns;
  if (trial_) {
    const double alone = cost_ / rate_, spent = static_cast<double>(ns_);
    const bool over = ns_ >= kTrial;
    if (alone < spent - static_cast<double>(kPatience) || (over && alone < kGain * spent)) {
      trial_ = false;
      fall_back(before_trial_, now);
      changed_at_ = now;
    } else if (over) {
      trial_ = false;
      rate_ = cost_ / spent;
      step_ *= 2;
      changed_at_ = now;
      use(threads_);
    }
    return threads_;
  }
  const auto span = static_cast<double>(std::max(ns_, kWindow));
  const double lost_threads = threads_ * static_cast<double>(lost_ns_) / span;
  if (threads_ > 1 && lost_threads > kLostThreads) {
    const int did = static_cast<int>(threads_ - lost_threads + 1 - kLostThreads);
    fall_back(std::clamp(did, 1, threads_ - 1), now);
    changed_at_ = now;
    rate_ = 0;
  } else if (ns_ >= kWindow) {
    const double rate = cost_ / static_cast<double>(ns_);
    rate_ = rate_ == 0 ? rate : 0.75 * rate_ + 0.25 * rate;
    use(threads_);
  }
  if (threads_ < limit_ && rate_ > 0 && now >= retry_at_) {
    trial_ = true;
    before_trial_ = threads_;
    use(std::min(limit_, threads_ + step_));
  }
  return threads_;
}

}  // namespace edgelm
