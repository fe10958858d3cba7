#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * scale * code - dmin * min, a 6-bit scale and minimum each 32 weights.
// Record: code lines, 4 x 48 bytes of (scale, min, scale, min), 16 f16 d, 16 f16 dmin.
template <class FileBlock, class CodeLayout, int kGroups>
struct K4 {
  using Block = FileBlock;
  using Codes = CodeLayout;
  static constexpr bool kHasMin = true;
  static constexpr int kSub = 32, kChain = kGroups, kOffset = 0;
  static constexpr int kFusedTokens = Codes::kLines == 4 ? 12 : 8;
  static constexpr size_t kCodeBytes = 8 * 64 * Codes::kLines, kBytes = kCodeBytes + 192 + 64;
  using Scales = KScales<8, true>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      const Block& r = rows[c];
      for (int b = 0; b < 8; b += 2) {
        pack_sixes({scale(r, b), min(r, b), scale(r, b + 1), min(r, b + 1)}, c, out + 24 * b);
      }
      __builtin_memcpy(out + 192 + 2 * c, &r.d, 2);
      __builtin_memcpy(out + 224 + 2 * c, &r.dmin, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int i = 0; i < 4; ++i) {
      const Sixes x = load_sixes(in + 48 * i);
      store(s.scale[2 * i], interleave(x.value[0], x.value[0]));
      store(s.scale[2 * i + 1], interleave(x.value[2], x.value[2]));
      store(s.min[i], interleave(x.value[1], x.value[3]));
    }
    store(s.d, load_f16(in + 192));
    store(s.dmin, load_f16(in + 224));
  }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + 192, column), dmin = half_at(in + 224, column);
    for (int b = 0; b < 8; ++b) {
      const uint8_t* six = in + 48 * (b / 2);
      const float s = d * static_cast<float>(unpack_six(six, 2 * (b % 2), column));
      const float m = dmin * static_cast<float>(unpack_six(six, 2 * (b % 2) + 1, column));
      for (int i = 32 * b; i < 32 * b + 32; ++i) out[i] = s * static_cast<float>(code[i]) - m;
    }
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_k4) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.weight[static_cast<int>(type)];
  };
  of(QuantType::q4_k) = weight_kernels<KWeight<K4<q4_k, Bits4, 8>>>();
  of(QuantType::q5_k) = weight_kernels<KWeight<K4<q5_k, Bits5, 4>>>();
}
