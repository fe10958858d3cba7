#include EDGELM_ISA_HEADER

#include "kernels/matmul_u8.inl"

namespace edgelm {
namespace {

// The levels, plus 16 where weights are unsigned.
constexpr int kMxfp4Offset = kByteOffset == 0 ? 0 : 16;
constexpr uint8_t level(int i) { return static_cast<uint8_t>(kMxfp4Levels[i] + kMxfp4Offset); }
constexpr uint8_t kMxfp4Bytes[16] = {
    level(0), level(1), level(2),  level(3),  level(4),  level(5),  level(6),  level(7),
    level(8), level(9), level(10), level(11), level(12), level(13), level(14), level(15)};

// w = 2^(e - 128) * level[code]. Record: four lines of nibbles, a line of exponents.
struct Mxfp4 {
  using Block = mxfp4;
  using Codes = Bits4;
  static constexpr int kStart = kMxfp4Offset == 0 ? kNoStart : 0;
  static constexpr bool kHasMin = false, kWholeBytes = false;
  static constexpr int kFusedTokens = kFusedMany ? 64 : 11, kStreams = 1;
  static constexpr size_t kCodeBytes = 4 * kLineBytes, kBytes = kCodeBytes + kGroupRows;

  template <int g>
  static EDGELM_INLINE Bytes4 group(const uint8_t* p) {
    return lookup(kMxfp4Bytes, code_group<Bits4, g>(p));
  }
  static EDGELM_INLINE Floats1 scale(const uint8_t* p) { return load_e8m0(p + kCodeBytes); }

  static void codes(const Block& block, uint8_t* out) {
    split_nibbles(block.qs, reinterpret_cast<int8_t*>(out));
  }
  static void pack_scales(const Block& block, uint8_t* out, int column) { out[column] = block.e; }
  static void decode(const uint8_t* code, const uint8_t* scales, int column, float* out) {
    const float d = edgelm::scale(mxfp4{.e = scales[column], .qs = {}});
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kMxfp4Levels[code[i]]);
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_q4) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.weight[static_cast<int>(type)];
  };
  of(QuantType::q4_0) = weight_kernels<U8Weight<Affine<q4_0, Bits4, 8, 1, false>>>();
  of(QuantType::q4_1) = weight_kernels<U8Weight<Affine<q4_1, Bits4, 0, kNoStart, true>>>();
  of(QuantType::mxfp4) = weight_kernels<U8Weight<Mxfp4>>();
}
