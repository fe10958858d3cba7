#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace edgelm {

// Turns text into ids: byte-pair encoding, SentencePiece, WordPiece or Unigram. Immutable once
// built, so that threads may share one.
class TokenModel {
 public:
  virtual ~TokenModel() = default;

  // Appends the ids of a fragment of valid UTF-8 that holds no special token. `first`: it begins
  // the text or follows a special token.
  virtual void encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const = 0;
};

}  // namespace edgelm
