#include "kernels/peaks.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <thread>
#include <vector>

#include "core/clock.h"

namespace edgelm {
namespace {

// The median of several runs of about a millisecond, each between two readings of the clock.
double mac_cycle(int64_t (*loop)(int64_t turns)) {
  int64_t turns = 64;
  double time = 0;
  const auto mac_second = [&] {
    const double start = thread_seconds();
    const int64_t macs = loop(turns);
    time = thread_seconds() - start;
    return static_cast<double>(macs) / time;
  };
  mac_second();
  while (time < 1e-3) {
    turns *= 2;
    mac_second();
  }
  std::array<double, 9> rates;
  double hz = clock_hz();
  for (double& rate : rates) {
    const double speed = mac_second(), later = clock_hz();
    rate = speed / (0.5 * (hz + later));
    hz = later;
  }
  std::nth_element(rates.begin(), rates.begin() + 4, rates.end());
  return rates[4];
}

// Joined even if one cannot start. std::jthread is missing in Android's and Termux's libc++.
struct Threads {
  std::vector<std::thread> all{};
  ~Threads() {
    for (std::thread& thread : all) thread.join();
  }
};

struct Free {
  void operator()(uint8_t* p) const { ::operator delete[](p, std::align_val_t{4096}); }
};

double read_gb_s(const KernelTable& table, int n_threads, size_t n_bytes) {
  const size_t part =
      std::max<size_t>(4096, n_bytes / static_cast<size_t>(n_threads) / 4096 * 4096);
  const size_t all = part * static_cast<size_t>(n_threads);
  const std::unique_ptr<uint8_t[], Free> memory(
      static_cast<uint8_t*>(::operator new[](all, std::align_val_t{4096})));
  std::memset(memory.get(), 1, all);
  const auto pass = [&] {
    const auto start = std::chrono::steady_clock::now();
    {
      Threads others;
      for (int i = 1; i < n_threads; ++i) {
        others.all.emplace_back(table.peaks.read, memory.get() + part * static_cast<size_t>(i),
                                part);
      }
      table.peaks.read(memory.get(), part);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  double best = pass();
  for (int i = 0; i < 4; ++i) best = std::min(best, pass());
  return static_cast<double>(all) / best / 1e9;
}

}  // namespace

Peaks measure_peaks(const KernelTable& table, int n_threads, size_t n_bytes) {
  Peaks peaks = {};
  peaks.u8s8_mac_cycle = mac_cycle(table.peaks.u8s8);
  peaks.i16_mac_cycle = mac_cycle(table.peaks.i16);
  peaks.f32_mac_cycle = mac_cycle(table.peaks.f32);
  peaks.clock_hz = clock_hz();
  peaks.read_gb_s = read_gb_s(table, n_threads, n_bytes);
  return peaks;
}

}  // namespace edgelm
