#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace edgelm {

// A regular expression of the dialect that pre-tokenizers are written in, over UTF-8 text:
//   literals  \r \n \t \s \S \d \p{L} \P{Lu}  [...] with ranges  .  |  (?:...) (?i:...)
//   ? * + {m} {m,n} {m,} and their possessive forms  (?=...) (?!...) (?<!x) with a single x  $ \b
// As in other backtracking engines the first alternative that leads to a match wins and quantifiers
// are greedy. The text never decides the depth of recursion, so a megabyte of one letter is safe.
class Pattern {
 public:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  explicit Pattern(std::string_view source);  // throws kArgument, naming the place, if malformed

  // Where the match that begins at `at` ends, or kNone.
  size_t match(std::string_view text, size_t at) const;

  // Calls emit(piece) for every match and for every gap between matches, in order.
  template <class Emit>
  void split(std::string_view text, Emit&& emit) const {
    size_t gap = 0;  // text before it is emitted
    for (size_t at = 0; at < text.size();) {
      const size_t end = starts_with(text[at]) ? match(text, at) : kNone;
      if (end == kNone || end == at) {
        at = after(text, at);
        continue;
      }
      if (gap < at) emit(text.substr(gap, at - gap));
      emit(text.substr(at, end - at));
      gap = at = end;
    }
    if (gap < text.size()) emit(text.substr(gap));
  }

  struct Class {
    std::array<uint64_t, 2> ascii{};
    uint32_t categories = 0;
    std::vector<std::pair<char32_t, char32_t>> ranges;  // inclusive
    bool negated = false;                               // of categories and ranges

    bool in_ranges(char32_t c) const;
    bool has(char32_t c) const;
    void index_ascii();
  };
  struct Op {
    enum Kind : uint8_t { kOne, kLoop, kSplit, kJump, kAhead, kBehind, kEnd, kBoundary, kMatch };
    Kind kind;
    bool flag = false;     // kLoop: possessive; kAhead and kBehind: negated
    uint16_t of = 0;       // index of the class
    int32_t a = 0, b = 0;  // kLoop: min, max; kSplit, kJump, kAhead: targets relative to this op
  };

 private:
  bool starts_with(char lead) const {
    const auto byte = static_cast<uint8_t>(lead);
    return byte >= 0x80 || (first_[byte >> 6] >> (byte & 63) & 1);
  }
  static size_t after(std::string_view text, size_t at);
  bool step(std::string_view text, size_t& at, const Class& of) const;
  size_t run(std::string_view text, size_t at, size_t pc) const;
  void index_first(size_t pc, std::vector<bool>& seen);

  std::vector<Class> classes_;
  std::vector<Op> code_;
  std::array<uint64_t, 2> first_{};  // ASCII bytes that a match may begin with
};

}  // namespace edgelm
