#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace edgelm::unicode {

// General categories, in the order of tools/unicode_categories.py. kCw: controls that are white
// space.
enum Category : uint8_t {
  kLu,
  kLl,
  kLt,
  kLm,
  kLo,
  kMn,
  kMc,
  kMe,
  kNd,
  kNl,
  kNo,
  kPc,
  kPd,
  kPs,
  kPe,
  kPi,
  kPf,
  kPo,
  kSm,
  kSc,
  kSk,
  kSo,
  kZs,
  kZl,
  kZp,
  kCc,
  kCw,
  kCf,
  kCs,
  kCo,
  kCn,
};

constexpr uint32_t bit(Category category) { return uint32_t{1} << category; }
constexpr uint32_t kSpaceMask = bit(kZs) | bit(kZl) | bit(kZp) | bit(kCw);  // Unicode's White_Space
constexpr uint32_t kPunctuationMask =
    bit(kPc) | bit(kPd) | bit(kPs) | bit(kPe) | bit(kPi) | bit(kPf) | bit(kPo);

Category category(char32_t code_point);  // below 0x110000

// The set of \p{name}: a category ("Lu") or a group of them ("L"). Throws kArgument if unknown.
uint32_t category_mask(std::string_view name);

// Bytes of the UTF-8 sequence that `lead` begins; 1 for a stray continuation byte.
constexpr size_t sequence_length(char lead) {
  const auto byte = static_cast<uint8_t>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

constexpr bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Reads the code point at `at` and moves past it. Bytes that are no well-formed UTF-8 read as one
// U+FFFD a byte, so any bytes are safe.
char32_t next(std::string_view text, size_t& at);

}  // namespace edgelm::unicode
