#pragma once

#include "tokenize/model.h"
#include "tokenize/normalizer.h"
#include "tokenize/trie.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// SentencePiece's Unigram model, as in T5: of all ways to cover the text with tokens the one whose
// scores, log-probabilities, have the largest sum. Source: arXiv:1804.10959.
class UnigramModel final : public TokenModel {
 public:
  UnigramModel(const Vocabulary& vocabulary, Normalizer normalizer, int32_t unknown);

  void encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const override;

 private:
  const Vocabulary& vocabulary_;
  Normalizer normalizer_;
  int32_t unknown_;
  double unknown_score_;
  Trie trie_;
};

}  // namespace edgelm
