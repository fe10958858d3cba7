#include "tokenize/unicode.h"

#include <array>
#include <cstring>
#include <memory>

#include "core/error.h"

namespace edgelm::unicode {
namespace {

constexpr uint16_t kRuns[] = {
#include "tokenize/unicode_categories.inc"
};
constexpr size_t kCodePoints = 0x110000;

const uint8_t* category_table() {
  static const auto table = [] {
    auto flat = std::make_unique<uint8_t[]>(kCodePoints);
    size_t at = 0;
    for (const uint16_t run : kRuns) {
      const size_t length = (run >> 5) + size_t{1};
      std::memset(flat.get() + at, run & 31, length);
      at += length;
    }
    return flat;
  }();
  return table.get();
}

constexpr char kNames[] = "LuLlLtLmLoMnMcMeNdNlNoPcPdPsPePiPfPoSmScSkSoZsZlZpCcCwCfCsCoCn";

}  // namespace

Category category(char32_t code_point) {
  static const uint8_t* const table = category_table();
  return static_cast<Category>(table[code_point]);
}

uint32_t category_mask(std::string_view name) {
  uint32_t mask = 0;
  for (size_t i = 0; i + 1 < sizeof(kNames); i += 2) {
    if (std::string_view(kNames + i, 2).substr(0, name.size()) == name) mask |= 1u << (i / 2);
  }
  if (name == "Cc") mask |= bit(kCw);
  check(mask != 0 && !name.empty() && name != "Cw", "no Unicode category is named '", name, "'");
  return mask;
}

char32_t next(std::string_view text, size_t& at) {
  const auto lead = static_cast<uint8_t>(text[at]);
  if (lead < 0x80) return text[at++];
  const size_t length = sequence_length(text[at]);
  char32_t code_point = length == 2 ? lead & 0x1Fu : length == 3 ? lead & 0x0Fu : lead & 0x07u;
  bool sound = length > 1 && at + length <= text.size() && lead < 0xF8;
  for (size_t i = 1; sound && i < length; ++i) {
    sound = is_continuation(text[at + i]);
    code_point = code_point << 6 | (static_cast<uint8_t>(text[at + i]) & 0x3Fu);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (!sound || code_point < kSmallest[length] || code_point >= kCodePoints) {
    ++at;
    return 0xFFFD;
  }
  at += length;
  return code_point;
}

}  // namespace edgelm::unicode
