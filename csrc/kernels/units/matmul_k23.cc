#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"

namespace edgelm {
namespace {

// w = d * (scale - 32) * (code - 4), a 6-bit scale each 16 weights. Lines give code * 8, so that
// sums start at those of an offset of 32; d takes the 8 back. Record: code lines, sixes of
// scales, f16 d.
struct Q3K : KCodes<q3_k, Bits3> {
  static constexpr int kSub = 16, kChain = 4, kOffset = 4, kStart = 0, kMins = 0;
  [[maybe_unused]] static constexpr int kScaleOffset = 32;
  static constexpr int kFusedTokens = kFusedMany ? 48 : 6, kStreams = 4;
  static constexpr size_t kD = 4 * kSixesBytes, kBytes = kCodeBytes + kD + 2 * kGroupRows;
  using Scales = KScales<16, kMins>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      int six[16];
      for (int b = 0; b < 16; ++b) six[b] = scale(rows[c], b) + 32;
      pack_sixes<4>(six, c, out);
      __builtin_memcpy(out + kD + 2 * c, &rows[c].d, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 16; b += 4) {
      const Sixes x = load_sixes(in + b / 4 * kSixesBytes);
      for (int i = 0; i < 4; ++i) s.scale[b + i] = scale_line(subtract(x.value[i], 32));
    }
    const float eighth = 0.125f;
    s.d = mul(load_f16(in + kD), broadcast_f32(&eighth));
  }
  // (4 - code) * (scale - 32) is within int8, which its negative is not.
  static constexpr bool kFolds = true;
  template <class Line>
  static EDGELM_INLINE Line centred(Line w) {
    return subtract_from(kOffset, bits<3>(w, 0x07));
  }
  static EDGELM_INLINE Floats1 folded_factor(const uint8_t* in) {
    const float negative = -1;
    return mul(load_f16(in + kD), broadcast_f32(&negative));
  }
  template <class Lines = Bytes4>
  static EDGELM_INLINE void byte_scales(const uint8_t* in, uint8_t* out) {
    byte_sixes<4>(in, out);
  }
  static EDGELM_INLINE Floats1 factor(const uint8_t* in) {
    const float eighth = 0.125f;
    return mul(load_f16(in + kD), broadcast_f32(&eighth));
  }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + kD, column);
    for (int b = 0; b < 16; ++b) {
      const int six = unpack_six<4>(in, b, column);
      const float s = d * static_cast<float>(six - 32);
      for (int i = 16 * b; i < 16 * b + 16; ++i) out[i] = s * static_cast<float>(code[i] - kOffset);
    }
  }
};

// w = d * scale * code - dmin * min, a 4-bit scale and minimum each 16 weights.
// Record: code lines, 16 lines of scales and minimums, f16 d, f16 dmin.
struct Q2K : KCodes<q2_k, Bits2> {
  static constexpr int kSub = 16, kChain = 4, kOffset = 0, kStart = kNoStart, kMins = 16;
  [[maybe_unused]] static constexpr int kScaleOffset = 0;
  static constexpr int kFusedTokens = kFusedMany ? 48 : 8, kStreams = 4;
  static constexpr size_t kD = 16 * kGroupRows, kDmin = kD + 2 * kGroupRows;
  static constexpr size_t kBytes = kCodeBytes + kDmin + 2 * kGroupRows;
  using Scales = KScales<16, kMins>;

  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int b = 0; b < 16; ++b) out[kGroupRows * b + c] = rows[c].scales[b];
      __builtin_memcpy(out + kD + 2 * c, &rows[c].d, 2);
      __builtin_memcpy(out + kDmin + 2 * c, &rows[c].dmin, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    const Floats1 dmin = load_f16(in + kDmin);
    for (int b = 0; b < 16; ++b) {
      const Bytes1 x = load_bytes1(in + kGroupRows * b);
      s.scale[b] = scale_line(bits<0>(x, 15));
      s.min[b] = mul(dmin, to_float(widen(bits<4>(x, 15))));
    }
    s.d = load_f16(in + kD);
  }
  static constexpr bool kFolds = true;
  template <class Line>
  static EDGELM_INLINE Line centred(Line w) {
    return w;
  }
  static EDGELM_INLINE Floats1 folded_factor(const uint8_t* in) { return load_f16(in + kD); }
  template <class Lines = Bytes4>
  static EDGELM_INLINE void byte_scales(const uint8_t* in, uint8_t* out) {
    for (size_t i = 0; i < kD; i += kLineBytes) {
      const Bytes4 x = load_bytes(in + i);
      store(out + i, bits<0>(x, 15));
      store(out + kD + i, bits<4>(x, 15));
    }
  }
  static EDGELM_INLINE Floats1 factor(const uint8_t* in) { return load_f16(in + kD); }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + kD, column), dmin = half_at(in + kDmin, column);
    for (int b = 0; b < 16; ++b) {
      const int byte = in[kGroupRows * b + column];
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
