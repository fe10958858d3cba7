#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace edgelm {

// What this processor and operating system support, among what edgelm has kernels for.
struct CpuFeatures {
  bool avx2 = false, fma = false, f16c = false;
  bool avx512f = false, avx512bw = false, avx512vl = false, avx512vbmi = false;
  bool avx512vnni = false, avx512bf16 = false, avx512fp16 = false, avxvnni = false;
  bool neon = false, dotprod = false, i8mm = false;
};

const CpuFeatures& cpu_features();
std::vector<std::string> cpu_feature_names();

// What CPUID and XGETBV say, by leaf (and subleaf); a leaf that the processor lacks is zero.
struct X86Registers {
  uint32_t ecx1 = 0;
  uint32_t ebx7 = 0, ecx7 = 0, edx7 = 0, eax7_1 = 0;
  uint64_t xcr0 = 0;  // the registers that the operating system saves
};

// A feature counts only where the system saves the registers that it needs.
// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, vol. 2A, CPUID.
CpuFeatures decode_cpuid(const X86Registers& registers);

}  // namespace edgelm
