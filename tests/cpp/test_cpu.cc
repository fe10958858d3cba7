#include "core/cpu.h"
#include "testing.h"

using edgelm::CpuFeatures;
using edgelm::X86Registers;

namespace {

// A processor that has everything, under a system that saves `xcr0`.
CpuFeatures all_of(uint64_t xcr0, uint32_t ecx1 = ~0u) {
  return edgelm::decode_cpuid({ecx1, ~0u, ~0u, ~0u, ~0u, xcr0});
}

}  // namespace

TEST(a_feature_needs_a_system_that_saves_its_registers) {
  EXPECT(all_of(0xe7).avx2 && all_of(0xe7).avx512vnni);
  const CpuFeatures ymm = all_of(0x07);
  EXPECT(ymm.avx2 && ymm.fma && ymm.f16c && ymm.avxvnni);
  EXPECT(!ymm.avx512f && !ymm.avx512bw && !ymm.avx512vl && !ymm.avx512vbmi);
  EXPECT(!ymm.avx512vnni && !ymm.avx512bf16 && !ymm.avx512fp16);
  for (const uint64_t missing : {0x20, 0x40, 0x80}) EXPECT(!all_of(0xe7 & ~missing).avx512f);
  for (const uint64_t missing : {0x02, 0x04}) EXPECT(!all_of(0xe7 & ~missing).avx2);
  EXPECT(!all_of(0xe7, ~(1u << 27)).avx2) << "without OSXSAVE XCR0 says nothing";
}

TEST(each_feature_has_its_bit) {
  X86Registers r{.ecx1 = 1u << 27, .xcr0 = 0xe7};
  const auto with = [&](uint32_t& word, int bit) {
    const uint32_t before = word;
    word |= 1u << bit;
    const CpuFeatures f = edgelm::decode_cpuid(r);
    word = before;
    return f;
  };
  // The numbers of Linux's cpufeatures.h.
  EXPECT(with(r.ecx1, 12).fma);
  EXPECT(with(r.ecx1, 29).f16c);
  EXPECT(with(r.ebx7, 5).avx2);
  EXPECT(with(r.ebx7, 16).avx512f);
  EXPECT(with(r.ebx7, 30).avx512bw);
  EXPECT(with(r.ebx7, 31).avx512vl);
  EXPECT(with(r.ecx7, 1).avx512vbmi);
  EXPECT(with(r.ecx7, 11).avx512vnni);
  EXPECT(with(r.edx7, 23).avx512fp16);
  EXPECT(with(r.eax7_1, 4).avxvnni);
  EXPECT(with(r.eax7_1, 5).avx512bf16);
}
