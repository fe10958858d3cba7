#include <string>
#include <vector>

#include "core/error.h"
#include "testing.h"
#include "tokenize/bpe.h"
#include "tokenize/normalizer.h"
#include "tokenize/pattern.h"
#include "tokenize/sentencepiece.h"
#include "tokenize/trie.h"
#include "tokenize/unicode.h"

namespace {

using namespace edgelm;
using Texts = std::vector<std::string_view>;

std::vector<std::string> split(std::string_view pattern, std::string_view text) {
  std::vector<std::string> pieces;
  Pattern(pattern).split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

}  // namespace

TEST(pattern_takes_the_first_alternative_that_matches) {
  EXPECT((split("ab|a", "aab") == std::vector<std::string>{"a", "ab"}));
  EXPECT((split("\\s+(?!\\S)|\\s+", "a   b") == std::vector<std::string>{"a", "  ", " ", "b"}));
  EXPECT((split("(?i:'s)", "x'S'\xC5\xBF") == std::vector<std::string>{"x", "'S", "'\xC5\xBF"}));
}

TEST(pattern_survives_what_is_no_utf8) {
  for (const char* pattern : {"\\p{L}+", "[^\\s]+a|.+", ".*x", "\\S+$"}) {
    std::string joined;
    for (const auto& piece : split(pattern, "a\xFF\x80\xE4\xB8 \xF0\x9F z\xC3")) joined += piece;
    EXPECT(joined == "a\xFF\x80\xE4\xB8 \xF0\x9F z\xC3") << pattern;
  }
}

TEST(unicode_reads_broken_bytes_one_by_one) {
  for (const std::string_view text : {"\xC0\x80", "\xED\xA0", "\xF8\x88", "\xE4\xB8", "\x80"}) {
    size_t at = 0;
    const char32_t c = unicode::next(text, at);
    EXPECT(c == 0xFFFD && at == 1);
  }
}

TEST(trie_finds_every_prefix) {
  const Trie trie({{"a", 1}, {"abc", 2}, {"b", 3}, {"", 4}});
  std::vector<int32_t> found;
  trie.prefixes("abcd", [&](size_t, int32_t value) { found.push_back(value); });
  EXPECT((found == std::vector<int32_t>{1, 2}));
}

TEST(bpe_joins_by_rank_from_the_left) {
  const Texts tokens{"a", "b", "c", "ab", "bc", "abc"};
  const Vocabulary vocabulary(tokens, {}, {}, Spelling::kByteLevel);
  const Texts merges{"b c", "a b", "a bc"};
  const BpeModel model(vocabulary, merges, {}, {});
  std::vector<int32_t> ids;
  model.encode("abcab", true, ids);
  EXPECT((ids == std::vector<int32_t>{5, 3}));
  const Texts unknown{"a x"};
  EXPECT_ERROR(ErrorKind::kModelFormat, BpeModel(vocabulary, unknown, {}, {}));
}

TEST(sentencepiece_splits_unused_tokens_again) {
  const Texts tokens{"a", "b", "c", "ab", "abc"};
  const std::vector<float> scores{-1, -1, -1, -2, -3};
  const std::vector<int32_t> types{1, 1, 1, 5, 1};
  const Vocabulary vocabulary(tokens, scores, types, Spelling::kSentencePiece);
  const SentencePieceModel model(vocabulary, Normalizer({}, {}), -1);
  std::vector<int32_t> ids;
  model.encode("abcab", true, ids);
  EXPECT((ids == std::vector<int32_t>{4, 0, 1}));
}

TEST(vocabulary_checks_its_arrays) {
  const Texts tokens{"a", "b"};
  const std::vector<float> one{1.0f};
  EXPECT_ERROR(ErrorKind::kModelFormat, Vocabulary(tokens, one, {}, Spelling::kByteLevel));
  EXPECT_ERROR(ErrorKind::kModelFormat, Vocabulary({}, {}, {}, Spelling::kByteLevel));
}
