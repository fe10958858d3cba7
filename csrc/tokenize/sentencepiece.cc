#include "tokenize/sentencepiece.h"

#include <bit>

#include "tokenize/unicode.h"

namespace edgelm {
namespace {

// Orders scores as ranks: the highest score has the lowest rank.
uint32_t rank_of(float score) {
  const auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 is 0
  return bits >> 31 ? bits : ~(bits | 0x80000000u);
}

}  // namespace

SentencePieceModel::SentencePieceModel(const Vocabulary& vocabulary, Normalizer normalizer,
                                       int32_t unknown)
    : vocabulary_(vocabulary),
      normalizer_(std::move(normalizer)),
      seams_(vocabulary),
      unknown_(unknown) {
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    has_unused_ = has_unused_ || vocabulary.type(id) == TokenType::kUnused;
  }
}

void SentencePieceModel::encode(std::string_view fragment, bool first,
                                std::vector<int32_t>& ids) const {
  const std::string text = normalizer_.normalize(fragment, first);
  Merger merger;
  Splits splits;
  seams_.each_run(text, [&](std::string_view run) { encode_run(run, merger, splits, ids); });
}

void SentencePieceModel::encode_run(std::string_view text, Merger& merger, Splits& splits,
                                    std::vector<int32_t>& ids) const {
  merger.clear();
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    unicode::next(text, at);
    merger.add(vocabulary_.find_word(text.substr(start, at - start)), start, at - start);
  }
  merger.run([&](const Symbol& left, const Symbol& right) -> Join {
    const std::string_view both = text.substr(left.begin, left.size + right.size);
    const int32_t id = vocabulary_.find_word(both);
    if (id < 0) return {};
    if (has_unused_ && vocabulary_.type(id) == TokenType::kUnused) splits[both] = left.size;
    return {rank_of(vocabulary_.score(id)), id};
  });
  merger.each([&](const Symbol& symbol) {
    put(text.substr(symbol.begin, symbol.size), symbol.id, splits, ids);
  });
}

void SentencePieceModel::put(std::string_view piece, int32_t id, const Splits& splits,
                             std::vector<int32_t>& ids) const {
  std::vector<std::string_view> right;  // parts of the piece that are still to be put, last first
  for (;;) {
    // Unused tokens only lead to longer ones; those left over fall apart again.
    const bool unused = has_unused_ && id >= 0 && vocabulary_.type(id) == TokenType::kUnused;
    const auto split = unused ? splits.find(piece) : splits.end();
    if (split != splits.end()) {
      right.push_back(piece.substr(split->second));
      piece = piece.substr(0, split->second);
    } else {
      if (id >= 0) {
        ids.push_back(id);
      } else {
        put_bytes(piece, ids);
      }
      if (right.empty()) return;
      piece = right.back();
      right.pop_back();
    }
    id = vocabulary_.find_word(piece);
  }
}

void SentencePieceModel::put_bytes(std::string_view piece, std::vector<int32_t>& ids) const {
  if (piece == " ") piece = "\xE2\x96\x81";
  const size_t start = ids.size();
  for (const char c : piece) {
    const int32_t id = vocabulary_.of_byte(static_cast<uint8_t>(c));
    if (id >= 0) {
      ids.push_back(id);
      continue;
    }
    ids.resize(start);
    if (unknown_ >= 0 && (start == 0 || ids.back() != unknown_)) ids.push_back(unknown_);
    return;
  }
}

}  // namespace edgelm
