#include "tokenize/trie.h"

#include <algorithm>
#include <deque>

namespace edgelm {

Trie::Trie(std::vector<Entry> entries) {
  root_.fill(kNone);
  std::erase_if(entries, [](const Entry& entry) { return entry.first.empty(); });
  std::sort(entries.begin(), entries.end());
  struct Range {
    size_t begin, end, depth;  // entries that share their first `depth` bytes
    int32_t node;
  };
  std::deque<Range> ranges{{0, entries.size(), 0, kNone}};  // never more than there are entries
  for (; !ranges.empty(); ranges.pop_front()) {
    const auto [begin, end, depth, node] = ranges.front();
    size_t at = begin;
    while (at < end && entries[at].first.size() == depth) {
      if (nodes_[node].value == kNone) nodes_[node].value = entries[at].second;
      ++at;
    }
    if (node != kNone) nodes_[node].first = static_cast<int32_t>(nodes_.size());
    while (at < end) {
      const size_t start = at;
      const char byte = entries[at].first[depth];
      while (at < end && entries[at].first[depth] == byte) ++at;
      const auto child = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({.byte = static_cast<uint8_t>(byte)});
      if (node == kNone) {
        root_[static_cast<uint8_t>(byte)] = child;
      } else {
        ++nodes_[node].count;
      }
      ranges.push_back({start, at, depth + 1, child});
    }
  }
}

int32_t Trie::child(int32_t node, uint8_t byte) const {
  const Node* begin = nodes_.data() + nodes_[node].first;
  const Node* end = begin + nodes_[node].count;
  const Node* found =
      std::lower_bound(begin, end, byte, [](const Node& n, uint8_t b) { return n.byte < b; });
  return found != end && found->byte == byte ? static_cast<int32_t>(found - nodes_.data()) : kNone;
}

}  // namespace edgelm
