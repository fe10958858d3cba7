#include EDGELM_ISA_HEADER

#include "kernels/matmul_i16.inl"

namespace edgelm {
namespace {

// Record: bytes [16 pairs][16 columns][2], 16 f16 scales.
struct Q8_0 {
  using Block = q8_0;
  using Act = ActI16x32;
  static constexpr ActFormat kAct = ActFormat::kI16x32;
  static constexpr size_t kRecordBytes = 16 * 34, kPanelBytes = ExpandedI16::kBytes;
  static constexpr int kPanelWeights = 2048, kFusedTokens = 16;

  struct Layout {
    static constexpr size_t kBytes = kRecordBytes;
    template <int j>
    static EDGELM_INLINE I16x32 pairs(const uint8_t* p) {
      return load_widened(p + 32 * j);
    }
    static EDGELM_INLINE F32x16 scale(const uint8_t* p) { return load_f16(p + 512); }
  };
  using Packed = PackedI16<Layout>;
  using Expanded = ExpandedI16;

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int j = 0; j < 16; ++j) __builtin_memcpy(record + 32 * j + 2 * c, rows[c].qs + 2 * j, 2);
      __builtin_memcpy(record + 512 + 2 * c, &rows[c].d, 2);
    }
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    Block block;
    for (int j = 0; j < 16; ++j)
      __builtin_memcpy(block.qs + 2 * j, record + 32 * j + 2 * column, 2);
    __builtin_memcpy(&block.d, record + 512 + 2 * column, 2);
    decode(block, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    expand_i16(Packed(record), panel);
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       F32x16 (&c)[T]) {
    accumulate_i16<T>(source, act, stride, c);
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_i16) {
  using namespace edgelm;
  table.weight[static_cast<int>(QuantType::q8_0)] = weight_kernels<Q8_0>();
}
