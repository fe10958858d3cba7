#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
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

// Names of tokens, as the file spells them, that say what these are, whatever it says of them.
struct KnownNames {
  std::span<const std::string> control, user_defined;  // their types
  std::span<const std::string> markers;                // found in a text that is to be parsed
};

// The tokens of a model: their bytes, scores and types, and the way back from bytes to an id.
class Vocabulary {
 public:
  static constexpr int32_t kNone = -1;

  // `scores` and `types` may be empty (0 and kNormal) or longer than `texts`; a type that the
  // specification does not know is kUndefined. `merges` are BPE's, by which a control token is told
  // to be a word as well. Throws kModelFormat, naming the array.
  Vocabulary(std::span<const std::string_view> texts, std::span<const float> scores,
             std::span<const int32_t> types, Spelling spelling, const KnownNames& names = {},
             std::span<const std::string_view> merges = {});

  int32_t size() const { return static_cast<int32_t>(types_.size()); }
  Spelling spelling() const { return spelling_; }
  TokenType type(int32_t id) const { return types_[id]; }
  float score(int32_t id) const { return scores_.empty() ? 0.0f : scores_[id]; }
  std::string_view bytes(int32_t id) const {  // a special token's are its name
    return std::string_view(blob_).substr(ends_[id], ends_[id + 1] - ends_[id]);
  }
  // What find() knows it by: its bytes, unless a name that is spelled like a word. May be empty.
  std::string_view key(int32_t id) const {
    return has_other_key_[id] ? std::string_view(other_keys_.at(id)) : bytes(id);
  }
  size_t max_bytes() const { return max_bytes_; }  // of a token that find() knows

  // The token of these bytes, whatever its type, or kNone: a fine-tune may register words.
  int32_t find(std::string_view bytes) const;
  // The same for text that nobody split yet: names in brackets, as "</s>", are then no words.
  int32_t find_word(std::string_view bytes) const {
    const int32_t id = find(bytes);
    return id >= 0 && parsed(id) && in_brackets(bytes) ? kNone : id;
  }
  // The token that stands for one byte, by its spelling, or kNone.
  int32_t of_byte(uint8_t byte) const { return bytes_[byte]; }
  // The token that the file spells so or that decodes to this name, special or not, or kNone.
  int32_t named(std::string_view name) const;

  // Tokens that text is searched for before it is split: control, user-defined and unknown ones,
  // and markers.
  const Trie& special() const { return special_; }
  bool parsed(int32_t id) const {  // only in a text whose names of special tokens are parsed
    return is_control(id) || markers_.contains(id);
  }
  bool skipped(int32_t id) const {  // by decode(), unless it is asked for special tokens
    return is_control(id) && !words_.contains(id);
  }

 private:
  struct Slot {
    uint32_t tag = 0;  // high bits of the hash
    int32_t id = kNone;
  };
  bool is_control(int32_t id) const {
    return types_[id] == TokenType::kControl || types_[id] == TokenType::kUnknown;
  }
  static bool in_brackets(std::string_view text);
  void check(std::span<const std::string_view> texts, std::span<const float> scores,
             std::span<const int32_t> types) const;
  void apply(const KnownNames& names, std::span<const std::string_view> texts);
  void find_words(std::span<const std::string_view> texts,
                  std::span<const std::string_view> merges);
  void spell(std::span<const std::string_view> texts);
  void index();
  void add_to_index(int32_t id);

  Spelling spelling_;
  std::string blob_;
  std::vector<uint32_t> ends_;  // token i is blob_[ends_[i] .. ends_[i + 1])
  std::vector<float> scores_;
  std::vector<TokenType> types_;
  std::unordered_map<std::string, int32_t> named_;  // of KnownNames
  std::vector<bool> has_other_key_;                 // than its bytes
  std::unordered_map<int32_t, std::string> other_keys_;
  std::unordered_set<int32_t> markers_;
  std::unordered_set<int32_t> words_;  // control tokens that stand for ordinary text as well
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
