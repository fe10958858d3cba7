#include "tokenize/wordpiece.h"

#include <algorithm>
#include <string>

#include "tokenize/unicode.h"

namespace edgelm {
namespace {

constexpr size_t kMaxCharacters = 100;  // longer words are unknown, as in the original

// The blocks that the original lists; the seventh is its own slip for U+2B820.
bool is_chinese(char32_t c) {
  constexpr char32_t kBlocks[][2] = {
      {0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF}, {0x2A700, 0x2B73F},
      {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F},
  };
  return std::any_of(std::begin(kBlocks), std::end(kBlocks),
                     [c](const auto& block) { return block[0] <= c && c <= block[1]; });
}

bool is_punctuation(char32_t c) {
  using namespace unicode;
  constexpr uint32_t kAsciiMarks = kPunctuationMask | bit(kSm) | bit(kSc) | bit(kSk) | bit(kSo);
  return (c < 0x80 ? kAsciiMarks : kPunctuationMask) >> category(c) & 1;
}

bool is_dropped(char32_t c) {
  using namespace unicode;
  constexpr uint32_t kOther = bit(kCc) | bit(kCw) | bit(kCf) | bit(kCs) | bit(kCo) | bit(kCn);
  return c == 0xFFFD || (kOther >> category(c) & 1);
}

}  // namespace

void WordPieceModel::encode(std::string_view fragment, bool, std::vector<int32_t>& ids) const {
  std::string word = " ";
  size_t characters = 0;
  const auto finish = [&] {
    if (characters > 0) encode_word(word, characters, ids);
    word.resize(1);
    characters = 0;
  };
  for (size_t at = 0; at < fragment.size();) {
    const size_t start = at;
    const char32_t c = unicode::next(fragment, at);
    const bool is_line = c == '\t' || c == '\n' || c == '\r';
    if (is_line || (!is_dropped(c) && (unicode::kSpaceMask >> unicode::category(c) & 1))) {
      finish();
      continue;
    }
    if (is_dropped(c)) continue;
    const bool alone = is_punctuation(c) || is_chinese(c);
    if (alone) finish();
    word += fragment.substr(start, at - start);
    ++characters;
    if (alone) finish();
  }
  finish();
}

void WordPieceModel::encode_word(std::string_view word, size_t characters,
                                 std::vector<int32_t>& ids) const {
  const size_t start = ids.size();
  size_t at = characters <= kMaxCharacters ? 0 : word.size();
  bool covered = at == 0;
  while (at < word.size() && covered) {
    int32_t id = Vocabulary::kNone;
    size_t length = std::min(word.size() - at, vocabulary_.max_bytes());
    for (; length > 0 && id < 0; --length) {
      if (at == 0 && length == 1) break;  // the blank alone is no piece
      if (at + length < word.size() && unicode::is_continuation(word[at + length])) continue;
      id = vocabulary_.find(word.substr(at, length));
      if (id >= 0) break;
    }
    covered = id >= 0;
    if (covered) ids.push_back(id);
    at += length;
  }
  if (covered) return;
  ids.resize(start);
  if (unknown_ >= 0) ids.push_back(unknown_);
}

}  // namespace edgelm
