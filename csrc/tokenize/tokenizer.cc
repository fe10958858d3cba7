#include "tokenize/tokenizer.h"

#include <algorithm>

#include "core/error.h"

namespace edgelm {
namespace {

// Positions are kept in 32 bits, and a merge takes some 40 bytes for each of the text's.
constexpr size_t kMaxTextBytes = size_t{1} << 28;

void check_length(std::string_view text) {
  check(text.size() <= kMaxTextBytes, "the text has ", text.size(), " bytes; at most ",
        kMaxTextBytes, " are tokenized at once");
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<const Vocabulary> vocabulary,
                     std::unique_ptr<const TokenModel> model, bool strip_after,
                     std::span<const std::string> keep_after)
    : vocabulary_(std::move(vocabulary)), model_(std::move(model)), strip_after_(strip_after) {
  for (const std::string& name : keep_after) keep_after_.push_back(vocabulary_->named(name));
}

std::vector<Tokenizer::Part> Tokenizer::partition(std::string_view text, bool parse_special) const {
  check_length(text);
  std::vector<Part> parts;
  const Trie& special = vocabulary_->special();
  size_t start = 0;
  const auto put_text = [&](size_t end) {
    if (start < end) parts.emplace_back(text.substr(start, end - start));
  };
  for (size_t at = 0; at < text.size();) {
    size_t length = 0;
    int32_t id = Vocabulary::kNone;
    if (special.has_first(text[at])) {
      special.prefixes(text.substr(at), [&](size_t found_length, int32_t found) {
        if (!parse_special && vocabulary_->parsed(found)) return;
        length = found_length;
        id = found;
      });
    }
    if (length == 0) {
      ++at;
      continue;
    }
    put_text(at);
    parts.emplace_back(id);
    start = at += length;
    if (!strip_after_ || !vocabulary_->skipped(id) || std::ranges::count(keep_after_, id)) continue;
    while (at < text.size() && (text[at] == ' ' || (text[at] >= '\t' && text[at] <= '\r'))) ++at;
    start = at;
  }
  put_text(text.size());
  return parts;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool parse_special) const {
  std::vector<int32_t> ids;
  bool first = true;
  for (const Part& part : partition(text, parse_special)) {
    if (const auto* id = std::get_if<int32_t>(&part)) {
      ids.push_back(*id);
      first = true;
    } else {
      model_->encode(std::get<std::string_view>(part), first, ids);
      first = false;
    }
  }
  return ids;
}

std::vector<int32_t> Tokenizer::encode_fragment(std::string_view text, bool first) const {
  check_length(text);
  std::vector<int32_t> ids;
  model_->encode(text, first, ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool special) const {
  std::string text;
  text.reserve(ids.size() * 4);
  for (const int32_t id : ids) {
    if (special || !vocabulary_->skipped(id)) text += vocabulary_->bytes(id);
  }
  return text;
}

}  // namespace edgelm
