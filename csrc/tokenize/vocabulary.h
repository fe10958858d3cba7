#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenize/trie.h"

namespace edgelm {

// tokenizer.ggml.token_type. Source: the GGUF specification.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// How the file spells the bytes of a normal token.
enum class Spelling {
  kByteLevel,      // one character of GPT-2's alphabet a byte: "Ġthe"
  kSentencePiece,  // U+2581 for a space: "▁the"; bytes as "<0x0A>"
};

// The tokens of a model: their bytes, scores and types, and the way back from bytes to an id.
class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  // `scores` and `types` may be empty (0 and kNormal). Throws kModelFormat, naming the array.
  Vocabulary(std::span<const std::string_view> texts, std::span<const float> scores,
             std::span<const int32_t> types, Spelling spelling);

  int32_t size() const { return static_cast<int32_t>(types_.size()); }
  Spelling spelling() const { return spelling_; }
  TokenType type(int32_t id) const { return types_[id]; }
  float score(int32_t id) const { return scores_.empty() ? 0.0f : scores_[id]; }
  std::string_view bytes(int32_t id) const {
    return std::string_view(blob_).substr(ends_[id], ends_[id + 1] - ends_[id]);
  }
  size_t max_bytes() const { return max_bytes_; }  // of a token that find() knows

  // The normal, user-defined or unused token of these bytes, or kNone.
  int32_t find(std::string_view bytes) const;
  // The token that stands for one byte, by its spelling, or kNone.
  int32_t of_byte(uint8_t byte) const { return bytes_[byte]; }
  // The token that decodes to this name, special or not, or kNone.
  int32_t named(std::string_view name) const;

  // Tokens that text is searched for before it is split: control, user-defined and unknown ones.
  const Trie& special() const { return special_; }
  bool skipped(int32_t id) const {  // by decode(), unless it is asked for special tokens
    return types_[id] == TokenType::kControl || types_[id] == TokenType::kUnknown;
  }
  // Gives another type to the tokens of these names, for files that got them wrong.
  void retype(std::span<const std::string> names, TokenType type);

 private:
  struct Slot {
    uint32_t tag = 0;  // high bits of the hash
    int32_t id = kNone;
  };
  void index();
  void index_special();

  Spelling spelling_;
  std::string blob_;
  std::vector<uint32_t> ends_;  // token i is blob_[ends_[i] .. ends_[i + 1])
  std::vector<float> scores_;
  std::vector<TokenType> types_;
  std::vector<bool> literal_;  // found in the text, if at all; never merged to
  std::array<int32_t, 256> bytes_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  size_t max_bytes_ = 0;
  Trie special_;
};

// A seeded hash, so that no file can make all its tokens collide.
uint64_t hash_bytes(std::string_view bytes);

// Appends the bytes that a text in GPT-2's alphabet stands for; a text with any other character
// stands for itself, as in the tokenizers library's ByteLevel decoder, and returns false.
bool append_byte_level(std::string_view text, std::string& to);

// Appends a text with SentencePiece's marks, U+2581, read as the blanks that they stand for.
void append_unmarked(std::string_view text, std::string& to);

}  // namespace edgelm
