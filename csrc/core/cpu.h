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

}  // namespace edgelm
