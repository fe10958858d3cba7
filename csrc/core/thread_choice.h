#pragma once

#include <cstdint>

namespace edgelm {

// How many threads the next phase of a kind of work should have, from how the last ones went. Times
// are in nanoseconds of any steady clock, costs in any unit that stays the same.
//
// All that are allowed, while they wait for each other little. When a thread does not get its core
// the others wait for what it has in hand; then fewer are tried for a while, and kept if they do
// more in that time. As soon as there are fewer than allowed, more are tried now and then. A trial
// that fails doubles the pause to the next.
class ThreadChoice {
 public:
  // Before a run, with at most that many: the threads of its first phase.
  int begin(int limit);

  // After a phase: the threads of the next. `lost_ns` of its `ns` passed after all work was taken,
  // until the last thread had finished its part.
  int phase(double cost, int64_t ns, int64_t lost_ns, int64_t now);

 private:
  struct Pause {
    int64_t length = 0, end = 0;
    void lengthen(int64_t now);
  };

  void use(int threads);  // from here on, in a new window
  void try_out(int threads);
  void judge_trial(int64_t now);

  int limit_ = 0, threads_ = 0;
  double cost_ = 0;  // of the window or the trial
  int64_t ns_ = 0, lost_ns_ = 0;
  double rate_ = 0;       // cost a nanosecond with these threads; 0: not known yet
  int before_trial_ = 0;  // 0: this is none
  bool one_less_ = true;  // the last trial of fewer was of one less
  int step_ = 1;          // threads that the next trial of more adds
  Pause fewer_, more_;    // before the next trial of either
};

}  // namespace edgelm
