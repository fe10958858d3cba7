#pragma once

#include "tokenize/model.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// BERT's WordPiece: text is cut at blanks, around punctuation and around Chinese characters, and
// each word is covered from the left by the longest tokens that fit. GGUF spells a word's first
// token with a blank before it. Case and accents are the caller's business. Source:
// arXiv:1810.04805.
class WordPieceModel final : public TokenModel {
 public:
  WordPieceModel(const Vocabulary& vocabulary, int32_t unknown)
      : vocabulary_(vocabulary), unknown_(unknown) {}

  void encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const override;

 private:
  // `word` begins with a blank.
  void encode_word(std::string_view word, size_t characters, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  int32_t unknown_;
};

}  // namespace edgelm
