#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * scale * (code - 32), a signed 8-bit scale each 16 weights.
// Record: code lines, 16 x 16 bytes of scales, 16 f16 d.
struct Q6K {
  using Block = q6_k;
  using Codes = Bits6;
  static constexpr bool kHasMin = false;
  static constexpr int kSub = 16, kChain = 4, kOffset = 32, kFusedTokens = 7;
  static constexpr size_t kCodeBytes = 8 * 64 * Codes::kLines, kBytes = kCodeBytes + 256 + 32;
  using Scales = KScales<16, false>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int b = 0; b < 16; ++b) out[16 * b + c] = static_cast<uint8_t>(rows[c].scales[b]);
      __builtin_memcpy(out + 256 + 2 * c, &rows[c].d, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 16; ++b) {
      const Bytes16 x = load_columns(in + 16 * b);
      store(s.scale[b], interleave(x, x));
    }
    store(s.d, load_f16(in + 256));
  }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + 256, column);
    for (int i = 0; i < 256; ++i) {
      const float s = static_cast<float>(static_cast<int8_t>(in[i / 16 * 16 + column]));
      out[i] = d * s * static_cast<float>(code[i] - kOffset);
    }
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_k6) {
  using namespace edgelm;
  table.weight[static_cast<int>(QuantType::q6_k)] = weight_kernels<KWeight<Q6K>>();
}
