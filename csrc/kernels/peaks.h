#pragma once

#include <cstddef>

#include "kernels/table.h"

namespace edgelm {

// What this machine can do at best with one ISA's instructions, to hold measured kernels against.
struct Peaks {
  double clock_hz;                                      // at the time of the arithmetic
  double u8s8_mac_cycle, i16_mac_cycle, f32_mac_cycle;  // one core, products alone
  double read_gb_s;                                     // all threads together, each its own part
};

// Takes about 0.1 s and six passes over n_bytes of memory; use several times the last cache's size.
Peaks measure_peaks(const KernelTable& table, int n_threads, size_t n_bytes);

}  // namespace edgelm
