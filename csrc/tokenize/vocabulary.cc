#include "tokenize/vocabulary.h"

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
                       std::span<const int32_t> types, Spelling spelling)
    : spelling_(spelling), scores_(scores.begin(), scores.end()) {
  const auto same_length = [&](const char* key, size_t length) {
    if (length == 0 || length == texts.size()) return;
    fail(ErrorKind::kModelFormat, "tokenizer.ggml.", key, " has ", length,
         " elements, but tokenizer.ggml.tokens has ", texts.size(), "; they must be equally long");
  };
  same_length("scores", scores.size());
  same_length("token_type", types.size());
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
  for (size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.scores[", i, "] is not a number");
    }
  }
  bytes_.fill(kNone);
  blob_.reserve(total);
  ends_.reserve(texts.size() + 1);
  ends_.push_back(0);
  types_.reserve(texts.size());
  for (size_t id = 0; id < texts.size(); ++id) {
    const int32_t type = types.empty() ? 1 : types[id];
    if (type < 0 || type > 6) {
      fail(ErrorKind::kModelFormat, "tokenizer.ggml.token_type[", id, "] is ", type,
           "; expected 0 to 6");
    }
    types_.push_back(static_cast<TokenType>(type));
    const std::string_view text = texts[id];
    bool literal = skipped(static_cast<int32_t>(id)) || types_[id] == TokenType::kByte;
    if (spelling == Spelling::kSentencePiece) {
      const int byte = named_byte(text);
      if (byte >= 0 && bytes_[byte] == kNone) bytes_[byte] = static_cast<int32_t>(id);
      if (types_[id] == TokenType::kByte) {
        if (byte < 0) {
          fail(ErrorKind::kModelFormat, "tokenizer.ggml.tokens[", id, "] '", text,
               "' has the type of a byte, but is not written <0x00> to <0xFF>");
        }
        blob_.push_back(static_cast<char>(byte));
      } else if (literal) {
        blob_ += text;
      } else {
        append_unmarked(text, blob_);
      }
    } else if (literal || types_[id] == TokenType::kUserDefined) {
      literal = true;
      blob_ += text;
    } else {
      literal = !append_byte_level(text, blob_);
    }
    literal_.push_back(literal);
    ends_.push_back(static_cast<uint32_t>(blob_.size()));
  }
  index();
  index_special();
}

void Vocabulary::index() {
  slots_.resize(std::bit_ceil(types_.size() * 2 + 2));
  const size_t mask = slots_.size() - 1;
  for (int32_t id = 0; id < size(); ++id) {
    const std::string_view key = bytes(id);
    if (literal_[id] || key.empty()) continue;
    const uint64_t hash = hash_bytes(key);
    size_t slot = hash & mask;
    const auto tag = static_cast<uint32_t>(hash >> 32);
    while (slots_[slot].id != kNone && (slots_[slot].tag != tag || bytes(slots_[slot].id) != key)) {
      slot = (slot + 1) & mask;
    }
    if (slots_[slot].id != kNone) continue;  // the first of equal tokens counts
    slots_[slot] = {tag, id};
    max_bytes_ = std::max(max_bytes_, key.size());
    if (spelling_ == Spelling::kByteLevel && key.size() == 1) {
      bytes_[static_cast<uint8_t>(key[0])] = id;
    }
  }
}

void Vocabulary::index_special() {
  std::vector<Trie::Entry> entries;
  for (int32_t id = 0; id < size(); ++id) {
    if (skipped(id) || types_[id] == TokenType::kUserDefined) entries.emplace_back(bytes(id), id);
  }
  special_ = Trie(std::move(entries));
}

int32_t Vocabulary::named(std::string_view name) const {
  int32_t id = find(name);
  special_.prefixes(name, [&](size_t length, int32_t special) {
    if (length == name.size()) id = special;
  });
  return id;
}

void Vocabulary::retype(std::span<const std::string> names, TokenType type) {
  bool changed = false;
  for (const std::string& name : names) {
    const int32_t id = named(name);
    if (id == kNone || types_[id] == type) continue;
    types_[id] = type;
    changed = true;
  }
  if (changed) index_special();
}

int32_t Vocabulary::find(std::string_view key) const {
  if (key.size() > max_bytes_ || key.empty()) return kNone;
  const uint64_t hash = hash_bytes(key);
  const size_t mask = slots_.size() - 1;
  const auto tag = static_cast<uint32_t>(hash >> 32);
  for (size_t slot = hash & mask; slots_[slot].id != kNone; slot = (slot + 1) & mask) {
    if (slots_[slot].tag == tag && bytes(slots_[slot].id) == key) return slots_[slot].id;
  }
  return kNone;
}

}  // namespace edgelm
