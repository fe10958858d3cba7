#pragma once

// How the codes of 32 weights of a group's rows lie in a record: kLines lines, four bytes a row.
// K-group g is elements 4g to 4g + 3, one byte each. Groups that fill a line's low bits cost one
// AND; the last ones are put together from the bits left over above them.
//   group<g>(line)   the codes of K-group g, each byte << kShift; line(i) loads line i as Bytes4,
//   or
//                    as the 32-bit word of one column
//   pack(q, line)    the lines of the eight groups' codes
#include "kernels/table.h"
#include "kernels/unroll.inl"
#include "quant/half.h"

namespace edgelm {
namespace {

template <int kShift>
EDGELM_INLINE uint32_t bits(uint32_t x, int mask) {
  const uint32_t m = 0x01010101u * static_cast<uint32_t>(mask);
  return (kShift > 0 ? x >> (kShift & 31) : x << (-kShift & 31)) & m;
}

struct Bits2 {
  static constexpr int kLines = 2, kShift = 0;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    return bits<2 * (g % 4)>(line(g / 4), 0x03);
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    for (int i = 0; i < 2; ++i) {
      const Bytes4* p = q + 4 * i;
      line[i] = p[0] | bits<-2>(p[1], 0x0c) | bits<-4>(p[2], 0x30) | bits<-6>(p[3], 0xc0);
    }
  }
};

// Codes times 8, in bits 3 to 5. Line 2 holds groups 2 and 6, lines 0 and 1 the other direct ones.
struct Bits3 {
  static constexpr int kLines = 3, kShift = 3;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    constexpr int half = g / 4;
    if constexpr (g == 2)
      return bits<0>(line(2), 0x38);
    else if constexpr (g == 6)
      return bits<-3>(line(2), 0x38);
    else if constexpr (g % 4 == 0)
      return bits<0>(line(half), 0x38);
    else if constexpr (g % 4 == 1)
      return bits<-3>(line(half), 0x38);
    else
      return bits<3>(line(half), 0x18) | bits<1 + half>(line(2), 0x20);
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    for (int half = 0; half < 2; ++half) {
      const Bytes4* p = q + 4 * half;
      line[half] = bits<-3>(p[0], 0x38) | p[1] | bits<-6>(p[3], 0xc0);
    }
    line[2] = bits<-3>(q[2], 0x38) | q[6] | bits<-4>(q[3], 0x40) | bits<-5>(q[7], 0x80);
  }
};

struct Bits4 {
  static constexpr int kLines = 4, kShift = 0;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    return bits<4 * (g % 2)>(line(g / 2), 0x0f);
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    for (int i = 0; i < 4; ++i) line[i] = q[2 * i] | bits<-4>(q[2 * i + 1], 0xf0);
  }
};

struct Bits5 {
  static constexpr int kLines = 5, kShift = 0;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    if constexpr (g < 5) {
      return bits<0>(line(g), 0x1f);
    } else if constexpr (g < 7) {
      return bits<3>(line(2 * g - 10), 0x1c) | bits<6>(line(2 * g - 9), 0x03);
    } else {
      return bits<3>(line(4), 0x1c) | bits<4>(line(1), 0x02) | bits<5>(line(3), 0x01);
    }
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    line[0] = q[0] | bits<-3>(q[5], 0xe0);
    line[1] = q[1] | bits<-6>(q[5], 0xc0) | bits<-4>(q[7], 0x20);
    line[2] = q[2] | bits<-3>(q[6], 0xe0);
    line[3] = q[3] | bits<-6>(q[6], 0xc0) | bits<-5>(q[7], 0x20);
    line[4] = q[4] | bits<-3>(q[7], 0xe0);
  }
};

// Whole bytes.
struct Bits8 {
  static constexpr int kLines = 8, kShift = 0;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    return line(g);
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    for (int g = 0; g < 8; ++g) line[g] = q[g];
  }
};

// Each 16 weights have three lines of their own.
struct Bits6 {
  static constexpr int kLines = 6, kShift = 0;
  template <int g, class Line>
  static EDGELM_INLINE auto group(const Line& line) {
    constexpr int at = g / 4 * 3;
    if constexpr (g % 4 < 3) {
      return bits<0>(line(at + g % 4), 0x3f);
    } else {
      return bits<2>(line(at), 0x30) | bits<4>(line(at + 1), 0x0c) | bits<6>(line(at + 2), 0x03);
    }
  }
  static EDGELM_INLINE void pack(const Bytes4 (&q)[8], Bytes4 (&line)[kLines]) {
    for (int half = 0; half < 2; ++half) {
      const Bytes4* p = q + 4 * half;
      line[3 * half] = p[0] | bits<-2>(p[3], 0xc0);
      line[3 * half + 1] = p[1] | bits<-4>(p[3], 0xc0);
      line[3 * half + 2] = p[2] | bits<-6>(p[3], 0xc0);
    }
  }
};

// 32 codes of each row, stride bytes apart, to kLines lines.
template <class Codes>
void pack_codes(const uint8_t* codes, size_t stride, uint8_t* out) {
  alignas(64) uint8_t group[8][kLineBytes];
  for (int c = 0; c < kGroupRows; ++c) {
    for (int g = 0; g < 8; ++g) {
      __builtin_memcpy(group[g] + 4 * c, codes + static_cast<size_t>(c) * stride + 4 * g, 4);
    }
  }
  Bytes4 q[8], line[Codes::kLines];
  for (int g = 0; g < 8; ++g) q[g] = load_bytes(group[g]);
  Codes::pack(q, line);
  for (int i = 0; i < Codes::kLines; ++i) store(out + kLineBytes * i, line[i]);
}

// The 32 codes of one column.
template <class Codes>
void unpack_codes(const uint8_t* lines, int column, uint8_t* out) {
  const auto word = [&](int i) {
    uint32_t w;
    __builtin_memcpy(&w, lines + kLineBytes * i + 4 * column, 4);
    return w;
  };
  unroll<8>([&](auto g) {
    const uint32_t q = Codes::template group<g.value>(word) >> Codes::kShift;
    __builtin_memcpy(out + 4 * g.value, &q, 4);
  });
}

// The f16 of one column.
EDGELM_INLINE float half_at(const uint8_t* p, int column) {
  f16 h;
  __builtin_memcpy(&h, p + 2 * column, 2);
  return to_float(h);
}

// 6-bit values, four a row to three bytes a row: two of low nibbles, one of high bits.
inline constexpr size_t kSixesBytes = 3 * kGroupRows;
EDGELM_INLINE void pack_sixes(const int (&value)[4], int column, uint8_t* out) {
  const auto byte = [](int x) { return static_cast<uint8_t>(x); };
  out[column] = byte((value[0] & 15) | (value[1] & 15) << 4);
  out[kGroupRows + column] = byte((value[2] & 15) | (value[3] & 15) << 4);
  out[2 * kGroupRows + column] =
      byte(value[0] >> 4 | value[1] >> 4 << 2 | value[2] >> 4 << 4 | value[3] >> 4 << 6);
}
EDGELM_INLINE int unpack_six(const uint8_t* in, int i, int column) {
  const int low = in[kGroupRows * (i / 2) + column] >> (4 * (i % 2));
  const int high = in[2 * kGroupRows + column] >> (2 * i);
  return (low & 15) | (high & 3) << 4;
}
struct Sixes {
  Bytes1 value[4];
};
EDGELM_INLINE Sixes load_sixes(const uint8_t* in) {
  const Bytes1 a = load_bytes1(in), b = load_bytes1(in + kGroupRows),
               high = load_bytes1(in + 2 * kGroupRows);
  return {{bits<0>(a, 15) | bits<-4>(high, 0x30), bits<4>(a, 15) | bits<-2>(high, 0x30),
           bits<0>(b, 15) | bits<0>(high, 0x30), bits<4>(b, 15) | bits<2>(high, 0x30)}};
}

}  // namespace
}  // namespace edgelm
