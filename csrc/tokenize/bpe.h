#pragma once

#include <span>
#include <vector>

#include "tokenize/merge.h"
#include "tokenize/model.h"
#include "tokenize/pattern.h"
#include "tokenize/seams.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// Byte-pair encoding: the patterns split the text into words, one after the other; within a word
// the pair that was learned first is joined first. Over bytes as in GPT-2, or over characters with
// a fallback to bytes as in Gemma 4. Source: arXiv:1508.07909.
class BpeModel final : public TokenModel {
 public:
  struct Options {
    bool whole_words = false;  // a word that is a token stays whole, whatever the merges say
    int32_t unknown = Vocabulary::kNone;  // for bytes without a token; none: they are dropped
  };

  // merges[i] is "left right" in the vocabulary's spelling. Throws kModelFormat if it names unknown
  // tokens.
  BpeModel(const Vocabulary& vocabulary, std::span<const std::string_view> merges,
           std::vector<Pattern> patterns, Options options);

  void encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const override;

 private:
  struct Pair {
    uint64_t tokens = kEmpty;  // left id * 2^32 + right id
    Join join;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};

  void add(std::string_view merge, uint32_t rank);
  Join find(int32_t left, int32_t right) const;
  void split(std::string_view piece, size_t pattern, Merger& merger,
             std::vector<int32_t>& ids) const;
  void put_unknown(std::string_view bytes, std::vector<int32_t>& ids) const;
  void encode_word(std::string_view word, Merger& merger, std::vector<int32_t>& ids) const;
  void merge(std::string_view word, Merger& merger, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  std::vector<Pattern> patterns_;
  Options options_;
  Seams seams_;
  std::vector<Pair> pairs_;  // open addressing, a power of two
};

}  // namespace edgelm
