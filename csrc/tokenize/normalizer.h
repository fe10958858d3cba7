#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace edgelm {

// SentencePiece's text normalization: a table of replacements, then the rules for blanks. A mark,
// U+2581, reads as a blank in the result only; vocabularies are kept with blanks too.
class Normalizer {
 public:
  struct Options {
    bool space_prefix = false;         // a blank before a fragment that begins the text
    bool remove_extra_spaces = false;  // at both ends, and all but one of a run
  };

  // `charsmap` is tokenizer.ggml.precompiled_charsmap, empty for none. Throws kModelFormat.
  Normalizer(std::vector<uint8_t> charsmap, Options options);

  std::string normalize(std::string_view text, bool first) const;

 private:
  struct Replacement {
    size_t consumed = 0;  // 0: nothing begins here
    std::string_view text;
  };
  Replacement longest(std::string_view text) const;

  std::vector<uint32_t> units_;  // a double array, as the Darts library packs it
  std::string strings_;          // the replacements, each ended by NUL
  Options options_;
};

}  // namespace edgelm
