#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenize/model.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// A vocabulary and the model that splits text into its tokens. Immutable, so threads may share it.
class Tokenizer {
 public:
  // Text between special tokens, or the id of one.
  using Part = std::variant<std::string_view, int32_t>;

  // `strip_after`: blanks that follow a control token belong to it, but for those of `keep_after`.
  Tokenizer(std::unique_ptr<const Vocabulary> vocabulary, std::unique_ptr<const TokenModel> model,
            bool strip_after, std::span<const std::string> keep_after);

  const Vocabulary& vocabulary() const { return *vocabulary_; }

  // Cuts valid UTF-8 at user-defined tokens and, if asked to, at control tokens: leftmost, longest.
  std::vector<Part> partition(std::string_view text, bool parse_special) const;

  std::vector<int32_t> encode(std::string_view text, bool parse_special) const;
  // The same for one Part of text; `first`: it begins the text or follows a special token.
  std::vector<int32_t> encode_fragment(std::string_view text, bool first) const;

  // The bytes of all ids, which must be in range; control tokens' only if `special`.
  std::string decode(std::span<const int32_t> ids, bool special) const;

 private:
  std::unique_ptr<const Vocabulary> vocabulary_;
  std::unique_ptr<const TokenModel> model_;
  bool strip_after_;
  std::vector<int32_t> keep_after_;
};

}  // namespace edgelm
