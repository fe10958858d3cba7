#include EDGELM_ISA_HEADER

#include "kernels/matmul_k.inl"
#include "kernels/matmul_u8.inl"

namespace edgelm {
namespace {

// Where weights of 8 bits, kByteOffset added, start.
constexpr int kByteStart = kByteOffset == 0 ? kNoStart : -3;
static_assert(kByteOffset == 0 || kByteOffset == kStartFactor<1> << 3);

constexpr uint8_t level(int i) { return static_cast<uint8_t>(kIq4Levels[i] + kByteOffset); }
constexpr uint8_t kLevelBytes[16] = {
    level(0), level(1), level(2),  level(3),  level(4),  level(5),  level(6),  level(7),
    level(8), level(9), level(10), level(11), level(12), level(13), level(14), level(15)};

// w = d * level[code]. Record: four lines of nibbles, f16 scales.
struct Iq4Nl : Affine<iq4_nl, Bits4, 0, kByteStart, false> {
  [[maybe_unused]] static constexpr bool kWholeBytes = true;
  [[maybe_unused]] static constexpr int kStreams = 1;
  template <int g>
  static EDGELM_INLINE Bytes4 group(const uint8_t* p) {
    return lookup(kLevelBytes, code_group<Bits4, g>(p));
  }
  static void codes(const Block& block, uint8_t* out) {
    split_nibbles(block.qs, reinterpret_cast<int8_t*>(out));
  }
  static void decode(const uint8_t* code, const uint8_t* scales, int column, float* out) {
    const float d = half_at(scales, column);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Levels[code[i]]);
  }
};

// w = d * (scale - 32) * level[code], a 6-bit scale each 32 weights. Record: lines of nibbles,
// sixes of scales, f16 d.
struct Iq4Xs : KCodes<iq4_xs, Bits4> {
  [[maybe_unused]] static constexpr bool kWholeBytes = true;
  [[maybe_unused]] static constexpr int kSub = 32, kChain = 8, kOffset = 0, kStart = kByteStart,
                                        kMins = 0, kScaleOffset = 32;
  [[maybe_unused]] static constexpr int kFusedTokens = 64, kStreams = 1;
  [[maybe_unused]] static constexpr size_t kD = 2 * kSixesBytes,
                                           kBytes = kCodeBytes + kD + 2 * kGroupRows;
  using Scales = KScales<8, kMins>;

  template <int g, class Line>
  static EDGELM_INLINE Bytes4 group(const Line& line) {
    return lookup(kLevelBytes, Bits4::group<g>(line));
  }
  static void codes(const Block& block, uint8_t* out) {
    for (int b = 0; b < 8; ++b) {
      split_nibbles(block.qs + 16 * b, reinterpret_cast<int8_t*>(out) + 32 * b);
    }
  }
  static void pack_scales(const Block (&rows)[kGroupRows], uint8_t* out) {
    for (int c = 0; c < kGroupRows; ++c) {
      int six[8];
      for (int b = 0; b < 8; ++b) six[b] = scale(rows[c], b) + 32;
      pack_sixes<2>(six, c, out);
      __builtin_memcpy(out + kD + 2 * c, &rows[c].d, 2);
    }
  }
  static EDGELM_INLINE void expand_scales(const uint8_t* in, Scales& s) {
    for (int b = 0; b < 8; b += 4) {
      const Sixes x = load_sixes(in + b / 4 * kSixesBytes);
      for (int i = 0; i < 4; ++i) s.scale[b + i] = scale_line(subtract(x.value[i], 32));
    }
    s.d = load_f16(in + kD);
  }
  template <class Lines = Bytes4>
  static EDGELM_INLINE void byte_scales(const uint8_t* in, uint8_t* out) {
    byte_sixes<2>(in, out);
  }
  static EDGELM_INLINE Floats1 factor(const uint8_t* in) { return load_f16(in + kD); }
  static void decode(const uint8_t* code, const uint8_t* in, int column, float* out) {
    const float d = half_at(in + kD, column);
    for (int b = 0; b < 8; ++b) {
      const int six = unpack_six<2>(in, b, column);
      const float s = d * static_cast<float>(six - 32);
      for (int i = 32 * b; i < 32 * b + 32; ++i) {
        out[i] = s * static_cast<float>(kIq4Levels[code[i]]);
      }
    }
  }
};

// Where no sums hold 8-bit weights, the exact kernels serve.
template <bool kCan>
void fill(KernelTable& table) {
  if constexpr (kCan) {
    const auto of = [&](QuantType type) -> WeightKernels& {
      return table.weight[static_cast<int>(type)];
    };
    of(QuantType::q8_0) =
        weight_kernels<U8Weight<Affine<q8_0, Bits8, kByteOffset, kByteStart, false>>>();
    of(QuantType::iq4_nl) = weight_kernels<U8Weight<Iq4Nl>>();
    of(QuantType::iq4_xs) = weight_kernels<KWeight<Iq4Xs>>();
  }
}

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_q8) { edgelm::fill<edgelm::kByteSums>(table); }
