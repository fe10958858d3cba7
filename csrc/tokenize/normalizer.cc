#include "tokenize/normalizer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/error.h"
#include "tokenize/unicode.h"

namespace edgelm {
namespace {

static_assert(std::endian::native == std::endian::little, "the table is read as it lies");

// Of a text and of what replaces it, in bytes: NFKC's longest has 33. Without a limit a table that
// leads in circles takes quadratic time, and a few letters can become gigabytes.
constexpr size_t kMaxBytes = 256;

// The packing of a double-array unit. Source: the Darts-clone library.
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
uint32_t label_of(uint32_t unit) { return unit & ((1u << 31) | 0xFF); }
bool has_leaf(uint32_t unit) { return unit >> 8 & 1; }
uint32_t value_of(uint32_t unit) { return unit & ((1u << 31) - 1); }

}  // namespace

Normalizer::Normalizer(std::vector<uint8_t> charsmap, Options options) : options_(options) {
  if (charsmap.empty()) return;
  uint32_t size = 0;
  if (charsmap.size() >= 4) std::memcpy(&size, charsmap.data(), 4);
  if (size == 0 || size % 4 != 0 || size > charsmap.size() - 4) {
    fail(ErrorKind::kModelFormat, "tokenizer.ggml.precompiled_charsmap: its table claims ", size,
         " bytes of the array's ", charsmap.size());
  }
  units_.resize(size / 4);
  std::memcpy(units_.data(), charsmap.data() + 4, size);
  strings_.assign(charsmap.begin() + 4 + size, charsmap.end());
  for (size_t at = 0; at < strings_.size();) {
    const size_t end = std::min(strings_.find('\0', at), strings_.size());
    if (end - at > kMaxBytes) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.precompiled_charsmap: a replacement of ",
           end - at, " bytes; expected at most ", kMaxBytes);
    }
    at = end + 1;
  }
}

Normalizer::Replacement Normalizer::longest(std::string_view text) const {
  Replacement best;
  if (units_.empty()) return best;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < std::min(text.size(), kMaxBytes); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label_of(units_[node]) != byte) break;
    const bool leaf = has_leaf(units_[node]);
    node ^= offset_of(units_[node]);
    if (node >= units_.size()) break;
    if (!leaf) continue;
    const size_t start = value_of(units_[node]);
    const size_t end = strings_.find('\0', start);
    if (start >= strings_.size() || end == std::string::npos) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.precompiled_charsmap: a replacement at byte ",
           start, " lies outside its ", strings_.size(), " bytes of strings");
    }
    best = {i + 1, std::string_view(strings_).substr(start, end - start)};
  }
  return best;
}

std::string Normalizer::normalize(std::string_view text, bool first) const {
  constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
  std::string out;
  out.reserve(text.size() + 1);
  const bool prefix = options_.space_prefix && first;
  if (prefix) out.push_back(' ');
  bool after_space = true;  // so that blanks at the start go; a mark is none
  const auto put = [&](std::string_view part) {
    for (size_t i = 0; i < part.size(); ++i) {
      const bool is_space = part[i] == ' ';
      if (is_space && after_space && options_.remove_extra_spaces) continue;
      after_space = is_space;
      const bool is_mark = part[i] == kSpaceMark[0] && part.substr(i, 3) == kSpaceMark;
      out.push_back(is_mark ? ' ' : part[i]);
      if (is_mark) i += 2;
    }
  };
  if (units_.empty()) {
    put(text);
  } else {
    for (size_t at = 0; at < text.size();) {
      const Replacement found = longest(text.substr(at));
      if (found.consumed > 0) {
        put(found.text);
        at += found.consumed;
      } else {
        const size_t start = at;
        unicode::next(text, at);
        put(text.substr(start, at - start));
      }
    }
  }
  while (options_.remove_extra_spaces && !out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace edgelm
