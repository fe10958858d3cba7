#include "tokenize/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "core/error.h"
#include "tokenize/unicode.h"

namespace edgelm {
namespace {

// The largest vocabularies hold some 10 MiB, the longest tokens some hundred bytes.
constexpr size_t kMaxTokens = size_t{1} << 24, kMaxBytes = size_t{64} << 20, kMaxTokenBytes = 4096;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// GPT-2's alphabet: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards.
const std::array<int16_t, 0x144>& byte_of_character() {
  static const auto table = [] {
    std::array<int16_t, 0x144> bytes;
    bytes.fill(-1);
    int next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
      bytes[printable ? b : next++] = static_cast<int16_t>(b);
    }
    return bytes;
  }();
  return table;
}

// The byte that "<0xHH>" names, or -1.
int named_byte(std::string_view text) {
  if (text.size() != 6 || text.substr(0, 3) != "<0x" || text[5] != '>') return -1;
  int value = 0;
  for (const char c : text.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  return value;
}

}  // namespace

bool append_byte_level(std::string_view text, std::string& to) {
  const auto& bytes = byte_of_character();
  const size_t start = to.size();
  for (size_t at = 0; at < text.size();) {
    const char32_t c = unicode::next(text, at);
    if (c >= bytes.size() || bytes[c] < 0) {
      to.resize(start);
      to += text;
      return false;
    }
    to.push_back(static_cast<char>(bytes[c]));
  }
  return true;
}

void append_unmarked(std::string_view text, std::string& to) {
  for (size_t at = 0; at < text.size();) {
    const size_t mark = std::min(text.find(kSpaceMark, at), text.size());
    to += text.substr(at, mark - at);
    if (mark < text.size()) to += ' ';
    at = mark + kSpaceMark.size();
  }
}

uint64_t hash_bytes(std::string_view bytes) {
  static const uint64_t seed = std::random_device{}() | uint64_t{std::random_device{}()} << 32;
  constexpr uint64_t kMultiplier = 0x9E3779B97F4A7C15;
  uint64_t hash = seed ^ bytes.size() * kMultiplier;
  const char* at = bytes.data();
  size_t left = bytes.size();
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 29;
  };
  for (; left >= 8; at += 8, left -= 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    mix(word);
  }
  uint64_t word = 0;
  if (left > 0) std::memcpy(&word, at, left);  // an empty text may be null
  mix(word);
  return hash ^ hash >> 32;
}

Vocabulary::Vocabulary(std::span<const std::string_view> texts, std::span<const float> scores,
                       std::span<const int32_t> types, Spelling spelling, const KnownNames& names,
                       std::span<const std::string_view> merges)
    : spelling_(spelling) {
  check(texts, scores, types);
  if (!scores.empty()) scores_.assign(scores.begin(), scores.begin() + std::ssize(texts));
  types_.reserve(texts.size());
  for (size_t id = 0; id < texts.size(); ++id) {
    const int32_t type = types.empty() ? 1 : types[id];
    types_.push_back(type < 0 || type > 6 ? TokenType::kUndefined : static_cast<TokenType>(type));
  }
  apply(names, texts);
  find_words(texts, merges);
  spell(texts);
  index();
}

void Vocabulary::check(std::span<const std::string_view> texts, std::span<const float> scores,
                       std::span<const int32_t> types) const {
  const auto long_enough = [&](const char* key, size_t length) {
    if (length == 0 || length >= texts.size()) return;
    fail(ErrorKind::kModelFormat, "tokenizer.ggml.", key, " has ", length,
         " elements, but tokenizer.ggml.tokens has ", texts.size(), "; each needs its own");
  };
  long_enough("scores", scores.size());
  long_enough("token_type", types.size());
  size_t total = 0;
  for (const std::string_view text : texts) total += text.size();
  if (texts.empty() || texts.size() > kMaxTokens || total > kMaxBytes) {
    fail(ErrorKind::kModelFormat, "tokenizer.ggml.tokens has ", texts.size(), " tokens of ", total,
         " bytes; expected 1 to ", kMaxTokens, " tokens of at most ", kMaxBytes, " bytes");
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    if (texts[i].size() > kMaxTokenBytes) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.tokens[", i, "] has ", texts[i].size(),
           " bytes; expected at most ", kMaxTokenBytes);
    }
  }
  for (size_t i = 0; i < std::min(scores.size(), texts.size()); ++i) {
    if (std::isnan(scores[i])) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.scores[", i, "] is not a number");
    }
  }
}

void Vocabulary::apply(const KnownNames& names, std::span<const std::string_view> texts) {
  std::array<bool, 256> begins{};  // few tokens begin as a known name does
  const auto learn = [&](std::span<const std::string> list) {
    for (const std::string& name : list) {
      if (!name.empty()) begins[static_cast<uint8_t>(name[0])] = true;
      named_.emplace(name, kNone);
    }
  };
  learn(names.control);
  learn(names.user_defined);
  learn(names.markers);
  const bool any = !named_.empty();
  std::string name;
  for (size_t id = 0; id < texts.size() && any; ++id) {
    if (texts[id].empty() || !begins[static_cast<uint8_t>(texts[id][0])]) continue;
    const auto known = named_.find(name.assign(texts[id]));
    if (known != named_.end() && known->second == kNone) known->second = static_cast<int32_t>(id);
  }
  const auto each = [&](std::span<const std::string> list, auto&& visit) {
    for (const std::string& wanted : list) {
      if (const int32_t id = named_.at(wanted); id != kNone) visit(id);
    }
  };
  each(names.markers, [&](int32_t id) { markers_.insert(id); });
  each(names.control, [&](int32_t id) { types_[id] = TokenType::kControl; });
  each(names.user_defined, [&](int32_t id) { types_[id] = TokenType::kUserDefined; });
}

// Of special types, but a byte's own or what a merge makes: text that the model was trained on.
void Vocabulary::find_words(std::span<const std::string_view> texts,
                            std::span<const std::string_view> merges) {
  std::unordered_map<std::string_view, int32_t> candidates;
  std::string key;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view text = texts[id];
    const bool over_bytes = spelling_ == Spelling::kByteLevel;
    const bool special = is_control(id) || (over_bytes && types_[id] == TokenType::kUserDefined);
    if (!special || text.empty() || in_brackets(text) || named_.contains(std::string(text))) {
      continue;
    }
    if (over_bytes) {
      key.clear();
      if (!append_byte_level(text, key)) continue;
      // A user-defined U+00FD is more likely that letter than the byte that it is spelled for.
      const auto lead = static_cast<uint8_t>(text[0]);
      const bool is_latin = lead == 0xC2 || lead == 0xC3;
      if (key.size() == 1 && (is_control(id) || !is_latin)) words_.insert(id);
    } else {
      size_t after_first = 0;
      unicode::next(text, after_first);
      if (after_first == text.size() || text.starts_with(kSpaceMark)) words_.insert(id);
    }
    candidates.emplace(text, id);
  }
  if (candidates.empty()) return;
  for (const std::string_view merge : merges) {
    const size_t blank = std::min(merge.find(' ', 1), merge.size());
    key.assign(merge.substr(0, blank)).append(merge.substr(std::min(blank + 1, merge.size())));
    if (const auto made = candidates.find(key); made != candidates.end()) {
      words_.insert(made->second);
    }
  }
}

void Vocabulary::spell(std::span<const std::string_view> texts) {
  const bool over_bytes = spelling_ == Spelling::kByteLevel;
  bytes_.fill(kNone);
  has_other_key_.resize(texts.size());
  ends_.reserve(texts.size() + 1);
  ends_.push_back(0);
  std::vector<int32_t> named;
  std::string key;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view text = texts[id];
    const bool user_defined = types_[id] == TokenType::kUserDefined;
    const bool special = is_control(id) || user_defined || markers_.contains(id);
    const int byte = over_bytes ? -1 : named_byte(text);
    if (byte >= 0 && bytes_[byte] == kNone) bytes_[byte] = id;
    key.clear();
    if (!over_bytes && types_[id] == TokenType::kByte) {
      if (byte < 0) {
        fail(ErrorKind::kModelFormat, "tokenizer.ggml.tokens[", id, "] '", text,
             "' has the type of a byte, but is not written <0x00> to <0xFF>");
      }
      blob_.push_back(static_cast<char>(byte));
    } else {
      const bool plain = over_bytes ? !append_byte_level(text, key) : user_defined;
      if (!over_bytes) append_unmarked(text, key);
      // A name stands for itself; a word has the bytes that its spelling means.
      const bool is_name = special && !words_.contains(id) && (over_bytes || !user_defined);
      blob_ += is_name ? text : key;
      if (special && (plain || is_name || key == text)) named.push_back(id);
      if (over_bytes && plain) key.clear();  // no text is ever spelled like that
    }
    ends_.push_back(static_cast<uint32_t>(blob_.size()));
    if (key != bytes(id)) {
      has_other_key_[id] = true;
      other_keys_.emplace(id, key);
    }
  }
  std::vector<Trie::Entry> entries;
  for (const int32_t id : named) entries.emplace_back(bytes(id), id);
  special_ = Trie(std::move(entries));
}

void Vocabulary::index() {
  slots_.resize(std::bit_ceil(types_.size() * 2 + 2));
  for (int32_t id = 0; id < size(); ++id) {
    if (!parsed(id)) add_to_index(id);
  }
  for (int32_t id = 0; id < size(); ++id) {  // only where no ordinary token has their bytes
    if (parsed(id)) add_to_index(id);
  }
}

void Vocabulary::add_to_index(int32_t id) {
  const std::string_view bytes = key(id);
  if (bytes.empty()) return;
  const size_t mask = slots_.size() - 1;
  const uint64_t hash = hash_bytes(bytes);
  size_t slot = hash & mask;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  while (slots_[slot].id != kNone && (slots_[slot].tag != tag || key(slots_[slot].id) != bytes)) {
    slot = (slot + 1) & mask;
  }
  if (slots_[slot].id != kNone) return;  // the first of equal tokens counts
  slots_[slot] = {tag, id};
  max_bytes_ = std::max(max_bytes_, bytes.size());
  if (spelling_ == Spelling::kByteLevel && bytes.size() == 1) {
    bytes_[static_cast<uint8_t>(bytes[0])] = id;
  }
}

bool Vocabulary::in_brackets(std::string_view text) {
  if (text.starts_with(kSpaceMark)) text.remove_prefix(kSpaceMark.size());
  return text.size() > 2 && ((text.front() == '<' && text.back() == '>') ||
                             (text.front() == '[' && text.back() == ']'));
}

int32_t Vocabulary::named(std::string_view name) const {
  if (const auto known = named_.find(std::string(name)); known != named_.end()) {
    return known->second;
  }
  int32_t id = find(name);
  special_.prefixes(name, [&](size_t length, int32_t special) {
    if (length == name.size()) id = special;
  });
  return id;
}

int32_t Vocabulary::find(std::string_view bytes) const {
  if (bytes.size() > max_bytes_ || bytes.empty()) return kNone;
  const uint64_t hash = hash_bytes(bytes);
  const size_t mask = slots_.size() - 1;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t slot = hash & mask; slots_[slot].id != kNone; slot = (slot + 1) & mask) {
    if (slots_[slot].tag == tag && key(slots_[slot].id) == bytes) return slots_[slot].id;
  }
  return kNone;
}

}  // namespace edgelm
