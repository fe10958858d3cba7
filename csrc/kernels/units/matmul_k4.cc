#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * scale * code - dmin * min, a 6-bit scale and minimum each 32 weights.
// Record: code lines, sixes of scales and minimums, f16 d, f16 dmin.
template <class FileBlock, class CodeLayout, int kGroups>
struct K4 : KCodes<FileBlock, CodeLayout> {
  using Block = FileBlock;
  using Codes = CodeLayout;
  using KCodes<Block, Codes>::kCodeBytes;
  static constexpr int kSub = 32, kChain = kGroups, kOffset = 0, kStart = kNoStart, kMins = 8,
                       kScaleOffset = 0;
  static constexpr int kFusedTokens = kFusedMany ? 64 : Codes::kLines == 4 ? 12 : 8, kStreams = 4;
  static constexpr size_t kD = 4 * kSixesBytes, kDmin = kD + 2 * kGroupRows;
  static constexpr size_t kBytes = kCodeBytes + kDmin + 2 * kGroupRows;
  using Scales = KScales<8, kMins>;

  // Of the sixes: where sub-block b's scale is, and its minimum.
  static constexpr int scale_at(int b) { return kInserts ? b : 2 * b; }
  static constexpr int min_at(int b) { return kInserts ? 8 + b : 2 * b + 1; }

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      const Block& r = rows[c];
      int six[16];
      for (int b = 0; b < 8; ++b) six[scale_at(b)] = scale(r, b), six[min_at(b)] = min(r, b);
      pack_sixes<4>(six, c, out);
      __builtin_memcpy(out + kD + 2 * c, &r.d, 2);
      __builtin_memcpy(out + kDmin + 2 * c, &r.dmin, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    const Floats1 dmin = load_f16(in + kDmin);
    for (int i = 0; i < 4; ++i) {
      const Sixes x = load_sixes(in + kSixesBytes * i);
      for (int j = 0; j < 2; ++j) {
        s.scale[2 * i + j] = scale_line(x.value[2 * j]);
        s.min[2 * i + j] = mul(dmin, to_float(widen(x.value[2 * j + 1])));
      }
    }
    s.d = load_f16(in + kD);
  }
  template <class Lines = Bytes4>
  static EDGELM_INLINE void byte_scales(const uint8_t* in, uint8_t* out) {
    byte_sixes<4>(in, out);
  }
  static EDGELM_INLINE Floats1 factor(const uint8_t* in) { return load_f16(in + kD); }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + kD, column), dmin = half_at(in + kDmin, column);
    for (int b = 0; b < 8; ++b) {
      const float s = d * static_cast<float>(unpack_six<4>(in, scale_at(b), column));
      const float m = dmin * static_cast<float>(unpack_six<4>(in, min_at(b), column));
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
