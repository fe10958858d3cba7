#include "tokenize/bpe.h"

#include <bit>

#include "core/error.h"
#include "tokenize/unicode.h"

namespace edgelm {
namespace {

size_t hash_pair(uint64_t tokens) {
  static const uint64_t seed = hash_bytes({});
  const uint64_t hash = (tokens ^ seed) * 0x9E3779B97F4A7C15;
  return (hash ^ hash >> 32) * 0x9E3779B97F4A7C15 >> 24;
}

}  // namespace

BpeModel::BpeModel(const Vocabulary& vocabulary, std::span<const std::string_view> merges,
                   std::vector<Pattern> patterns, Options options)
    : vocabulary_(vocabulary),
      patterns_(std::move(patterns)),
      options_(options),
      seams_(vocabulary.spelling() == Spelling::kByteLevel ? Seams() : Seams(vocabulary)) {
  pairs_.resize(std::bit_ceil(merges.size() * 2 + 2));
  for (size_t i = 0; i < merges.size(); ++i) add(merges[i], static_cast<uint32_t>(i));
}

void BpeModel::add(std::string_view merge, uint32_t rank) {
  const size_t space = merge.find(' ', 1);
  const auto bad = [&](std::string_view why) {
    fail(ErrorKind::kModelFormat, "tokenizer.ggml.merges[", rank, "] '", merge, "' ", why);
  };
  if (merge.empty() || space == std::string_view::npos) bad("is not two tokens and a blank");
  const bool over_bytes = vocabulary_.spelling() == Spelling::kByteLevel;
  std::string joined;
  const auto append = [&](std::string_view side) {
    if (over_bytes) {
      append_byte_level(side, joined);
    } else {
      append_unmarked(side, joined);
    }
  };
  append(merge.substr(0, space));
  const size_t left_size = joined.size();
  append(merge.substr(space + 1));
  const std::string_view both = joined;
  const int32_t left = vocabulary_.find(both.substr(0, left_size));
  const int32_t right = vocabulary_.find(both.substr(left_size));
  const int32_t id = vocabulary_.find(both);
  if (left < 0 || right < 0 || id < 0) bad("names a token that tokenizer.ggml.tokens lacks");
  const uint64_t tokens = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  const size_t mask = pairs_.size() - 1;
  size_t slot = hash_pair(tokens) & mask;
  while (pairs_[slot].tokens != kEmpty && pairs_[slot].tokens != tokens) slot = (slot + 1) & mask;
  if (pairs_[slot].tokens == kEmpty) pairs_[slot] = {tokens, {rank, id}};
}

Join BpeModel::find(int32_t left, int32_t right) const {
  if ((left | right) < 0) return {};
  const uint64_t tokens = static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right);
  const size_t mask = pairs_.size() - 1;
  for (size_t slot = hash_pair(tokens) & mask;; slot = (slot + 1) & mask) {
    if (pairs_[slot].tokens == tokens) return pairs_[slot].join;
    if (pairs_[slot].tokens == kEmpty) return {};
  }
}

void BpeModel::encode(std::string_view fragment, bool, std::vector<int32_t>& ids) const {
  Merger merger;
  if (vocabulary_.spelling() == Spelling::kByteLevel) return split(fragment, 0, merger, ids);
  std::string unmarked;
  append_unmarked(fragment, unmarked);
  split(unmarked, 0, merger, ids);
}

void BpeModel::split(std::string_view piece, size_t pattern, Merger& merger,
                     std::vector<int32_t>& ids) const {
  if (pattern == patterns_.size()) return encode_word(piece, merger, ids);
  patterns_[pattern].split(piece,
                           [&](std::string_view part) { split(part, pattern + 1, merger, ids); });
}

void BpeModel::encode_word(std::string_view word, Merger& merger, std::vector<int32_t>& ids) const {
  if (options_.whole_words) {
    const int32_t id = vocabulary_.find_word(word);
    if (id >= 0) return ids.push_back(id);
  }
  if (vocabulary_.spelling() == Spelling::kByteLevel) {
    merger.clear();
    for (size_t i = 0; i < word.size(); ++i) {
      merger.add(vocabulary_.of_byte(static_cast<uint8_t>(word[i])), i, 1);
    }
    return merge(word, merger, ids);
  }
  seams_.each_run(word, [&](std::string_view run) {
    merger.clear();
    for (size_t at = 0; at < run.size();) {
      const size_t start = at;
      unicode::next(run, at);
      merger.add(vocabulary_.find(run.substr(start, at - start)), start, at - start);
    }
    merge(run, merger, ids);
  });
}

void BpeModel::merge(std::string_view word, Merger& merger, std::vector<int32_t>& ids) const {
  merger.run([this](const Symbol& left, const Symbol& right) { return find(left.id, right.id); });
  merger.each([&](const Symbol& symbol) {
    if (symbol.id >= 0) {
      ids.push_back(symbol.id);
    } else {
      put_unknown(word.substr(symbol.begin, symbol.size), ids);
    }
  });
}

void BpeModel::put_unknown(std::string_view bytes, std::vector<int32_t>& ids) const {
  for (const char byte : bytes) {
    const int32_t known = vocabulary_.of_byte(static_cast<uint8_t>(byte));
    const int32_t id = known >= 0 ? known : options_.unknown;
    if (id >= 0) ids.push_back(id);
  }
}

}  // namespace edgelm
