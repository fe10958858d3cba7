#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * scale * (code - 32), a signed 8-bit scale each 16 weights.
// Record: code lines, 16 lines of scales, f16 d.
struct Q6K : KCodes<q6_k, Bits6> {
  static constexpr int kSub = 16, kChain = 4, kOffset = 32, kStart = 0, kMins = 0;
  [[maybe_unused]] static constexpr int kScaleOffset = 128;
  static constexpr int kFusedTokens = kFusedMany ? 48 : 7, kStreams = 4;
  static constexpr size_t kD = 16 * kGroupRows, kBytes = kCodeBytes + kD + 2 * kGroupRows;
  using Scales = KScales<16, kMins>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int b = 0; b < 16; ++b)
        out[kGroupRows * b + c] = static_cast<uint8_t>(rows[c].scales[b]);
      __builtin_memcpy(out + kD + 2 * c, &rows[c].d, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 16; ++b) {
      s.scale[b] = scale_line(load_bytes1(in + kGroupRows * b));
    }
    s.d = load_f16(in + kD);
  }
  template <class Lines = Bytes4>
  static EDGELM_INLINE void byte_scales(const uint8_t* in, uint8_t* out) {
    for (size_t i = 0; i < kD; i += kLineBytes)
      store(out + i, subtract(Lines(load_bytes(in + i)), 128));
  }
  static EDGELM_INLINE Floats1 factor(const uint8_t* in) { return load_f16(in + kD); }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + kD, column);
    for (int i = 0; i < 256; ++i) {
      const float s = static_cast<float>(static_cast<int8_t>(in[i / 16 * kGroupRows + column]));
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
