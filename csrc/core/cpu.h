#pragma once

#include <string>
#include <vector>

namespace edgelm {

// What this processor and operating system support, among what edgelm has kernels for.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512vnni = false, avxvnni = false;
  bool neon = false, dotprod = false, i8mm = false;
};

const CpuFeatures& cpu_features();
std::vector<std::string> cpu_feature_names();

// Physical cores that this process may use: its affinity mask without sibling hyper-threads, capped
// by the cgroup's CPU quota; at least 1.
int usable_cores();

}  // namespace edgelm
