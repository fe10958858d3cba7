// Independent source: the processor's own f16 conversions.
#include <cmath>
#include <cstring>

#include "core/cpu.h"
#include "quant/half.h"
#include "testing.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

using edgelm::f16;
using edgelm::to_f16;
using edgelm::to_float;

namespace {

uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

float float_of(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

}  // namespace

TEST(half_f16_round_trips) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float x = to_float(f16{static_cast<uint16_t>(bits)});
    const f16 back = to_f16(x);
    if (std::isnan(x)) {
      EXPECT(std::isnan(to_float(back))) << "f16 bits " << bits;
    } else {
      EXPECT(back.bits == bits) << "f16 bits " << bits << " became " << back.bits;
    }
  }
}

#if defined(__x86_64__)
#define WITH_F16 __attribute__((target("f16c")))
WITH_F16 static float processors_float(uint16_t bits) { return _cvtsh_ss(bits); }
WITH_F16 static uint16_t processors_f16(float x) { return _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT); }
static bool can_convert() { return edgelm::cpu_features().f16c; }
#elif defined(__aarch64__)
#define WITH_F16
static float processors_float(uint16_t bits) {
  __fp16 x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
static uint16_t processors_f16(float x) {
  const auto half = static_cast<__fp16>(x);
  uint16_t bits;
  std::memcpy(&bits, &half, sizeof bits);
  return bits;
}
static bool can_convert() { return true; }
#endif

#ifdef WITH_F16
WITH_F16 static void compare_with_the_processor() {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float want = processors_float(static_cast<uint16_t>(bits));
    const float got = to_float(f16{static_cast<uint16_t>(bits)});
    EXPECT(bits_of(got) == bits_of(want)) << "f16 bits " << bits;
  }
  // Every float whose lower bits can decide a rounding: all exponents, ties and their neighbours.
  for (uint64_t high = 0; high < 0x100000; ++high) {
    for (const uint32_t low : {0x000u, 0x001u, 0x7ffu, 0x800u, 0x801u, 0xfffu}) {
      const float x = float_of(static_cast<uint32_t>(high << 12) | low);
      const uint16_t want = processors_f16(x);
      const uint16_t got = to_f16(x).bits;
      if (got != want) EXPECT(got == want) << "float bits " << bits_of(x);
    }
  }
}

TEST(half_f16_equals_the_processor) {
  if (can_convert()) compare_with_the_processor();
}
#endif
