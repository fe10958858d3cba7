// Loops of one instruction form each, to measure what the processor can do at best.
#include EDGELM_ISA_HEADER

#include "kernels/table.h"
#include "kernels/unroll.inl"

namespace edgelm {
namespace {

// Operands come from memory that the compiler cannot see through, and pins keep every product.

#ifdef EDGELM_MMLA
constexpr int64_t kProducts = 2 * kLineBytes;
EDGELM_INLINE Sums add_products(Sums sums, Bytes4 w, Acts x) { return mmla(sums, w, x); }
#else
constexpr int64_t kProducts = kLineBytes;
EDGELM_INLINE Sums add_products(Sums sums, Bytes4 w, Acts x) { return dot4<0>(sums, w, x); }
#endif

// Bytes by bytes: the heart of the matmuls of integers. x86 leaves sums out: they take other ports,
// which a good kernel keeps busy meanwhile, or none; ARM's instructions always add.
int64_t u8s8(int64_t turns) {
  alignas(64) const uint8_t bytes[kLineBytes] = {};
  Bytes4 w = load_bytes(bytes);
  int8_t q[16];
  for (int j = 0; j < 16; j += 8) __builtin_memcpy(q + j, &turns, 8);
  const Acts x = load_acts(q);
  constexpr int kSums = kWide ? 8 : 4;
  Sums sums[kSums];
  for (Sums& s : sums) s = dot4<0>(w, x);
  for (int64_t i = 0; i < turns; ++i) {
    unroll<8>([&](auto j) __attribute__((always_inline)) {
      pin(w);
      Sums& product = sums[j.value % kSums];
      product = kByteOffset > 0 ? dot4<0>(w, x) : add_products(product, w, x);
      pin(product);
    });
  }
  return turns * 8 * kProducts;
}

// int16 pairs into int32.
int64_t i16(int64_t turns) {
  alignas(64) const int16_t lanes16[2 * kGroupRows] = {};
  Shorts2 w = load_i16(lanes16);
  const Quad x = broadcast4(&turns);
  for (int64_t i = 0; i < turns; ++i) {
    unroll<8>([&](auto) __attribute__((always_inline)) {
      pin(w);
      Ints1 product = dot2(w, x);
      pin(product);
    });
  }
  return turns * 8 * 2 * kGroupRows;
}

// As many chains as hide the latency of four to five cycles on two ports.
int64_t f32(int64_t turns) {
  constexpr int kChains = kTile == 4 ? 5 : 10;
  const float one = 1;
  Floats1 x = broadcast_f32(&one);
  pin(x);
  Floats1 c[kChains];
  unroll<kChains>([&](auto j) __attribute__((always_inline)) { c[j.value] = zero_f32(); });
  for (int64_t i = 0; i < turns; ++i) {
    unroll<kChains>([&](auto j) __attribute__((always_inline)) {
      c[j.value] = fma(x, x, c[j.value]);
      pin(c[j.value]);
    });
  }
  return turns * kChains * kGroupRows;
}

// Four streams at once, which memory serves faster than one; n is a multiple of 256.
void read(const uint8_t* p, size_t n) {
  const size_t stream = n / 4;
  Bytes4 c[4] = {load_bytes(p), load_bytes(p), load_bytes(p), load_bytes(p)};
  for (size_t i = 0; i < stream; i += 64) {
    unroll<4>([&](auto j) __attribute__((always_inline)) {
      const uint8_t* line = p + j.value * stream + i;
      prefetch(line + 1024);
      c[j.value] = c[j.value] | load_bytes(line);
    });
  }
  for (Bytes4& line : c) pin(line);
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(peaks) { table.peaks = {edgelm::u8s8, edgelm::i16, edgelm::f32, edgelm::read}; }
