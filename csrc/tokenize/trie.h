#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace edgelm {

// Byte strings with a value each, walked from the front. Children of a node lie side by side.
class Trie {
 public:
  using Entry = std::pair<std::string_view, int32_t>;
  static constexpr int32_t kNone = -1;

  Trie() : Trie(std::vector<Entry>{}) {}
  explicit Trie(
      std::vector<Entry> entries);  // of equal keys the smallest value stays; empty ones go

  // Calls found(length, value) for each key that `text` begins with, shortest first.
  template <class Found>
  void prefixes(std::string_view text, Found&& found) const {
    if (text.empty()) return;
    int32_t node = root_[static_cast<uint8_t>(text[0])];
    for (size_t length = 1; node != kNone; ++length) {
      if (nodes_[node].value != kNone) found(length, nodes_[node].value);
      if (length == text.size()) return;
      node = child(node, static_cast<uint8_t>(text[length]));
    }
  }

  bool has_first(char c) const { return root_[static_cast<uint8_t>(c)] != kNone; }

 private:
  struct Node {
    int32_t value = kNone;
    int32_t first = 0;  // of its children
    uint16_t count = 0;
    uint8_t byte = 0;
  };
  int32_t child(int32_t node, uint8_t byte) const;

  std::array<int32_t, 256> root_;
  std::vector<Node> nodes_;
};

}  // namespace edgelm
