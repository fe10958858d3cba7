#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * (scale - 32) * (code - 4), a 6-bit scale each 16 weights. Lines give code * 8, so that
// the lanes' start is that of an offset of 32; d takes the 8 back. Record: code lines, 4 x 48 bytes
// of scales, 16 f16 d.
struct Q3K {
  using Block = q3_k;
  using Codes = Bits3;
  static constexpr bool kHasMin = false;
  static constexpr int kSub = 16, kChain = 4, kOffset = 4, kFusedTokens = 6;
  static constexpr size_t kCodeBytes = 8 * 64 * Codes::kLines, kBytes = kCodeBytes + 192 + 32;
  using Scales = KScales<16, false>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      const auto six = [&](int b) { return scale(rows[c], b) + 32; };
      for (int b = 0; b < 16; b += 4) {
        pack_sixes({six(b), six(b + 1), six(b + 2), six(b + 3)}, c, out + 12 * b);
      }
      __builtin_memcpy(out + 192 + 2 * c, &rows[c].d, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 16; b += 4) {
      const Sixes x = load_sixes(in + 12 * b);
      for (int i = 0; i < 4; ++i) {
        const Bytes16 value = subtract(x.value[i], 32);
        store(s.scale[b + i], interleave(value, value));
      }
    }
    const float eighth = 0.125f;
    store(s.d, mul(load_f16(in + 192), broadcast_f32(&eighth)));
  }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + 192, column);
    for (int b = 0; b < 16; ++b) {
      const float s = d * static_cast<float>(unpack_six(in + 48 * (b / 4), b % 4, column) - 32);
      for (int i = 16 * b; i < 16 * b + 16; ++i) out[i] = s * static_cast<float>(code[i] - kOffset);
    }
  }
};

// w = d * scale * code - dmin * min, a 4-bit scale and minimum each 16 weights.
// Record: code lines, 16 x 16 bytes of scales and minimums, 16 f16 d, 16 f16 dmin.
struct Q2K {
  using Block = q2_k;
  using Codes = Bits2;
  static constexpr bool kHasMin = true;
  static constexpr int kSub = 16, kChain = 4, kOffset = 0, kFusedTokens = 8;
  static constexpr size_t kCodeBytes = 8 * 64 * Codes::kLines, kBytes = kCodeBytes + 256 + 64;
  using Scales = KScales<16, true>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int b = 0; b < 16; ++b) out[16 * b + c] = rows[c].scales[b];
      __builtin_memcpy(out + 256 + 2 * c, &rows[c].d, 2);
      __builtin_memcpy(out + 288 + 2 * c, &rows[c].dmin, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 16; b += 2) {
      const Bytes16 x = load_columns(in + 16 * b), y = load_columns(in + 16 * b + 16);
      const Bytes16 low = bits<0>(x, 15), high = bits<0>(y, 15);
      store(s.scale[b], interleave(low, low));
      store(s.scale[b + 1], interleave(high, high));
      store(s.min[b / 2], interleave(bits<4>(x, 15), bits<4>(y, 15)));
    }
    store(s.d, load_f16(in + 256));
    store(s.dmin, load_f16(in + 288));
  }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + 256, column), dmin = half_at(in + 288, column);
    for (int b = 0; b < 16; ++b) {
      const int byte = in[16 * b + column];
      const float s = d * static_cast<float>(byte & 15), m = dmin * static_cast<float>(byte >> 4);
      for (int i = 16 * b; i < 16 * b + 16; ++i) out[i] = s * static_cast<float>(code[i]) - m;
    }
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_k23) {
  using namespace edgelm;
  table.weight[static_cast<int>(QuantType::q3_k)] = weight_kernels<KWeight<Q3K>>();
  table.weight[static_cast<int>(QuantType::q2_k)] = weight_kernels<KWeight<Q2K>>();
}
