// Any vocabulary and any text: the tokenizer is refused with an Error, or it encodes to ids of its
// vocabulary, the same ones each time, and decodes them.

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "tokenize/bpe.h"
#include "tokenize/sentencepiece.h"
#include "tokenize/tokenizer.h"
#include "tokenize/unigram.h"
#include "tokenize/wordpiece.h"

namespace {

using namespace edgelm;

constexpr std::string_view kPatterns[] = {
#include "patterns.inc"  // those of python/edgelm/pretokenizers.py
};

void require(bool holds) {
  if (!holds) std::abort();
}

// Takes fields off the front of the input; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}

  uint8_t byte() {
    const std::string_view one = take(1);
    return one.empty() ? 0 : static_cast<uint8_t>(one[0]);
  }
  std::string_view text() { return take(byte()); }  // a length, then as many bytes
  std::string_view take(size_t n) {
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  std::string_view rest() { return take(rest_.size()); }

 private:
  std::string_view rest_;
};

struct Flags {
  explicit Flags(uint8_t bits)
      : space_prefix(bits & 1),
        remove_extra_spaces(bits & 2),
        strip_after(bits & 4),
        whole_words(bits & 8),
        has_scores(bits & 16),
        has_types(bits & 32),
        parse_special(bits & 64),
        has_unknown(bits & 128) {}
  bool space_prefix, remove_extra_spaces, strip_after, whole_words;
  bool has_scores, has_types, parse_special, has_unknown;
};

enum Kind { kBpe, kCharacterBpe, kSentencePiece, kUnigram, kWordPiece, kKinds };

Tokenizer tokenizer_of(Input& input, const Flags& flags) {
  const int kind = input.byte() % kKinds;
  const std::string_view pattern = kPatterns[input.byte() % std::size(kPatterns)];
  std::vector<std::string_view> texts;
  std::vector<float> scores;
  std::vector<int32_t> types;
  for (int n = input.byte(); n > 0; --n) {
    texts.push_back(input.text());
    if (flags.has_scores) scores.push_back(static_cast<float>(static_cast<int8_t>(input.byte())));
    if (flags.has_types) types.push_back(input.byte());
  }
  const std::string named[] = {std::string(input.text())};
  const std::string markers[] = {std::string(input.text())};
  std::vector<std::string_view> merges;
  if (kind == kBpe || kind == kCharacterBpe) {
    for (int n = input.byte(); n > 0; --n) merges.push_back(input.text());
  }
  auto vocabulary = std::make_unique<Vocabulary>(
      texts, scores, types, kind == kBpe ? Spelling::kByteLevel : Spelling::kSentencePiece,
      KnownNames{.control = named, .user_defined = {}, .markers = markers}, merges);
  const int32_t unknown = flags.has_unknown ? 0 : Vocabulary::kNone;
  std::unique_ptr<TokenModel> model;
  if (kind == kBpe || kind == kCharacterBpe) {
    std::vector<Pattern> patterns;
    patterns.emplace_back(pattern);
    model = std::make_unique<BpeModel>(
        *vocabulary, merges, std::move(patterns),
        BpeModel::Options{.whole_words = flags.whole_words, .unknown = unknown});
  } else if (kind == kWordPiece) {
    model = std::make_unique<WordPieceModel>(*vocabulary, unknown);
  } else {
    const std::string_view charsmap = input.take(input.byte() * size_t{8});
    Normalizer normalizer(
        {charsmap.begin(), charsmap.end()},
        {.space_prefix = flags.space_prefix, .remove_extra_spaces = flags.remove_extra_spaces});
    if (kind == kUnigram) {
      model = std::make_unique<UnigramModel>(*vocabulary, std::move(normalizer), unknown);
    } else {
      model = std::make_unique<SentencePieceModel>(*vocabulary, std::move(normalizer), unknown);
    }
  }
  return Tokenizer(std::move(vocabulary), std::move(model), flags.strip_after, named);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  const Flags flags(input.byte());
  try {
    const Tokenizer tokenizer = tokenizer_of(input, flags);
    const std::string_view text = input.rest();
    const std::vector<int32_t> ids = tokenizer.encode(text, flags.parse_special);
    require(std::ranges::all_of(
        ids, [&](int32_t id) { return 0 <= id && id < tokenizer.vocabulary().size(); }));
    require(ids == tokenizer.encode(text, flags.parse_special));
    size_t total = 0;
    for (const int32_t id : ids) total += tokenizer.vocabulary().bytes(id).size();
    require(tokenizer.decode(ids, true).size() == total);
    require(tokenizer.decode(ids, false).size() <= total);
  } catch (const edgelm::Error& error) {
    require(error.kind() == ErrorKind::kModelFormat);
  }
  return 0;
}
