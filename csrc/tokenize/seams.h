#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tokenize/unicode.h"
#include "tokenize/vocabulary.h"

namespace edgelm {

// Where text may be cut before it is merged: between bytes that stand side by side in no token, so
// that none could reach across. Short runs are merged much faster than long ones.
class Seams {
 public:
  Seams() = default;  // anywhere
  explicit Seams(const Vocabulary& vocabulary) {
    for (int32_t id = 0; id < vocabulary.size(); ++id) {
      const std::string_view bytes = vocabulary.key(id);
      for (size_t i = 1; i < bytes.size(); ++i) {
        const auto left = static_cast<uint8_t>(bytes[i - 1]);
        const auto right = static_cast<uint8_t>(bytes[i]);
        pairs_[left][right >> 6] |= uint64_t{1} << (right & 63);
      }
    }
  }

  // Visits the runs of whole characters between the seams of a UTF-8 text.
  template <class Visit>
  void each_run(std::string_view text, Visit&& visit) const {
    size_t start = 0;
    for (size_t i = 1; i < text.size(); ++i) {
      if (joinable(text[i - 1], text[i]) || unicode::is_continuation(text[i])) continue;
      visit(text.substr(start, i - start));
      start = i;
    }
    if (start < text.size()) visit(text.substr(start));
  }

 private:
  bool joinable(char left, char right) const {
    const auto row = static_cast<uint8_t>(left), column = static_cast<uint8_t>(right);
    return pairs_[row][column >> 6] >> (column & 63) & 1;
  }

  std::array<std::array<uint64_t, 4>, 256> pairs_{};
};

}  // namespace edgelm
