#include "core/clock.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>

namespace edgelm {
namespace {

// One add that the compiler can neither drop nor merge. Register operands: some processors add
// immediates for free.
inline void add(uint64_t& x, uint64_t y) {
  x += y;
  __asm__ volatile("" : "+r"(x));
}

// The loop's own counter runs beside the chain.
double chain_seconds(int turns) {
  uint64_t x = 0, y = 1;
  __asm__ volatile("" : "+r"(x), "+r"(y));
  const double start = thread_seconds();
  for (int i = 0; i < turns; ++i) {
    add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y);
    add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y), add(x, y);
  }
  return thread_seconds() - start;
}

}  // namespace

double thread_seconds() {
#if defined(CLOCK_THREAD_CPUTIME_ID) && !defined(_WIN32)  // where it ticks 64 times a second
  timespec used;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0) {
    return static_cast<double>(used.tv_sec) + 1e-9 * static_cast<double>(used.tv_nsec);
  }
#endif
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

double clock_hz() {
  constexpr int kTurns = 1 << 16;
  double best = chain_seconds(kTurns);  // the fastest of three: an interrupt only lengthens one
  for (int i = 0; i < 2; ++i) best = std::min(best, chain_seconds(kTurns));
  return 16.0 * kTurns / best;
}

}  // namespace edgelm
