#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "tokenize/merge.h"
#include "tokenize/model.h"
#include "tokenize/normalizer.h"
#include "tokenize/seams.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// SentencePiece's byte-pair encoding: of all neighbours whose joined text is a token, the pair with
// the highest score is joined first; characters without a token become their bytes' tokens. Source:
// arXiv:1808.06226.
class SentencePieceModel final : public TokenModel {
 public:
  SentencePieceModel(const Vocabulary& vocabulary, Normalizer normalizer, int32_t unknown);

  void encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const override;

 private:
  // How an unused token was last joined: the bytes of its left part.
  using Splits = std::unordered_map<std::string_view, size_t>;

  void encode_run(std::string_view text, Merger& merger, Splits& splits,
                  std::vector<int32_t>& ids) const;
  void put(std::string_view piece, int32_t id, const Splits& splits,
           std::vector<int32_t>& ids) const;
  void put_bytes(std::string_view piece, std::vector<int32_t>& ids) const;

  const Vocabulary& vocabulary_;
  Normalizer normalizer_;
  Seams seams_;
  int32_t unknown_;
  bool has_unused_ = false;
};

}  // namespace edgelm
