#include EDGELM_ISA_HEADER

#include "kernels/matmul_i16.inl"
#include "kernels/codes.inl"

namespace edgelm {
namespace {

// Record: bytes [16 pairs][rows][2], f16 scales.
struct Q8_0 {
  using Block = q8_0;
  static constexpr ActFormat kAct = ActFormat::kI16x32;
  static constexpr size_t kActBytes = sizeof(ActI16x32);
  static constexpr size_t kRecordBytes = kGroupRows * sizeof(Block),
                          kPanelBytes = ExpandedI16::kBytes;
  static constexpr size_t kScales = 8 * kLineBytes;
  static constexpr int kPanelWeights = 2048, kFusedTokens = 63, kStreams = 4;

  struct Layout {
    static constexpr size_t kBytes = kRecordBytes;
    template <int j>
    static EDGELM_INLINE Shorts2 pairs(const uint8_t* p) {
      return load_widened(p + 2 * kGroupRows * j);
    }
    static EDGELM_INLINE Floats1 scale(const uint8_t* p) { return load_f16(p + kScales); }
  };
  using Packed = PackedI16<Layout>;
  using Expanded = ExpandedI16;

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    for (int c = 0; c < kGroupRows; ++c) {
      for (int j = 0; j < 16; ++j)
        __builtin_memcpy(record + 2 * kGroupRows * j + 2 * c, rows[c].qs + 2 * j, 2);
      __builtin_memcpy(record + kScales + 2 * c, &rows[c].d, 2);
    }
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    Block block;
    for (int j = 0; j < 16; ++j) {
      __builtin_memcpy(block.qs + 2 * j, record + 2 * kGroupRows * j + 2 * column, 2);
    }
    __builtin_memcpy(&block.d, record + kScales + 2 * column, 2);
    decode(block, out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    expand_i16(Packed(record, Later()), panel);
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    accumulate_i16<T>(source, act, stride, c);
  }
};

// The levels of IQ4, as bytes; lookup() gives them back, and widening restores their signs.
constexpr uint8_t level(int i) { return static_cast<uint8_t>(kIq4Levels[i]); }
constexpr uint8_t kLevelBytes[16] = {
    level(0), level(1), level(2),  level(3),  level(4),  level(5),  level(6),  level(7),
    level(8), level(9), level(10), level(11), level(12), level(13), level(14), level(15)};

// Weights 2j and 2j + 1 of 32, from four lines of nibbles. Each group's middle bytes are swapped,
// so that its even bytes are its first pair.
template <int j>
EDGELM_INLINE Shorts2 iq4_pairs(const uint8_t* lines) {
  const auto line = [&](int i) EDGELM_ALWAYS_INLINE { return load_bytes(lines + kLineBytes * i); };
  const Bytes4 levels = lookup(kLevelBytes, Bits4::group<j / 2>(line));
  if constexpr (j % 2 == 0) {
    return even_bytes(levels);
  } else {
    return odd_bytes(levels);
  }
}

// Swaps the middle bytes of every four.
EDGELM_INLINE void swap_middles(uint8_t* codes) {
  for (int i = 0; i < 32; i += 4) {
    const uint8_t second = codes[i + 1];
    codes[i + 1] = codes[i + 2];
    codes[i + 2] = second;
  }
}
EDGELM_INLINE void iq4_codes(const uint8_t* qs, uint8_t* out) {
  split_nibbles(qs, reinterpret_cast<int8_t*>(out));
  swap_middles(out);
}
EDGELM_INLINE void unpack_iq4(const uint8_t* lines, int column, float d, float* out) {
  uint8_t code[32];
  unpack_codes<Bits4>(lines, column, code);
  swap_middles(code);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(kIq4Levels[code[i]]);
}

// Record: four lines of nibbles, f16 scales.
struct Iq4Nl {
  using Block = iq4_nl;
  static constexpr ActFormat kAct = ActFormat::kI16x32;
  static constexpr size_t kActBytes = sizeof(ActI16x32);
  static constexpr size_t kRecordBytes = kGroupRows * sizeof(Block),
                          kPanelBytes = ExpandedI16::kBytes;
  static constexpr size_t kScales = 4 * kLineBytes;
  static constexpr int kPanelWeights = 1024, kFusedTokens = 12, kStreams = 1;

  struct Layout {
    static constexpr size_t kBytes = kRecordBytes;
    template <int j>
    static EDGELM_INLINE Shorts2 pairs(const uint8_t* p) {
      return iq4_pairs<j>(p);
    }
    static EDGELM_INLINE Floats1 scale(const uint8_t* p) { return load_f16(p + kScales); }
  };
  using Packed = PackedI16<Layout>;
  using Expanded = ExpandedI16;

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    uint8_t code[kGroupRows][32];
    for (int c = 0; c < kGroupRows; ++c) {
      iq4_codes(rows[c].qs, code[c]);
      __builtin_memcpy(record + kScales + 2 * c, &rows[c].d, 2);
    }
    pack_codes<Bits4>(code[0], 32, record);
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    unpack_iq4(record, column, half_at(record + kScales, column), out);
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    expand_i16(Packed(record, Later()), panel);
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    accumulate_i16<T>(source, act, stride, c);
  }
};

// Record: 8 x 4 lines of nibbles, 2 sixes of scales, f16 d.
struct Iq4Xs {
  using Block = iq4_xs;
  static constexpr ActFormat kAct = ActFormat::kI16x32;
  static constexpr size_t kActBytes = 8 * sizeof(ActI16x32);
  static constexpr size_t kRecordBytes = kGroupRows * sizeof(Block),
                          kPanelBytes = 8 * ExpandedI16::kBytes;
  static constexpr size_t kScales = 32 * kLineBytes, kD = kScales + 2 * kSixesBytes;
  static constexpr int kPanelWeights = 1024, kFusedTokens = 12, kStreams = 1;

  // A sub-block and its float scales d * (scale - 32).
  struct Sub {
    const uint8_t* p;
    const float* scales;
    Later later;
    size_t at;
    EDGELM_INLINE void fetch() const { later.fetch(at, kRecordBytes / 8); }
    template <int j>
    EDGELM_INLINE Shorts2 pairs() const {
      return iq4_pairs<j>(p);
    }
    EDGELM_INLINE Floats1 scale() const { return load_f32(scales); }
  };
  struct Packed {
    const uint8_t* p;
    Later later;
    float scales[8][kGroupRows];
    EDGELM_INLINE Packed(const uint8_t* record, Later next) : p(record), later(next) {
      const Floats1 d = load_f16(record + kD);
      for (int i = 0; i < 2; ++i) {
        const Sixes six = sixes_at<2>(record + kScales, i);
        for (int j = 0; j < 4; ++j) {
          store(scales[4 * i + j], mul(d, to_float(widen(subtract(six.value[j], 32)))));
        }
      }
    }
    EDGELM_INLINE Sub sub(int b) const {
      return {p + 4 * kLineBytes * b, scales[b], later, kRecordBytes / 8 * b};
    }
  };
  struct Expanded {
    static constexpr size_t kBytes = kPanelBytes;
    const uint8_t* p;
    Ahead& ahead;
    explicit EDGELM_INLINE Expanded(const uint8_t* panel, Ahead& next) : p(panel), ahead(next) {}
    EDGELM_INLINE ExpandedI16 sub(int b) const {
      return ExpandedI16(p + b * ExpandedI16::kBytes, ahead);
    }
  };

  static void pack(const Block (&rows)[kGroupRows], uint8_t* record) {
    uint8_t* scales = record + kScales;
    for (int b = 0; b < 8; ++b) {
      uint8_t code[kGroupRows][32];
      for (int c = 0; c < kGroupRows; ++c) iq4_codes(rows[c].qs + 16 * b, code[c]);
      pack_codes<Bits4>(code[0], 32, record + 4 * kLineBytes * b);
    }
    for (int c = 0; c < kGroupRows; ++c) {
      int six[8];
      for (int b = 0; b < 8; ++b) six[b] = edgelm::scale(rows[c], b) + 32;
      pack_sixes<2>(six, c, scales);
      __builtin_memcpy(scales + kD - kScales + 2 * c, &rows[c].d, 2);
    }
  }
  static void unpack(const uint8_t* record, int column, float* out) {
    const uint8_t* scales = record + kScales;
    const float d = half_at(record + kD, column);
    for (int b = 0; b < 8; ++b) {
      const int scale = unpack_six<2>(scales, b, column) - 32;
      unpack_iq4(record + 4 * kLineBytes * b, column, d * static_cast<float>(scale), out + 32 * b);
    }
  }
  static EDGELM_INLINE void expand(const uint8_t* record, uint8_t* panel) {
    const Packed source(record, Later());
    for (int b = 0; b < 8; ++b) expand_i16(source.sub(b), panel + b * ExpandedI16::kBytes);
  }
  template <int T, class Source>
  static EDGELM_INLINE void accumulate(const Source& source, const uint8_t* act, size_t stride,
                                       Floats1 (&c)[T]) {
    for (int b = 0; b < 8; ++b) {
      accumulate_i16<T>(source.sub(b), act + b * sizeof(ActI16x32), stride, c);
    }
  }
};

}  // namespace
}  // namespace edgelm

EDGELM_UNIT(matmul_i16) {
  using namespace edgelm;
  const auto of = [&](QuantType type) -> WeightKernels& {
    return table.exact[static_cast<int>(type)];
  };
  of(QuantType::q8_0) = weight_kernels<Q8_0>();
  of(QuantType::iq4_nl) = weight_kernels<Iq4Nl>();
  of(QuantType::iq4_xs) = weight_kernels<Iq4Xs>();
}
