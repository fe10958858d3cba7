#pragma once

#include <cstdint>

namespace edgelm {

// How many threads the next phase of a kind of work should have, from how the last ones went. Times
// are in nanoseconds of any steady clock. Costs are in any unit that stays the same.
//
// All that are allowed, while they wait for each other little. When a thread does not get its core
// the others wait for what it has in hand: then as many remain as did the work of that time. After
// a pause more are tried, and kept if they are faster; each failure doubles the pause.
class ThreadChoice {
 public:
  // Before a run, with at most that many: the threads of its first phase.
  int begin(int limit);

  // After a phase: the threads of the next. `lost_ns` of its `ns` passed after all work was taken,
  // until the last thread had finished its part.
  int phase(double cost, int64_t ns, int64_t lost_ns, int64_t now);

 private:
  void use(int threads);  // from here on, in a new window
  void fall_back(int threads, int64_t now);

  int limit_ = 0, threads_ = 0;
  double cost_ = 0;  // of the window or the trial
  int64_t ns_ = 0, lost_ns_ = 0;
  double rate_ = 0;  // cost a nanosecond of these threads; 0: not known yet
  bool trial_ = false;
  int before_trial_ = 0;
  int step_ = 1;  // threads that the next trial adds
  int64_t pause_ = 0, retry_at_ = 0, changed_at_ = 0;
};

}  // namespace edgelm
