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

// x's highest kShift bits, y's others below them: an instruction of ISAs whose weights are signed.
template <int kShift, class Bytes>
EDGELM_INLINE Bytes insert(Bytes x, Bytes y) {
  constexpr int kLow = 0xff >> kShift;
  return bits<0>(x, 0xff - kLow) | bits<kShift>(y, kLow);
}
inline constexpr bool kInserts = kByteOffset == 0;

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
    else if constexpr (kInserts)
      return bits<0>(insert<3>(bits<1 + half>(line(2), 0xff >> (1 + half)), line(half)), 0x38);
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
    } else if constexpr (kInserts) {
      return insert<6>(insert<4>(bits<2>(line(at), 0x3f), line(at + 1)), line(at + 2));
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

// 4n 6-bit values a row, each four in three bytes. Where instructions insert bits, four lie n
// apart: each of three has a byte's low bits, the fourth their high ones, and a byte's n * rows are
// a run. Elsewhere four follow each other: two bytes of low nibbles, one of high bits.
inline constexpr size_t kSixesBytes = 3 * kGroupRows;
template <int n>
void pack_sixes(const int (&value)[4 * n], int column, uint8_t* out) {
  const auto byte = [](int x) { return static_cast<uint8_t>(x); };
  for (int i = 0; i < n; ++i) {
    const int* v = value + 4 * i;
    if constexpr (kInserts) {
      for (int j = 0; j < 3; ++j) {
        out[(n * j + i) * kGroupRows + column] =
            byte(value[n * j + i] | (value[3 * n + i] >> 2 * j & 3) << 6);
      }
    } else {
      out[column] = byte((v[0] & 15) | (v[1] & 15) << 4);
      out[kGroupRows + column] = byte((v[2] & 15) | (v[3] & 15) << 4);
      out[2 * kGroupRows + column] =
          byte(v[0] >> 4 | v[1] >> 4 << 2 | v[2] >> 4 << 4 | v[3] >> 4 << 6);
      out += kSixesBytes;
    }
  }
}
template <int n>
int unpack_six(const uint8_t* in, int i, int column) {
  if constexpr (kInserts) {
    const auto byte = [&](int j) { return in[(n * j + i % n) * kGroupRows + column]; };
    return i < 3 * n ? byte(i / n) & 63 : byte(0) >> 6 | byte(1) >> 6 << 2 | byte(2) >> 6 << 4;
  } else {
    in += i / 4 * kSixesBytes;
    const int low = in[kGroupRows * (i % 4 / 2) + column] >> (4 * (i % 2));
    const int high = in[2 * kGroupRows + column] >> (2 * (i % 4));
    return (low & 15) | (high & 3) << 4;
  }
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
// The four from 4i on, of 4n.
template <int n>
EDGELM_INLINE Sixes sixes_at(const uint8_t* in, int i) {
  if constexpr (kInserts) {
    const auto byte = [&](int j) EDGELM_ALWAYS_INLINE { return load_bytes1(in + kGroupRows * j); };
    const auto value = [&](int e) EDGELM_ALWAYS_INLINE {
      if (e < 3 * n) return bits<0>(byte(e), 63);
      const int f = e - 3 * n;
      return insert<6>(insert<4>(bits<2>(byte(2 * n + f), 63), byte(n + f)), byte(f));
    };
    return {{value(4 * i), value(4 * i + 1), value(4 * i + 2), value(4 * i + 3)}};
  } else {
    return load_sixes(in + kSixesBytes * i);
  }
}
// All of them, a line of bytes each, where they lie n apart.
template <int n>
EDGELM_INLINE void byte_sixes(const uint8_t* in, uint8_t* out) {
  constexpr size_t kRun = n * kGroupRows;
  const auto all = [&](auto load, size_t step) EDGELM_ALWAYS_INLINE {
    for (size_t i = 0; i < kRun; i += step) {
      const auto x = load(in + i), y = load(in + kRun + i), z = load(in + 2 * kRun + i);
      store(out + i, bits<0>(x, 63));
      store(out + kRun + i, bits<0>(y, 63));
      store(out + 2 * kRun + i, bits<0>(z, 63));
      store(out + 3 * kRun + i, insert<6>(insert<4>(bits<2>(z, 63), y), x));
    }
  };
  if constexpr (kRun % kLineBytes == 0) {
    all([](const uint8_t* p) EDGELM_ALWAYS_INLINE { return load_bytes(p); }, kLineBytes);
  } else {
    all([](const uint8_t* p) EDGELM_ALWAYS_INLINE { return load_bytes1(p); }, kGroupRows);
  }
}

}  // namespace
}  // namespace edgelm
