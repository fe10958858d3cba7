#include "tokenize/unigram.h"

#include <algorithm>
#include <limits>

#include "tokenize/unicode.h"

namespace edgelm {

UnigramModel::UnigramModel(const Vocabulary& vocabulary, Normalizer normalizer, int32_t unknown)
    : vocabulary_(vocabulary), normalizer_(std::move(normalizer)), unknown_(unknown) {
  constexpr double kUnknownPenalty = 10.0;  // below the worst token; SentencePiece's constant
  double worst = 0.0;
  std::vector<Trie::Entry> entries;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    if (type == TokenType::kNormal) worst = std::min<double>(worst, vocabulary.score(id));
    if (type == TokenType::kNormal || type == TokenType::kUserDefined ||
        type == TokenType::kUnused) {
      entries.emplace_back(vocabulary.bytes(id), id);
    }
  }
  unknown_score_ = worst - kUnknownPenalty;
  trie_ = Trie(std::move(entries));
}

void UnigramModel::encode(std::string_view fragment, bool first, std::vector<int32_t>& ids) const {
  const std::string text = normalizer_.normalize(fragment, first);
  struct Best {  // of all covers of the text up to here
    double score = -std::numeric_limits<double>::infinity();
    uint32_t start = 0;
    int32_t id = Vocabulary::kNone;
  };
  std::vector<Best> best(text.size() + 1);
  best[0].score = 0.0;
  for (size_t at = 0; at < text.size();) {
    size_t next = at;
    unicode::next(text, next);
    bool has_single = false;
    const auto offer = [&](size_t end, double score, int32_t id) {
      if (best[at].score + score <= best[end].score) return;
      best[end] = {best[at].score + score, static_cast<uint32_t>(at), id};
    };
    trie_.prefixes(std::string_view(text).substr(at), [&](size_t length, int32_t id) {
      has_single = has_single || at + length == next;
      const bool user_defined = vocabulary_.type(id) == TokenType::kUserDefined;
      offer(at + length, user_defined ? 0.0 : vocabulary_.score(id), id);
    });
    if (!has_single) offer(next, unknown_score_, unknown_);
    at = next;
  }
  const size_t start = ids.size();
  for (size_t at = text.size(); at > 0; at = best[at].start) {
    const int32_t id = best[at].id;
    const bool repeats = id == unknown_ && ids.size() > start && ids.back() == unknown_;
    if (id >= 0 && !repeats) ids.push_back(id);
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(start), ids.end());
}

}  // namespace edgelm
