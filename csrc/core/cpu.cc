#include "core/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__aarch64__) && defined(_WIN32)
#include <windows.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace edgelm {

CpuFeatures decode_cpuid(const X86Registers& r) {
  const auto bit = [](uint32_t word, int i) { return (word >> i & 1) != 0; };
  const auto saves = [&](uint64_t state) { return bit(r.ecx1, 27) && (r.xcr0 & state) == state; };
  const bool ymm = saves(0x06);  // XMM and the upper halves of YMM
  const bool zmm = saves(0xe6);  // and opmasks, the upper halves of ZMM, ZMM16 to 31
  CpuFeatures f;
  f.fma = ymm && bit(r.ecx1, 12);
  f.f16c = ymm && bit(r.ecx1, 29);
  f.avx2 = ymm && bit(r.ebx7, 5);
  f.avxvnni = ymm && bit(r.eax7_1, 4);
  f.avx512f = zmm && bit(r.ebx7, 16);
  f.avx512bw = zmm && bit(r.ebx7, 30);
  f.avx512vl = zmm && bit(r.ebx7, 31);
  f.avx512vbmi = zmm && bit(r.ecx7, 1);
  f.avx512vnni = zmm && bit(r.ecx7, 11);
  f.avx512bf16 = zmm && bit(r.eax7_1, 5);
  f.avx512fp16 = zmm && bit(r.edx7, 23);
  return f;
}

namespace {

#if defined(__x86_64__)
// CPUID by hand: __builtin_cpu_supports answers nothing where a compiler's runtime lacks its part.
CpuFeatures detect() {
  X86Registers r;
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) r.ecx1 = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    r.ebx7 = ebx, r.ecx7 = ecx, r.edx7 = edx;
    if (eax >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0) r.eax7_1 = eax;
  }
  if ((r.ecx1 >> 27 & 1) != 0) {  // OSXSAVE: else XGETBV is an illegal instruction
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    r.xcr0 = uint64_t{high} << 32 | low;
  }
  return decode_cpuid(r);
}
#elif defined(__aarch64__)
CpuFeatures detect() {
  CpuFeatures f;
  f.neon = true;
#if defined(__APPLE__)
  const auto has = [](const char* name) {
    int value = 0;
    size_t bytes = sizeof value;
    return sysctlbyname(name, &value, &bytes, nullptr, 0) == 0 && value != 0;
  };
  f.dotprod = has("hw.optional.arm.FEAT_DotProd");
  f.i8mm = has("hw.optional.arm.FEAT_I8MM");
#elif defined(_WIN32)
  f.dotprod = IsProcessorFeaturePresent(43) != 0;  // PF_ARM_V82_DP_INSTRUCTIONS_AVAILABLE
  f.i8mm = IsProcessorFeaturePresent(66) != 0;     // PF_ARM_V82_I8MM_INSTRUCTIONS_AVAILABLE
#elif defined(__linux__)
  // Linux's numbers: old headers lack the names.
  f.dotprod = (getauxval(AT_HWCAP) >> 20 & 1) != 0;  // HWCAP_ASIMDDP
  f.i8mm = (getauxval(AT_HWCAP2) >> 13 & 1) != 0;    // HWCAP2_I8MM
#endif
  return f;
}
#else
CpuFeatures detect() { return {}; }
#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::vector<std::string> cpu_feature_names() {
  const CpuFeatures& f = cpu_features();
  std::vector<std::string> names;
  const auto add = [&](bool present, const char* name) {
    if (present) names.emplace_back(name);
  };
  add(f.avx2, "avx2");
  add(f.fma, "fma");
  add(f.f16c, "f16c");
  add(f.avx512f, "avx512f");
  add(f.avx512bw, "avx512bw");
  add(f.avx512vl, "avx512vl");
  add(f.avx512vbmi, "avx512vbmi");
  add(f.avx512vnni, "avx512vnni");
  add(f.avx512bf16, "avx512bf16");
  add(f.avx512fp16, "avx512fp16");
  add(f.avxvnni, "avxvnni");
  add(f.neon, "neon");
  add(f.dotprod, "dotprod");
  add(f.i8mm, "i8mm");
  return names;
}

}  // namespace edgelm
